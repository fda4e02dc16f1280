"""Which cell images of an experiment are left out because a plate's quality is beyond a threshold."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.evaluation.units import BoolArray
from cell_assets.imaging.quality.breaches import held_against
from cell_assets.imaging.quality.plate_quality import PlateQuality
from cell_assets.imaging.quality.thresholds import Threshold

EXCLUSION_TYPES = {
    "plate": "string",
    "well": "string",
    "fov_name": "string",
    "t": "Int64",
    "measure": "string",
    "of": "string",
    "controls": "string",
    "channel": "string",
    "value": "float64",
    "limit": "float64",
    "n_cells": "Int64",
}
"""Columns of `excluded.parquet`, one row per breach. A null `well` is the whole plate, a null `fov_name` the whole
well, a null `t` every time point; a null `value` is an empty frame. `n_cells`: cell images that the row covers, each
of which other rows may cover, too."""


def no_exclusions() -> pd.DataFrame:
    """A table of exclusions without a row."""
    return pd.DataFrame(columns=list(EXCLUSION_TYPES)).astype(EXCLUSION_TYPES)


def find_exclusions(
    qualities: Mapping[str, PlateQuality], thresholds: Sequence[Threshold], cells: pd.DataFrame
) -> pd.DataFrame:
    """What lies beyond `thresholds`, with the columns of `EXCLUSION_TYPES`, sorted by plate.

    Args:
        qualities: by plate.
        cells: `plate, fov_name, t` of every cell image, to be counted.

    Raises:
        BadInputError: a threshold cannot be held against a plate, so that nobody knows whether it is good.
    """
    rows: list[dict[str, object]] = []
    for plate in sorted(qualities):
        held = held_against(qualities[plate], thresholds)
        for threshold, why in held.not_told:
            raise BadInputError(
                f"plate {plate}: whether {threshold.title} is beyond its threshold cannot be told: {why}; mend the "
                "plate, or let the threshold warn"
            )
        rows += [
            {
                "plate": plate,
                "well": breach.well,
                "fov_name": breach.fov_name,
                "t": breach.t,
                "measure": breach.threshold.measure.value,
                "of": None if breach.threshold.of is None else breach.threshold.of.value,
                "controls": breach.controls,
                "channel": breach.channel,
                "value": breach.value,
                "limit": breach.limit,
            }
            for breach in held.breaches
        ]
    table = pd.DataFrame(rows, columns=list(EXCLUSION_TYPES)).astype(EXCLUSION_TYPES)
    return table.assign(n_cells=_covered(cells, table)).astype(EXCLUSION_TYPES)


def is_excluded(cells: pd.DataFrame, exclusions: pd.DataFrame) -> BoolArray:
    """Which rows of `cells` (N: `plate, fov_name, t`) some row of `exclusions` covers: shape (N,)."""
    placed = _placed(cells)
    covered = np.zeros(len(cells), bool)
    for names, of_level in _by_level(exclusions):
        covered |= pd.MultiIndex.from_frame(placed[names]).isin(pd.MultiIndex.from_frame(of_level))
    return covered


def _covered(cells: pd.DataFrame, exclusions: pd.DataFrame) -> "pd.Series[int]":
    """How many rows of `cells` each row of `exclusions` covers."""
    placed = _placed(cells)
    counts = pd.Series(0, index=exclusions.index)
    for names, of_level in _by_level(exclusions):
        sizes = placed.groupby(names, sort=False).size().rename("n").reset_index()
        found = of_level.merge(sizes, on=names, how="left")["n"].fillna(0)
        counts[of_level.index] = found.to_numpy(np.int64)
    return counts


def _placed(cells: pd.DataFrame) -> pd.DataFrame:
    """Plate, well, FOV and time point of every row of `cells`."""
    fov = cells["fov_name"].astype(str)
    columns = {"plate": cells["plate"].astype(str), "well": fov.str.rsplit("/", n=1).str[0], "fov_name": fov}
    return pd.DataFrame({**columns, "t": cells["t"].astype(np.int64)})


def _by_level(exclusions: pd.DataFrame) -> Iterator[tuple[list[str], pd.DataFrame]]:
    """Rows that name a plate, a well, an FOV and a frame, with the columns by which they name it."""
    names = ["plate", "well", "fov_name", "t"]
    depth = exclusions[names].notna().sum(axis=1)
    for n in range(1, len(names) + 1):
        if (depth == n).any():
            types = {name: np.int64 if name == "t" else str for name in names[:n]}
            yield names[:n], exclusions.loc[depth == n, names[:n]].astype(types)
