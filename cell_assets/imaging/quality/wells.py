"""Values of wells from values of their FOVs, and where wells lie on a plate."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_FORMATS = ((8, 12), (16, 24), (32, 48))
"""Rows and columns of plates with 96, 384 and 1536 wells (ANSI/SLAS 4-2004)."""

_PLACE = re.compile(r"([A-Z]{1,2})/0*([1-9][0-9]*)")


@dataclass(frozen=True)
class PlateLayout:
    """The standard plate that wells lie on, and where each lies, from 0."""

    n_rows: int
    n_columns: int
    places: dict[str, tuple[int, int]]
    """Row and column by well name."""

    @property
    def row_names(self) -> tuple[str, ...]:
        return tuple(_row_name(row) for row in range(self.n_rows))

    def grid(self, values: "pd.Series[float]") -> NDArray[np.float64]:
        """(rows, columns) of the values, which are indexed by well name; NaN where there is none."""
        grid = np.full((self.n_rows, self.n_columns), np.nan)
        for well, value in values.items():
            if not pd.isna(value):
                grid[self.places[str(well)]] = value
        return grid


def plate_layout(wells: Sequence[str]) -> PlateLayout | None:
    """The smallest standard plate from 96 wells that holds wells named `row/column`.

    None where a name is not a letter row and a number column, or lies outside of every standard plate.
    """
    places: dict[str, tuple[int, int]] = {}
    for well in wells:
        match = _PLACE.fullmatch(well)
        if match is None:
            return None
        places[well] = (_row_number(match.group(1)), int(match.group(2)) - 1)
    for n_rows, n_columns in _FORMATS:
        if all(row < n_rows and column < n_columns for row, column in places.values()):
            return PlateLayout(n_rows, n_columns, places)
    return None


def well_values(frames: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Median of each measure over the frames of a well: one row per `channel` and `well`, in order of coming.

    `frames` has one row per `channel`, `fov_name` (`row/column/fov`) and t. A FOV with many time points weighs
    as much as one with few: frames are first reduced to their FOV's median.
    """
    measures = list(measures)
    fovs = frames.groupby(["channel", "fov_name"], sort=False, dropna=False)[measures].median().reset_index()
    fovs["well"] = fovs["fov_name"].str.rsplit("/", n=1).str[0]
    return fovs.groupby(["channel", "well"], sort=False, dropna=False)[measures].median().reset_index()


def _row_number(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _row_name(row: int) -> str:
    return chr(ord("A") + row) if row < 26 else "A" + chr(ord("A") + row - 26)
