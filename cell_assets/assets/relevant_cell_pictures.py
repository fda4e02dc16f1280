"""Patches of the least and the most relevant cells of filmed plates, for a report's picture. No Dagster here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from cell_assets.assets.component_ends import middle_planes
from cell_assets.evaluation.features.feature_correlation import extreme_rows
from cell_assets.evaluation.profiling.profile_parameters import RelevanceParameters
from cell_assets.evaluation.profiling.profile_study import ProfileStudy
from cell_assets.evaluation.profiling.relevance_table import (
    FOV_NAME,
    RELEVANCE_PARQUET,
    TIME,
    TRACK_ID,
    RelevanceScore,
)
from cell_assets.evaluation.profiling.well_manifest import COMPOUND, is_treated
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.units import unit_ids
from cell_assets.imaging.feature_tables.columns import PLATE, WELL
from cell_assets.imaging.patch_reading import PatchTable, open_patch_table
from cell_assets.imaging.track_tables import Column
from cell_assets.reporting.cell_ends import CellEnds
from cell_assets.reporting.relevance_page import RelevantCellPictures

_PLACE = {FOV_NAME: Column.FOV_NAME.value, TRACK_ID: Column.TRACK_ID.value, TIME: Column.T.value}


@dataclass(frozen=True)
class FilmedPlates:
    """Where images of the cells are."""

    profiles: Mapping[str, Path]
    """A method's profiles with their relevance, of every plate, filmed or not."""
    tables: Mapping[tuple[str, str], Path]
    """Patch table by plate and position."""
    acquisitions: Mapping[str, Path]
    """Raw acquisition by plate, from which patches are cut where a table stores none."""


def relevant_cell_pictures(
    study: ProfileStudy, method: str, plates: FilmedPlates, parameters: RelevanceParameters
) -> RelevantCellPictures:
    """Middle planes of the least and the most relevant cells of some wells, no track twice at one end; or why there
    are none.

    As the paper's Figure 6 does, wells are those of the compounds whose mechanism the method finds better than the
    reference by the most; where no mechanism is known, those of the first compounds.
    """
    if not parameters.wells_shown:
        return RelevantCellPictures(why_none="The choices ask for no well to be shown.")
    if not plates.acquisitions:
        return RelevantCellPictures(
            why_none=f"{_named(plates.profiles)} of features, so there are no images of the cells."
        )
    opened: dict[tuple[str, str], PatchTable] = {}
    shown: list[CellEnds] = []
    wells: list[str] = []
    for plate, well, compound in _wells(study, method, plates):
        ends = _ends(plate, well, plates, opened, parameters.cells_shown)
        # Channels of plates may differ, and a row of the picture is of one channel.
        if ends is not None and ends.channel_names == (shown or [ends])[0].channel_names:
            shown.append(ends)
            wells.append(f"{compound} in well {well} of plate {plate}")
        if len(shown) == parameters.wells_shown:
            break
    if not shown:
        return RelevantCellPictures(
            why_none="No treated well of a filmed plate has two cells with a relevance and a patch."
        )
    return RelevantCellPictures(tuple(shown), tuple(wells))


def _named(plates: Mapping[str, Path]) -> str:
    names = list(plates)
    if len(names) == 1:
        return f"Plate {names[0]} came as a table"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"Plates {', '.join(names[:3])}{more} came as tables"


def _wells(study: ProfileStudy, method: str, plates: FilmedPlates) -> Iterator[tuple[str, str, str]]:
    """Plate, well and compound: the first well of each compound on a filmed plate."""
    wells = study.wells[
        is_treated(study.wells) & study.wells[PLATE].isin(list(plates.acquisitions)).to_numpy()
    ]
    precision = {
        one.representation: one.table.set_index(one.table[COMPOUND].astype(str))["mean_average_precision"]
        for one in study.found
    }
    gain = precision[method] - precision[study.parameters.reference]
    first = wells.drop_duplicates(COMPOUND)
    order = first.assign(gain=first[COMPOUND].astype(str).map(gain).astype("float64"))
    order = order.sort_values(["gain", COMPOUND], ascending=[False, True], na_position="last", kind="stable")
    yield from order[[PLATE, WELL, COMPOUND]].astype(str).itertuples(index=False, name=None)


def _ends(
    plate: str,
    well: str,
    plates: FilmedPlates,
    opened: dict[tuple[str, str], PatchTable],
    most: int,
) -> CellEnds | None:
    """None where a well has too few cells."""
    found = pq.read_table(
        plates.profiles[plate] / RELEVANCE_PARQUET,
        columns=[*_PLACE, RelevanceScore.COMBINED.value],
        filters=[(WELL, "==", well)],
    ).to_pandas()
    cells = found.rename(columns=_PLACE).assign(plate=plate)
    for fov_name in cells["fov_name"].unique():
        key = (plate, str(fov_name))
        if key not in opened and key in plates.tables:
            opened[key] = open_patch_table(plates.tables[key], acquisition=plates.acquisitions[plate])
    cells = _with_patches(cells, {key: one for key, one in opened.items() if key[0] == plate})
    tracks = unit_ids(cells, SplitUnit.TRACK)
    n = min(most, len(set(tracks)) // 2)
    if not n:
        return None
    low, high = extreme_rows(cells[RelevanceScore.COMBINED.value].to_numpy("float64"), tracks, n)
    names = opened[plate, str(cells["fov_name"].iloc[0])].info.channel_names
    return CellEnds(
        well,
        middle_planes(cells, opened, low),
        middle_planes(cells, opened, high),
        names,
        "least",
        "most",
    )


def _with_patches(cells: pd.DataFrame, opened: Mapping[tuple[str, str], PatchTable]) -> pd.DataFrame:
    """Those cells that have one, with its `row`."""
    keys = ["fov_name", "track_id", "t"]
    patches = [
        table.cells[["track_id", "t", "row"]].assign(fov_name=fov_name)
        for (_, fov_name), table in opened.items()
    ]
    if not patches:
        return cells.head(0).assign(row=0)
    return cells.merge(pd.concat(patches, ignore_index=True), on=keys, how="inner")
