"""What counts as one independent unit (track, lineage, FOV, well, plate), and the statement of a split.

Cells of one track are the same cell seen again, so nothing in this package treats rows as independent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.evaluation.splits import SplitUnit

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
StrArray = npt.NDArray[np.str_]


def plural(unit: SplitUnit) -> str:
    """The unit's name for several of it, as it is read by people."""
    return "FOVs" if unit is SplitUnit.FOV else f"{unit.value}s"


def require_columns(frame: pd.DataFrame, columns: Sequence[str], table: str) -> None:
    """Raise `BadInputError` that names every one of `columns` that `frame` lacks."""
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise BadInputError(
            f"the {table} table lacks the column(s) {', '.join(missing)}; it has {', '.join(frame.columns)}"
        )


def unit_ids(cells: pd.DataFrame, unit: SplitUnit) -> StrArray:
    """Identity of each row's unit, unique over plates: shape (N,), for example `P1|A/1/000|17`.

    `cells` has `fov_name` and, as far as the unit needs them, `plate`, `track_id`, `lineage_root`. A missing
    `plate` column means that all rows are of one plate. The well is the first two parts of `fov_name`.
    """
    require_columns(cells, ["fov_name"], "cell")
    fov = cells["fov_name"].astype(str)
    plate = cells["plate"].astype(str) if "plate" in cells.columns else pd.Series("", index=cells.index)
    if unit is SplitUnit.PLATE:
        ids = plate
    elif unit is SplitUnit.WELL:
        ids = plate + "|" + fov.str.rsplit("/", n=1).str[0]
    elif unit is SplitUnit.FOV:
        ids = plate + "|" + fov
    else:
        column = "track_id" if unit is SplitUnit.TRACK else "lineage_root"
        require_columns(cells, [column], "cell")
        ids = plate + "|" + fov + "|" + cells[column].astype("int64").astype(str)
    return ids.to_numpy(dtype=np.str_)


def refuse_overlap(train_units: StrArray, test_units: StrArray, unit: SplitUnit) -> None:
    """Raise `BadInputError` naming a unit that stands on both sides of a split."""
    shared = np.intersect1d(train_units, test_units)
    if len(shared):
        raise BadInputError(
            f"{len(shared)} {unit.value}(s) are in both training and test rows, the first is {shared[0]}; "
            f"a probe needs every {unit.value} on one side only, so make the manifest again"
        )


@dataclass(frozen=True)
class SplitStatement:
    """What was fitted on what, in words and counts; stands beside every number of an evaluation."""

    unit: SplitUnit
    fit_splits: tuple[str, ...]
    """Values of the `split` column that a probe may learn from."""
    test_split: str
    n_fit_units: int
    n_test_units: int
    n_test_tracks: int
    n_test_tracks_related: int | None
    """Test tracks whose founder also founded a fitted track; None when the table has no `lineage_root`."""

    @property
    def short(self) -> str:
        """The split as numbers carry it, for example `test tracks`."""
        return f"{self.test_split} {plural(self.unit)}"

    @property
    def sentence(self) -> str:
        """The split in one sentence for a report."""
        text = (
            f"Probes learn from {self.n_fit_units} {' and '.join(self.fit_splits)} {plural(self.unit)} and "
            f"are scored on {self.n_test_units} {self.test_split} {plural(self.unit)}; no {self.unit.value} "
            "is on both sides."
        )
        if self.n_test_tracks_related:
            text += (
                f" {self.n_test_tracks_related} of {self.n_test_tracks} test tracks descend from a founder "
                "that also has tracks among those learned from: they are relatives, not strangers."
            )
        return text


@dataclass(frozen=True)
class SplitRows:
    """Which rows a probe may learn from and which score it; both shape (N,)."""

    fit: BoolArray
    test: BoolArray
    statement: SplitStatement


def split_rows(cells: pd.DataFrame, unit: SplitUnit, fit_splits: Sequence[str], test_split: str) -> SplitRows:
    """Rows of the manifest's split (`split` column of `cells`), checked for units on both sides.

    Raises `BadInputError` when the column is missing, a split has no rows, or a unit overlaps.
    """
    require_columns(cells, ["split"], "cell")
    values = cells["split"].astype(str)
    fit = values.isin(list(fit_splits)).to_numpy()
    test = (values == test_split).to_numpy()
    found = ", ".join(sorted(values.unique())) or "no rows"
    for name, rows in ((" or ".join(fit_splits), fit), (test_split, test)):
        if not rows.any():
            raise BadInputError(
                f"no row of the cell table is in split {name}; its column `split` holds {found}"
            )
    ids = unit_ids(cells, unit)
    refuse_overlap(ids[fit], ids[test], unit)
    tracks = unit_ids(cells, SplitUnit.TRACK)
    statement = SplitStatement(
        unit=unit,
        fit_splits=tuple(name for name in fit_splits if (values == name).any()),
        test_split=test_split,
        n_fit_units=len(np.unique(ids[fit])),
        n_test_units=len(np.unique(ids[test])),
        n_test_tracks=len(np.unique(tracks[test])),
        n_test_tracks_related=_related(cells, tracks, fit, test),
    )
    return SplitRows(fit=fit, test=test, statement=statement)


def _related(cells: pd.DataFrame, tracks: StrArray, fit: BoolArray, test: BoolArray) -> int | None:
    if "lineage_root" not in cells.columns:
        return None
    lineages = unit_ids(cells, SplitUnit.LINEAGE)
    shared = test & np.isin(lineages, np.unique(lineages[fit]))
    return len(np.unique(tracks[shared]))
