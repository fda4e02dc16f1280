"""Batches of sets: an epoch goes once through all compounds, in chunks that are drawn anew.

A plate takes part in a chunk of which it holds two compounds at least, since one alone is told from nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cell_assets.errors import BadInputError
from cell_assets.methods.cytosummary.parameters import Positives, TrainingParameters
from cell_assets.methods.cytosummary.plate_cells import PlateCells
from cell_assets.methods.cytosummary.sets import SetDraw, WellCells, draw_sets
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
    """One epoch's batches; within plates each plate is a batch of its own, and all plates of a chunk are a step, so
    that memory is that of one plate's sets."""

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
        self._first = np.cumsum([0, *(len(plate.features) for plate in plates)])
        if parameters.positives is Positives.ACROSS_PLATES:
            wells = [_together(wells, self._first)]
        self._wells = wells
        self._batches = _batches(wells, parameters, epoch)

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, place: int) -> SetBatch:
        batch = self._batches[place]
        generator = np.random.default_rng([self.parameters.seed, 1, self.epoch, place])
        draw = draw_sets(self._wells[batch.source].among(batch.compounds), self.parameters.sets, generator)
        counts = Counts(
            torch.from_numpy(draw.of_set),
            torch.from_numpy(draw.starts),
            torch.from_numpy(draw.times),
            len(draw.compound),
        )
        return SetBatch(
            torch.from_numpy(self._cells(batch.source, draw)),
            counts,
            torch.from_numpy(draw.compound),
            batch.weight,
            batch.ends_step,
        )

    def _cells(self, source: int, draw: SetDraw) -> np.ndarray:
        if self.parameters.positives is Positives.WITHIN_PLATE:
            return self.plates[source].features[draw.cells]
        plate = np.searchsorted(self._first, draw.cells, side="right") - 1
        parts = [
            one.features[draw.cells[plate == place] - self._first[place]]
            for place, one in enumerate(self.plates)
        ]
        # The cells are in ascending order, and so in that of the plates.
        return np.concatenate(parts)


class _Batch(NamedTuple):
    source: int
    compounds: np.ndarray
    weight: float
    ends_step: bool


def _together(wells: Sequence[WellCells], first: np.ndarray) -> WellCells:
    return WellCells(
        np.concatenate([one.first + begin for one, begin in zip(wells, first, strict=False)]),
        np.concatenate([one.size for one in wells]),
        np.concatenate([one.compound for one in wells]),
    )


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
