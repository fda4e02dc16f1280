"""Batches of sets: an epoch goes once through all compounds of every source, in chunks that are drawn anew.

A source is plates that are compared with each other. Chunks are of its own compounds, so that sets are compared with as
many others however few compounds sources share; of a source that holds one compound alone nothing is learned, since
that is told from nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cell_assets.errors import BadInputError
from cell_assets.methods.cytosummary.conditioned_network import CellsOfPlate
from cell_assets.methods.cytosummary.parameters import Conditioning, TrainingParameters
from cell_assets.methods.cytosummary.plate_cells import PlateCells, compared_plates
from cell_assets.methods.cytosummary.sets import IntArray, SetDraw, WellCells, draw_sets
from cell_assets.methods.cytosummary.summed_cells import Counts


class SetBatch(NamedTuple):
    """S sets that are compared with each other, and this device's s of them over U different cells."""

    cells: Tensor
    """(U, D)."""
    counts: Counts
    """Of s sets over U cells."""
    compound: Tensor
    """(S,) codes, of the sets of all devices."""
    places: tuple[Tensor, ...]
    """Of each device, by rank, which of the S sets are its: those of whole compounds, since these share cells."""
    weight: float
    """Of this batch's loss in its step."""
    ends_step: bool
    """Whether the optimizer moves after it."""
    plates: tuple[CellsOfPlate, ...]
    """Of which the cells are, plate by plate, where φ sees their controls; else none is named."""


class EpochSets(Dataset[SetBatch]):
    """One epoch's batches, each of one source, which within plates is one plate.

    A step is one chunk of every source that has any left, so that memory is that of one batch's sets."""

    def __init__(
        self,
        plates: Sequence[PlateCells],
        wells: Sequence[WellCells],
        parameters: TrainingParameters,
        epoch: int,
        rank: int = 0,
    ) -> None:
        self.plates = plates
        self.parameters = parameters
        self.epoch = epoch
        self.rank = rank
        self._sources = [
            _Source.of([plates[place] for place in group], [wells[place] for place in group])
            for group in compared_plates(plates, parameters.positives)
        ]
        self._batches = _batches([one.wells for one in self._sources], parameters, epoch)

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def fewest_compounds(self) -> int:
        """Of its batches."""
        return min(len(batch.compounds) for batch in self._batches)

    def __getitem__(self, place: int) -> SetBatch:
        batch = self._batches[place]
        generator = np.random.default_rng([self.parameters.seed, 1, self.epoch, place])
        source = self._sources[batch.source]
        whole = draw_sets(source.wells.among(batch.compounds), self.parameters.sets, generator)
        places = self._places(whole)
        draw = whole if len(places) == 1 else whole.among(places[self.rank])
        counts = Counts(
            torch.from_numpy(draw.of_set),
            torch.from_numpy(draw.starts),
            torch.from_numpy(draw.times),
            len(draw.compound),
        )
        sees_controls = self.parameters.conditioning is Conditioning.LEARNED
        return SetBatch(
            torch.from_numpy(source.cells(draw)),
            counts,
            torch.from_numpy(whole.compound),
            tuple(map(torch.from_numpy, places)),
            batch.weight,
            batch.ends_step,
            source.cells_of_plates(draw) if sees_controls else (),
        )

    def _places(self, draw: SetDraw) -> list[IntArray]:
        devices = self.parameters.devices
        compound = np.unique(draw.compound, return_inverse=True)[1]
        return [np.flatnonzero(compound % devices == rank) for rank in range(devices)]


def require_share_for_each(epoch: EpochSets, devices: int) -> None:
    """Refuse devices of which some would have nothing to do; batches are as large in every epoch.

    Raises:
        BadInputError: there are more devices than compounds in a batch.
    """
    if epoch.fewest_compounds < devices:
        raise BadInputError(
            f"a batch holds {epoch.fewest_compounds} compounds, too few for devices={devices} to have one each; use "
            "fewer devices, or compare compounds of more plates by positives=across-plates"
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

    def cells_of_plates(self, draw: SetDraw) -> tuple[CellsOfPlate, ...]:
        """Of every plate that cells were drawn from.

        Control cells are the plates' own arrays, and no batch copies them on a CPU, where the loader has no other
        processes and nothing moves; a GPU gets those of a batch's plates anew with it, 4 C D bytes a plate.
        """
        ends = np.searchsorted(draw.cells, self.first)
        return tuple(
            CellsOfPlate(int(begin), int(end), torch.from_numpy(plate.seen_controls()))
            for plate, begin, end in zip(self.plates, ends[:-1], ends[1:], strict=True)
            if begin < end
        )


class _Batch(NamedTuple):
    source: int
    compounds: np.ndarray
    weight: float
    ends_step: bool


def _batches(wells: Sequence[WellCells], parameters: TrainingParameters, epoch: int) -> list[_Batch]:
    """Step by step, a chunk of every source that has one left; all sources go through compounds in one random order,
    so that those that hold the same compounds hold the same chunks."""
    compounds = np.unique(np.concatenate([one.compound for one in wells]))
    order = np.random.default_rng([parameters.seed, 2, epoch]).permutation(compounds)
    place = np.empty(compounds[-1] + 1, np.int64)
    place[order] = np.arange(len(order))
    of_sources = [_chunks(order[np.sort(place[np.unique(one.compound)])], parameters) for one in wells]
    found: list[_Batch] = []
    for step in range(max(map(len, of_sources))):
        sources = [source for source, chunks in enumerate(of_sources) if step < len(chunks)]
        found += [
            _Batch(source, of_sources[source][step], 1 / len(sources), source == sources[-1])
            for source in sources
        ]
    if not found:
        raise BadInputError(
            "no plate holds two compounds that are compared, so there is nothing to learn; train on more compounds, or "
            "with positives=across-plates"
        )
    return found


def _chunks(compounds: IntArray, parameters: TrainingParameters) -> list[IntArray]:
    """As even as can be, so that none is a compound alone; of less than two compounds there is none."""
    n = min(round(len(compounds) / parameters.compounds_per_batch), len(compounds) // 2)
    return np.array_split(compounds, max(1, n)) if len(compounds) >= 2 else []
