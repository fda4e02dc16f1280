"""Which tracks train, validate and test: drawn once per manifest, by whole units, within each condition."""

from enum import StrEnum
from typing import Self

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cell_assets.errors import BadInputError


class Split(StrEnum):
    """What a track may be used for."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class SplitUnit(StrEnum):
    """What is kept whole: no two splits share one of these."""

    TRACK = "track"
    LINEAGE = "lineage"
    FOV = "fov"
    WELL = "well"
    PLATE = "plate"


UNIT_COLUMNS: dict[SplitUnit, tuple[str, ...]] = {
    SplitUnit.TRACK: ("plate", "fov_name", "track_id"),
    SplitUnit.LINEAGE: ("plate", "fov_name", "lineage_root"),
    SplitUnit.FOV: ("plate", "fov_name"),
    SplitUnit.WELL: ("plate", "well"),
    SplitUnit.PLATE: ("plate",),
}
"""Columns that name one unit."""

MIN_UNITS_PER_CONDITION = 3
"""One unit for each of train, val and test."""

MIN_LINEAGES = 30
"""Below this a split by lineage leaves too few founders in each part for an interval."""


class SplitParameters(BaseModel):
    """How a manifest splits its tracks."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    unit: SplitUnit | None = None
    """None chooses the widest of fov, lineage, track that every condition has enough of."""
    val_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Of the units of each condition: what chooses when training stops, and calibrates intervals."""
    test_fraction: float = Field(default=0.3, gt=0, lt=1)
    """Of the units of each condition: what the report's numbers are of."""
    seed: int = Field(default=0, ge=0)
    """Of the draw."""

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> Self:
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"val_fraction {self.val_fraction} and test_fraction {self.test_fraction} leave nothing to "
                "train on; lower them"
            )
        return self


def choose_unit(tracks: pd.DataFrame) -> SplitUnit:
    """The widest unit of which every condition has enough: FOV, else lineage, else track.

    Args:
        tracks: one row per track with `plate, fov_name, track_id, lineage_root, condition`.
    """
    if _fewest_units(tracks, SplitUnit.FOV) >= MIN_UNITS_PER_CONDITION:
        return SplitUnit.FOV
    if _fewest_units(tracks, SplitUnit.LINEAGE) >= MIN_LINEAGES:
        return SplitUnit.LINEAGE
    return SplitUnit.TRACK


def assign_splits(tracks: pd.DataFrame, parameters: SplitParameters) -> tuple[pd.Series, SplitUnit]:
    """Split of every track (same order as `tracks`) and the unit that was kept whole.

    Units are shuffled within their condition by `parameters.seed`, so the result does not depend on row
    order. A unit that spans several conditions counts for its first one.

    Args:
        tracks: one row per track with `plate, well, fov_name, track_id, lineage_root, condition`.

    Raises:
        BadInputError: a condition has fewer than three units.
    """
    unit = parameters.unit or choose_unit(tracks)
    columns = list(UNIT_COLUMNS[unit])
    units = tracks.sort_values([*columns, "condition"]).drop_duplicates(columns)[[*columns, "condition"]]
    rng = np.random.default_rng(parameters.seed)
    assigned = []
    for condition, group in units.groupby("condition", sort=True):
        n = len(group)
        if n < MIN_UNITS_PER_CONDITION:
            raise BadInputError(
                f"split: condition {condition!r} has {n} {unit.value}(s), at least {MIN_UNITS_PER_CONDITION} "
                "are needed for train, val and test; add data or split by a smaller unit"
            )
        n_test = max(1, round(n * parameters.test_fraction))
        n_val = max(1, min(round(n * parameters.val_fraction), n - n_test - 1))
        names = np.full(n, Split.TRAIN.value, dtype=object)
        names[:n_test] = Split.TEST.value
        names[n_test : n_test + n_val] = Split.VAL.value
        assigned.append(group.assign(split=names[rng.permutation(n)]))
    merged = tracks[columns].merge(
        pd.concat(assigned)[[*columns, "split"]], on=columns, how="left", validate="m:1"
    )
    return pd.Series(merged["split"].to_numpy(), index=tracks.index, name="split"), unit


def _fewest_units(tracks: pd.DataFrame, unit: SplitUnit) -> int:
    columns = list(UNIT_COLUMNS[unit])
    return int(tracks.drop_duplicates([*columns, "condition"]).groupby("condition").size().min())
