"""Batches of triplets for Lightning: every epoch drawn anew, every batch of one size."""

from typing import NamedTuple

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cell_assets.methods.distributed import rank, world_size
from cell_assets.methods.dynaclr.cells import IntArray
from cell_assets.methods.dynaclr.patches import PatchSource
from cell_assets.methods.dynaclr.sampling import TripletSampler


class TripletBatch(NamedTuple):
    """B triplets as 3 B patches: all anchors, then all positives, then all negatives; one device's share of a step."""

    patches: Tensor
    """(3 B, C, Z, Y, X) stored intensities."""
    offset: Tensor
    """(3 B, C)."""
    scale: Tensor
    """(3 B, C)."""
    counted: Tensor
    """(B,) bool: False for a triplet that only fills the batch up to its size."""
    cells: Tensor
    """(3 B,) entries of the `CellIndex`."""
    kin: Tensor
    """(3 S,) codes of `TripletSampler.kin` of the S triplets of the step, which all devices share."""
    counted_in_step: Tensor
    """(S,) bool: `counted` of all of them."""
    places: tuple[Tensor, ...]
    """Of each device, by rank, the places of its triplets in the step."""


class Schedule(NamedTuple):
    """How an epoch is cut into steps: `steps` batches of `size` triplets, the last ones filled up.

    One size for all batches, and for those of each device, because each further shape costs a compilation; the fill-up
    is at most one triplet a batch, and counts neither in the loss nor as seen. Devices share the very batches that one
    alone would have, and differ by one triplet at most; only of an epoch of fewer triplets than devices is more filled
    up, so that none is without any.
    """

    triplets: int
    steps: int
    size: int
    devices: int

    @classmethod
    def of(cls, triplets: int, batch_size: int, devices: int = 1) -> "Schedule":
        steps = -(-triplets // batch_size)
        return cls(triplets, steps, max(-(-triplets // steps), devices), devices)

    def places(self, step: int) -> IntArray:
        """(size,) places in the epoch's draws; those that are not below `triplets` fill the batch up."""
        return np.arange(step, self.size * self.steps, self.steps)

    def share(self, rank: int) -> IntArray:
        """Entries of any step's `places` that are the device's: every triplet of an epoch falls to one of them."""
        return np.arange(rank, self.size, self.devices)


class EpochBatches(Dataset[TripletBatch]):
    """One epoch's batches as one device sees them; item i is its share of step i."""

    def __init__(
        self,
        source: PatchSource,
        sampler: TripletSampler,
        epoch: int,
        batch_size: int,
        rank: int = 0,
        devices: int = 1,
    ) -> None:
        self.source = source
        self.rank = rank
        self.index = sampler.cells
        self.kin = sampler.kin
        self.draws = sampler.draw(epoch)
        self.schedule = Schedule.of(len(self.draws), batch_size, devices)

    def __len__(self) -> int:
        return self.schedule.steps

    def __getitem__(self, step: int) -> TripletBatch:
        place = self.schedule.places(step)
        counted = place < len(self.draws)
        place = place % len(self.draws)
        of_step = np.stack([self.draws.anchor[place], self.draws.positive[place], self.draws.negative[place]])
        own = self.schedule.share(self.rank)
        cells: IntArray = of_step[:, own].reshape(-1)
        read = self.source.read(self.index.table[cells], self.index.row[cells])
        return TripletBatch(
            torch.from_numpy(read.patches),
            torch.from_numpy(read.offset),
            torch.from_numpy(read.scale),
            torch.from_numpy(counted[own]),
            torch.from_numpy(cells),
            torch.from_numpy(self.kin[of_step.reshape(-1)]),
            torch.from_numpy(counted),
            tuple(torch.from_numpy(self.schedule.share(rank)) for rank in range(self.schedule.devices)),
        )


class TripletData(L.LightningDataModule):
    """Training batches, drawn anew for the trainer's epoch, and validation batches, always the same."""

    def __init__(
        self,
        source: PatchSource,
        training: TripletSampler,
        validation: TripletSampler | None,
        batch_size: int,
        total_steps: int,
        workers: int,
    ) -> None:
        super().__init__()
        self.source = source
        self.training = training
        self.validation = validation
        self.batch_size = batch_size
        self.total_steps = total_steps
        self.workers = workers

    def train_dataloader(self) -> DataLoader[TripletBatch]:
        """The current epoch's batches; the trainer asks every epoch. The last epoch may be cut short."""
        trainer = self.trainer
        if trainer is None:
            raise RuntimeError("the data module needs its trainer, which knows the epoch")
        epoch = trainer.current_epoch
        batches = self._batches(self.training, epoch)
        left = self.total_steps - epoch * len(batches)
        return self._loader(batches, min(left, len(batches)))

    def val_dataloader(self) -> DataLoader[TripletBatch] | list[None]:
        """The same triplets every epoch, so that losses compare; none without validation tracks."""
        if self.validation is None:
            return []
        batches = self._batches(self.validation, epoch=0)
        return self._loader(batches, len(batches))

    def _batches(self, sampler: TripletSampler, epoch: int) -> EpochBatches:
        return EpochBatches(self.source, sampler, epoch, self.batch_size, rank(), world_size())

    def _loader(self, batches: EpochBatches, steps: int) -> DataLoader[TripletBatch]:
        return DataLoader(batches, batch_size=None, sampler=range(steps), num_workers=self.workers)
