"""Sets of cells to learn from, drawn anew for every batch (paper, Experimental Setup: data augmentation).

A set stands for a compound: cells of one of its wells or, by the flip of a coin, of two, drawn with replacement.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from cell_assets.errors import BadInputError

IntArray = NDArray[np.int64]


class SetParameters(BaseModel):
    """How sets are drawn. Defaults are the published training's; the paper states no numbers of cells."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    sets_per_compound: int = Field(default=4, ge=2)
    """Sets of every compound in a batch; two at least, because a set learns from its likes."""
    mean_cells: float = Field(default=1500, gt=0)
    """Cells of a set, which all sets of a batch share: normally distributed around this."""
    sd_cells: float = Field(default=800, ge=0)
    """Standard deviation of that number."""
    min_cells: int = Field(default=100, ge=2)
    """A smaller number is drawn again."""
    share_of_two_wells: float = Field(default=0.5, ge=0, le=1)
    """Probability that a set mixes two wells of its compound, half of its cells from each."""


@dataclass(frozen=True)
class WellCells:
    """Where the cells of W wells lie in a table that is ordered by well."""

    first: IntArray
    """(W,) first row of each well."""
    size: IntArray
    """(W,) cells of each well."""
    compound: IntArray
    """(W,) codes."""

    def __post_init__(self) -> None:
        empty = np.flatnonzero(self.size < 1)
        if len(empty):
            raise BadInputError(
                f"wells at places {', '.join(map(str, empty[:5]))} have no cell to draw; leave them out of training"
            )

    @classmethod
    def of(cls, starts: IntArray, compound: IntArray) -> "WellCells":
        """Wells that lie one after another and begin at `starts` (W + 1,), the last of which is the end."""
        return cls(starts[:-1], np.diff(starts), compound)

    def among(self, compounds: IntArray) -> "WellCells":
        """The wells of these compounds."""
        chosen = np.isin(self.compound, compounds)
        return WellCells(self.first[chosen], self.size[chosen], self.compound[chosen])


@dataclass(frozen=True)
class SetDraw:
    """S sets of a batch over the U different cells that they hold."""

    cells: IntArray
    """(U,) rows of the table, ascending."""
    of_set: IntArray
    """(K,) sets that hold a cell, cell by cell."""
    starts: IntArray
    """(U + 1,) where the sets of each cell begin, and K."""
    times: NDArray[np.float32]
    """(K,) how often the set holds the cell; they add up to the batch's number of cells in every set."""
    compound: IntArray
    """(S,) codes."""

    def among(self, sets: IntArray) -> "SetDraw":
        """These of the sets alone, renumbered in this order, over the cells that they hold."""
        number = np.full(len(self.compound), -1)
        number[sets] = np.arange(len(sets))
        kept = number[self.of_set] >= 0
        cell = np.repeat(np.arange(len(self.cells)), np.diff(self.starts))[kept]
        held, first = np.unique(cell, return_index=True)
        return SetDraw(
            self.cells[held],
            number[self.of_set[kept]],
            np.append(first, len(cell)),
            self.times[kept],
            self.compound[sets],
        )


def draw_sets(wells: WellCells, parameters: SetParameters, generator: np.random.Generator) -> SetDraw:
    """A batch of `sets_per_compound` sets of every compound; equal generators draw equal sets."""
    compounds, by_compound = np.unique(wells.compound, return_inverse=True)
    order = np.argsort(by_compound, kind="stable")
    n_wells = np.bincount(by_compound)
    first_well = np.cumsum(n_wells) - n_wells
    code = np.repeat(np.arange(len(compounds)), parameters.sets_per_compound)
    place = generator.integers(0, n_wells[code])
    # A step of 0 takes the same well again, which is what a set of one well is.
    step = generator.integers(1, np.maximum(n_wells[code], 2))
    step[(generator.random(len(code)) >= parameters.share_of_two_wells) | (n_wells[code] == 1)] = 0
    pair = np.stack([place, (place + step) % n_wells[code]], 1)
    well = order[first_well[code][:, None] + pair]  # (S, 2)
    half = _cells_of_a_set(parameters, generator) // 2
    within = generator.integers(0, wells.size[well][..., None], (*well.shape, half))
    drawn = wells.first[well][..., None] + within
    row = np.arange(len(code))[:, None, None]
    key, times = np.unique(drawn * len(code) + row, return_counts=True)
    cell, of_set = np.divmod(key, len(code))
    first = np.flatnonzero(np.diff(cell, prepend=-1))
    starts = np.append(first, len(cell))
    return SetDraw(cell[first], of_set, starts, times.astype(np.float32), compounds[code])


def _cells_of_a_set(parameters: SetParameters, generator: np.random.Generator) -> int:
    """Even, and at least `min_cells`."""
    if parameters.mean_cells + 4 * parameters.sd_cells < parameters.min_cells:
        raise BadInputError(
            f"mean_cells={parameters.mean_cells:g} and sd_cells={parameters.sd_cells:g} hardly ever give "
            f"min_cells={parameters.min_cells}; lower min_cells or raise mean_cells"
        )
    while True:
        number = 2 * round(generator.normal(parameters.mean_cells, parameters.sd_cells) / 2)
        if number >= parameters.min_cells:
            return number
