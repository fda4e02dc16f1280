"""Batches of sets: an epoch goes once through all compounds, in chunks that are drawn anew.

Plates that are compared with each other take part in a chunk of which they hold two compounds at least, since one alone
is told from nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cell_assets.errors import BadInputError
from cell_assets.methods.cytosummary.parameters import TrainingParameters
from cell_assets.methods.cytosummary.plate_cells import PlateCells, compared_plates
from cell_assets.methods.cytosummary.sets import IntArray, SetDraw, WellCells, draw_sets
from cell_assets.methods.cytosummary.summed_cells import Counts


class SetBatch(NamedTuple):
    """S sets that are compared with each other, over U different cells."""

    cells: Tensor
    """(U, D)."""
    counts: Counts
    """Of S sets over U cells."""
    compound: Tensor
    """(S,) codes."""
    weight: float
    """Of this batch's loss in its step."""
    ends_step: bool
    """Whether the optimizer moves after it."""


class EpochSets(Dataset[SetBatch]):
    """One epoch's batches, each of plates that are compared with each other: within plates, of one. All of a chunk are
    one step, so that memory is that of one batch's sets."""

    def __init__(
        self,
        plates: Sequence[PlateCells],
        wells: Sequence[WellCells],
        parameters: TrainingParameters,
        epoch: int,
    ) -> None:
        self.plates = plates
        self.parameters = parameters
        self.epoch = epoch
        self._sources = [
            _Source.of([plates[place] for place in group], [wells[place] for place in group])
            for group in compared_plates(plates, parameters.positives)
        ]
        self._batches = _batches([one.wells for one in self._sources], parameters, epoch)

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, place: int) -> SetBatch:
        batch = self._batches[place]
        generator = np.random.default_rng([self.parameters.seed, 1, self.epoch, place])
        source = self._sources[batch.source]
        draw = draw_sets(source.wells.among(batch.compounds), self.parameters.sets, generator)
        counts = Counts(
            torch.from_numpy(draw.of_set),
            torch.from_numpy(draw.starts),
            torch.from_numpy(draw.times),
            len(draw.compound),
        )
        return SetBatch(
            torch.from_numpy(source.cells(draw)),
            counts,
            torch.from_numpy(draw.compound),
            batch.weight,
            batch.ends_step,
        )


@dataclass(frozen=True)
class _Source:
    """Plates whose wells are compared with each other."""

    plates: Sequence[PlateCells]
    first: IntArray
    """(number of plates + 1,) where the cells of each begin, one plate after the other."""
    wells: WellCells
    """Of all of them, in that numbering of cells."""

    @classmethod
    def of(cls, plates: Sequence[PlateCells], wells: Sequence[WellCells]) -> "_Source":
        first = np.cumsum([0, *(len(plate.features) for plate in plates)])
        together = WellCells(
            np.concatenate([one.first + begin for one, begin in zip(wells, first, strict=False)]),
            np.concatenate([one.size for one in wells]),
            np.concatenate([one.compound for one in wells]),
        )
        return cls(plates, first, together)

    def cells(self, draw: SetDraw) -> np.ndarray:
        """(U, D)."""
        if len(self.plates) == 1:
            return self.plates[0].features[draw.cells]
        plate = np.searchsorted(self.first, draw.cells, side="right") - 1
        parts = [
            one.features[draw.cells[plate == place] - self.first[place]]
            for place, one in enumerate(self.plates)
        ]
        # The cells are in ascending order, and so in that of the plates.
        return np.concatenate(parts)


class _Batch(NamedTuple):
    source: int
    compounds: np.ndarray
    weight: float
    ends_step: bool


def _batches(wells: Sequence[WellCells], parameters: TrainingParameters, epoch: int) -> list[_Batch]:
    """Chunks of compounds in a random order, and of every chunk the sources that hold two of it."""
    compounds = np.unique(np.concatenate([one.compound for one in wells]))
    order = np.random.default_rng([parameters.seed, 2, epoch]).permutation(compounds)
    # As even as can be, so that no chunk is a compound alone.
    chunks = np.array_split(order, max(1, round(len(order) / parameters.compounds_per_batch)))
    found: list[_Batch] = []
    for chunk in chunks:
        sources = [
            source for source, one in enumerate(wells) if len(np.intersect1d(one.compound, chunk)) >= 2
        ]
        found += [_Batch(source, chunk, 1 / len(sources), source == sources[-1]) for source in sources]
    if not found:
        raise BadInputError(
            "no plate holds two compounds that are compared, so there is nothing to learn; train on more compounds, or "
            "with positives=across-plates"
        )
    return found
