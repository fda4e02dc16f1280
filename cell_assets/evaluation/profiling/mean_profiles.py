"""The mean_profiles artifact: the profiles of one plate's wells that nothing was learned for.

On disk a `<representation>.parquet` each, `Metadata_*` columns first, as pycytominer and copairs read their own files,
and `profiles.json`, which counts what was left out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.control_normalization import (
    Normalized,
    normalized_to_controls,
    require_controls,
)
from cell_assets.evaluation.profiling.cytominer import get_blocklist_features
from cell_assets.evaluation.profiling.quality_rule import QualityRule, cells_left_out
from cell_assets.evaluation.profiling.well_manifest import COUNT, IS_CONTROL
from cell_assets.evaluation.profiling.well_representations import (
    Block,
    ProfileParameters,
    Representation,
    representations_of,
)
from cell_assets.evaluation.retrieval.profiles import Profiles, read_profiles
from cell_assets.evaluation.units import require_columns
from cell_assets.imaging.feature_tables.columns import METADATA, PLATE, WELL
from cell_assets.imaging.feature_tables.feature_table import read_feature_table_record
from cell_assets.imaging.feature_tables.selection import SelectionParameters, select_features, usable_cells
from cell_assets.imaging.feature_tables.well_statistics import cells_by_well
from cell_assets.imaging.parquet_tables import write_parquet
from cell_assets.imaging.record_files import read_record

PROFILES_JSON = "profiles.json"


class PlateProfilesRecord(BaseModel):
    """Content of `profiles.json`: what the profiles are of, and what was left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["cell_assets.mean_profiles"] = "cell_assets.mean_profiles"
    version: Literal[1] = 1
    plate: str
    parameters: ProfileParameters | None
    """None of profiles that came ready."""
    wells: int
    """With a profile."""
    control_wells: int
    """Of these."""
    without_profile: tuple[str, ...]
    """Wells that have no cell with all features, or no row in the table that came."""
    of_one_cell: tuple[str, ...] = ()
    """Wells whose profile is of one cell, so that spreads and covariances in it are 0; of profiles that came ready no
    such well is known."""
    cells: int | None
    """Of the plate; None of profiles that came ready."""
    used_cells: int | None
    dropped_by: dict[str, int]
    """Cells that lack a feature, by feature; a cell that lacks several counts with each."""
    left_out_by_rule: int = 0
    """Cells with all features that `leave_out` names."""
    lost: dict[str, str]
    """Features that no profile has, and why."""
    constant: dict[Representation, tuple[str, ...]]
    """Features in which the control wells do not differ, and that this representation therefore lacks."""
    features: dict[Representation, int]


def write_plate_profiles(
    cells: Path, wells: pd.DataFrame, out: Path, parameters: ProfileParameters
) -> PlateProfilesRecord:
    """Profiles of a plate's wells from its cells, normalised to its control wells, into the existing folder `out`.

    Memory is that of 64 columns of the table a few times over, beside 4 · `sketch_size` bytes a cell: about 3 kB a
    cell, however many features there are (1.3 GB for 400,000 cells).

    Args:
        cells: folder of the plate's feature table.
        wells: of this plate, as `well_manifest.wells_table` gives them.

    Raises:
        BadInputError: these are no wells of one plate, cells are of a well that is none of them, no feature is left,
            `leave_out` names a feature that is not there, or the plate has too few control wells.
    """
    plate = _plate_of(wells)
    record = read_feature_table_record(cells)
    selection = select_features(
        {plate: cells}, SelectionParameters(max_missing_share=parameters.max_missing_share)
    )
    blocked = _blocked(selection.features) if parameters.blocklist else []
    features = [name for name in selection.features if name not in set(blocked)]
    if not features:
        raise BadInputError(
            f"plate {plate}: pycytominer's blocklist names all {len(blocked)} features; set blocklist to false"
        )
    usable = usable_cells(cells, features)
    by_rule = cells_left_out(QualityRule(clauses=parameters.leave_out), cells, usable.rows) & usable.rows
    by_well = cells_by_well(cells, usable.rows & ~by_rule)
    known = _known_of(by_well.wells, wells, plate)
    is_control = known[IS_CONTROL].to_numpy(np.bool_)
    require_controls(known, plate)
    normalized = {
        representation: _normalized(known, blocks, plate, weighed=representation is Representation.FUSION)
        for representation, blocks in representations_of(by_well, features, is_control, parameters).items()
    }
    for representation, found in normalized.items():
        write_parquet(found.table, out / _file(representation))
    with_profile = set(known[WELL])
    result = PlateProfilesRecord(
        plate=plate,
        parameters=parameters,
        wells=len(known),
        control_wells=int(is_control.sum()),
        without_profile=tuple(sorted(name for name in wells[WELL].astype(str) if name not in with_profile)),
        of_one_cell=tuple(sorted(known.loc[known[COUNT] == 1, WELL].astype(str))),
        cells=record.cells,
        used_cells=len(by_well.rows),
        left_out_by_rule=int(by_rule.sum()),
        dropped_by={name: n for name, n in usable.dropped_by.items() if n},
        lost={**selection.lost[plate], **dict.fromkeys(blocked, "pycytominer's blocklist names it")},
        constant={representation: found.constant for representation, found in normalized.items()},
        features={representation: _n_features(found.table) for representation, found in normalized.items()},
    )
    _write_record(result, out)
    return result


def write_given_profiles(
    table: pd.DataFrame, plate: str, wells: pd.DataFrame, out: Path
) -> PlateProfilesRecord:
    """Profiles that came ready, one row for each well: values are kept as they are, and written as `mean.parquet`.

    Args:
        table: rows of this plate, with `Metadata_Well`; all columns that are no metadata are features.
        wells: of this plate, as `well_manifest.wells_table` gives them; what they say of a well stands before what the
            table says.

    Raises:
        BadInputError: a well comes twice, is none of `wells`, or a column cannot be used.
    """
    require_columns(table, [WELL], f"plate {plate}: profiles'")
    if _plate_of(wells) != plate:
        raise BadInputError(f"plate {plate}: the wells are of {_plate_of(wells)}; give those of this plate")
    twice = table[WELL].astype(str)[table[WELL].duplicated()]
    if len(twice):
        raise BadInputError(
            f"plate {plate}: well {twice.iloc[0]} has several profiles; leave one, or take their median"
        )
    given = table.sort_values(WELL, key=lambda names: names.astype(str)).reset_index(drop=True)
    known = _known_of(given, wells, plate)
    names = [name for name in given.columns if not name.startswith(METADATA)]
    text = [name for name in names if not pd.api.types.is_numeric_dtype(given[name])]
    if text:
        raise BadInputError(
            f"plate {plate}: column {text[0]} holds no numbers; give what is known of a well a name that begins with "
            f"{METADATA}"
        )
    lacking = {name: int((~np.isfinite(given[name].to_numpy(np.float64))).sum()) for name in names}
    kept = [name for name in names if not lacking[name]]
    if not kept:
        raise BadInputError(f"plate {plate}: no feature of {len(names)} has a value in every well")
    beside = [name for name in given.columns if name.startswith(METADATA) and name not in known.columns]
    found = pd.concat([known, given[beside], given[kept].astype(np.float64)], axis=1)
    write_parquet(found, out / _file(Representation.MEAN))
    with_profile = set(known[WELL])
    result = PlateProfilesRecord(
        plate=plate,
        parameters=None,
        wells=len(found),
        control_wells=int(known[IS_CONTROL].sum()),
        without_profile=tuple(sorted(name for name in wells[WELL].astype(str) if name not in with_profile)),
        cells=None,
        used_cells=None,
        dropped_by={},
        lost={name: f"{n} of {len(given)} wells lack it" for name, n in lacking.items() if n},
        constant={},
        features={Representation.MEAN: len(kept)},
    )
    _write_record(result, out)
    return result


def read_plate_profiles(folder: Path, representation: Representation) -> Profiles:
    """One representation of a plate's wells.

    Raises:
        BadInputError: the plate has none, or it cannot be read.
    """
    record = read_profiles_record(folder)
    if representation not in record.features:
        raise BadInputError(
            f"plate {record.plate}: has no {representation.value} profiles, but {', '.join(record.features)}; ask for "
            "one of these, or make it with this representation"
        )
    return read_profiles(folder / _file(representation))


def read_profiles_record(folder: Path) -> PlateProfilesRecord:
    """`profiles.json` in `folder`.

    Raises:
        BadInputError: it is not there, or not readable.
    """
    return read_record(
        folder / PROFILES_JSON, PlateProfilesRecord, "mean_profiles", "profiles without learning"
    )


def _write_record(record: PlateProfilesRecord, out: Path) -> None:
    (out / PROFILES_JSON).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _file(representation: Representation) -> str:
    return f"{representation.value}.parquet"


def _plate_of(wells: pd.DataFrame) -> str:
    require_columns(wells, [PLATE, WELL, IS_CONTROL], "wells")
    plates = sorted(set(wells[PLATE].astype(str)))
    if len(plates) != 1:
        raise BadInputError(f"the wells are of {len(plates)} plates {plates[:5]}; give those of one")
    twice = wells[WELL].astype(str)[wells[WELL].duplicated()]
    if len(twice):
        raise BadInputError(f"plate {plates[0]}: well {twice.iloc[0]} is listed twice; list it once")
    return plates[0]


def _known_of(found: pd.DataFrame, wells: pd.DataFrame, plate: str) -> pd.DataFrame:
    """What `wells` say of the wells of `found`, in its order; cells are those that were used, where they are known."""
    other = sorted(set(found[PLATE].astype(str)) - {plate}) if PLATE in found.columns else []
    if other:
        raise BadInputError(f"plate {plate}: the table holds plate {other[0]}; give the rows of one plate")
    by_name = wells.set_index(wells[WELL].astype(str))
    names = found[WELL].astype(str)
    strange = [name for name in names if name not in by_name.index]
    if strange:
        raise BadInputError(
            f"plate {plate}: well {strange[0]} has a profile and is not among its {len(wells)} wells; add it to the "
            "plate map, or take it out"
        )
    known = by_name.loc[list(names)].reset_index(drop=True)
    return known.assign(**{COUNT: found[COUNT].to_numpy(np.int64)}) if COUNT in found.columns else known


def _normalized(known: pd.DataFrame, blocks: Sequence[Block], plate: str, *, weighed: bool) -> Normalized:
    table = pd.concat([known, *(pd.DataFrame(one.values, columns=list(one.names)) for one in blocks)], axis=1)
    found = normalized_to_controls(table, plate)
    if not weighed:
        return found
    constant = set(found.constant)
    for block in blocks:
        names = [name for name in block.names if name not in constant]
        found.table[names] /= np.sqrt(max(len(names), 1))
    return found


def _blocked(features: Sequence[str]) -> list[str]:
    named: list[str] = get_blocklist_features(population_df=pd.DataFrame(columns=list(features)))
    return [name for name in features if name in set(named)]


def _n_features(table: pd.DataFrame) -> int:
    return sum(not name.startswith(METADATA) for name in table.columns)
