"""The training loop's body for Lightning: a step is a chunk of compounds of every source, one after another."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

from cell_assets.evaluation.profiling.well_manifest import COMPOUND
from cell_assets.evaluation.retrieval.profiles import Profiles
from cell_assets.evaluation.retrieval.retrieval import Question, ranked_queries
from cell_assets.methods.cytosummary.batches import EpochSets, SetBatch
from cell_assets.methods.cytosummary.building import SetNetwork, on_plate
from cell_assets.methods.cytosummary.conditioned_network import ConditionedNet
from cell_assets.methods.cytosummary.objective import supcon_loss
from cell_assets.methods.cytosummary.parameters import Positives, TrainingParameters
from cell_assets.methods.cytosummary.plate_cells import PlateCells, compared_plates
from cell_assets.methods.cytosummary.sets import WellCells
from cell_assets.methods.distributed import gathered, joined, rank, world_size
from cell_assets.methods.processor import Precision
from cell_assets.methods.resuming import FINGERPRINT


@dataclass(frozen=True)
class Epoch:
    """One row of the history."""

    epoch: int
    train_loss: float
    """Mean over batches."""
    validation_map: float | None
    """Of retrieving replicates of validation compounds, see `replicate_retrieval`; None without any."""


@dataclass(frozen=True)
class Kept:
    """The best epoch so far."""

    epoch: int
    validation_map: float
    weights: dict[str, torch.Tensor]


class CytoSummaryModule(L.LightningModule):
    """Contrastive training of a network of sets; every draw is seeded by (seed, epoch, batch)."""

    def __init__(
        self,
        network: SetNetwork,
        parameters: TrainingParameters,
        validation: Sequence[PlateCells],
        fingerprint: str = "",
    ) -> None:
        super().__init__()
        # Several batches are one step.
        self.automatic_optimization = False
        self.network = network
        self.settings = parameters
        self.validation = validation
        self.fingerprint = fingerprint
        self.history: list[Epoch] = []
        self.kept: Kept | None = None
        self._losses: list[float] = []

    def training_step(self, batch: SetBatch, _: int) -> None:
        half = self.settings.precision is Precision.BFLOAT16
        with torch.autocast(batch.cells.device.type, torch.bfloat16, enabled=half):
            if isinstance(self.network, ConditionedNet):
                profiles = self.network(batch.cells, batch.counts, batch.plates)
            else:
                profiles = self.network(batch.cells, batch.counts)
        settings = self.settings
        profiles = joined(profiles.float(), batch.places)
        loss = supcon_loss(profiles, batch.compound, settings.temperature, settings.denominator)
        # Lightning averages gradients over devices, each of which has those of its own sets alone.
        self.manual_backward(loss * batch.weight * world_size())
        self._losses.append(float(loss.detach()))
        if batch.ends_step:
            optimizer = self.optimizers()
            assert not isinstance(optimizer, list)
            optimizer.step()
            optimizer.zero_grad()

    def on_train_epoch_end(self) -> None:
        settings = self.settings
        found = replicate_retrieval(self.network, self.validation, settings.precision, settings.positives)
        if found is not None and (self.kept is None or found > self.kept.validation_map):
            weights = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
            self.kept = Kept(self.current_epoch, found, weights)
        self.history.append(Epoch(self.current_epoch, float(np.mean(self._losses)), found))
        self._losses = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        settings = self.settings
        return torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[FINGERPRINT] = self.fingerprint
        checkpoint["cytosummary_history"] = [asdict(epoch) for epoch in self.history]
        checkpoint["cytosummary_kept"] = None if self.kept is None else vars(self.kept)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = [Epoch(**epoch) for epoch in checkpoint["cytosummary_history"]]
        kept = checkpoint["cytosummary_kept"]
        self.kept = None if kept is None else Kept(**kept)


class SetData(L.LightningDataModule):
    """Batches drawn anew for the trainer's epoch."""

    def __init__(
        self, plates: Sequence[PlateCells], wells: Sequence[WellCells], parameters: TrainingParameters
    ) -> None:
        super().__init__()
        self.plates, self.wells, self.parameters = plates, wells, parameters

    def train_dataloader(self) -> DataLoader[SetBatch]:
        """The current epoch's batches; the trainer asks every epoch."""
        trainer = self.trainer
        if trainer is None:
            raise RuntimeError("the data module needs its trainer, which knows the epoch")
        batches = EpochSets(self.plates, self.wells, self.parameters, trainer.current_epoch, rank())
        return DataLoader(batches, batch_size=None, shuffle=False)


def replicate_retrieval(
    network: SetNetwork,
    plates: Sequence[PlateCells],
    precision: Precision,
    positives: Positives = Positives.WITHIN_PLATE,
) -> float | None:
    """Mean average precision of wells that ask for their replicates where training looks for positives.

    Within plates or batches it is the mean over these, of those that have something to ask, see `can_ask`; None if none
    has. Devices share them, and all get the same mean.
    """
    found: dict[int, float] = {}
    for place, group in enumerate(compared_plates(plates, positives)):
        if place % world_size() != rank():
            continue
        own = [plates[place] for place in group]
        compounds = np.concatenate([plate.wells[COMPOUND].to_numpy(str) for plate in own])
        if not can_ask(compounds):
            continue
        profiles = np.concatenate(
            [on_plate(network, plate).profiles_of(plate.features, plate.starts, precision) for plate in own]
        )
        columns = tuple(f"profile_{i}" for i in range(profiles.shape[1]))
        table = Profiles(pd.DataFrame({COMPOUND: compounds}), profiles.astype(np.float64), columns)
        found[place] = float(
            ranked_queries(table, Question(COMPOUND, unit=COMPOUND))["average_precision"].mean()
        )
    of_all = {place: value for part in gathered(found) for place, value in part.items()}
    return float(np.mean([of_all[place] for place in sorted(of_all)])) if of_all else None


def can_ask(compounds: np.ndarray) -> bool:
    """Whether of wells of these compounds one has a replicate, and one of another compound to tell it from."""
    n_wells = np.unique(compounds, return_counts=True)[1]
    return len(n_wells) > 1 and bool(n_wells.max() > 1)
