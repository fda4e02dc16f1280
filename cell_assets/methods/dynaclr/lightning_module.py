"""The training loop's body for Lightning: augmentation, network, loss, and what is recorded of them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lightning as L
import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Generator, Tensor

from cell_assets.imaging.channels import ChannelKind
from cell_assets.methods.distributed import gathered, joined, rank, world_size
from cell_assets.methods.dynaclr.augmentation import (
    AugmentedBatch,
    PatchAugmentation,
    center_crop,
    normalise,
    shown_channels,
)
from cell_assets.methods.dynaclr.loading import TripletBatch
from cell_assets.methods.dynaclr.network import DynaclrNetwork, Encoding
from cell_assets.methods.dynaclr.objective import BatchLoss, nt_xent, triplet_loss
from cell_assets.methods.dynaclr.parameters import CompileMode, Objective, TrainingParameters
from cell_assets.methods.dynaclr.sampling_record import SamplingRecord
from cell_assets.methods.execution import derived_seed
from cell_assets.methods.processor import Precision
from cell_assets.methods.resuming import FINGERPRINT

CPU_PART_BYTES = 18 * 2**20
"""Size of a part, as float32. The C library gives larger blocks back to the system at once, and getting
their pages again cost more than the arithmetic: 0.20 s against 0.04 s to normalise 135 patches. By two threads, parts
of 18 MB took 4.7 ms a patch of [2, 15, 192, 192], of 8 MB 5.3 and of 60 MB 7.8."""


class EpochLoss(BaseModel):
    """One row of `history.parquet`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    steps: int
    train_loss: float
    """Mean over the epoch's triplets, in training mode, augmented."""
    active_share: float
    """Share of triplets that still gave a gradient, or of NT-Xent's views with a negative nearer than their
    positive."""
    val_loss: float | None
    """Mean over the validation triplets, in evaluation mode, not augmented; None without such tracks."""


class _Mean:
    """Running mean of a loss over an epoch."""

    def __init__(self) -> None:
        self.loss, self.active, self.n = 0.0, 0.0, 0

    @classmethod
    def over_devices(cls, own: "_Mean") -> "_Mean":
        """Of what all devices added; each of them must ask."""
        total = cls()
        for part in gathered(own):
            total.loss, total.active, total.n = (
                total.loss + part.loss,
                total.active + part.active,
                total.n + part.n,
            )
        return total

    def add(self, loss: BatchLoss) -> None:
        self.loss += float(loss.terms.detach().sum())
        self.active += float(loss.active.sum())
        self.n += len(loss.terms)


class DynaclrModule(L.LightningModule):
    """Contrastive training of a `DynaclrNetwork`; every random draw is seeded by (seed, epoch, step, rank)."""

    def __init__(
        self,
        network: DynaclrNetwork,
        parameters: TrainingParameters,
        kinds: Sequence[ChannelKind],
        record: SamplingRecord,
        fingerprint: str,
    ) -> None:
        super().__init__()
        self.network = network
        self.settings = parameters
        self.augmentation = PatchAugmentation(parameters.augmentation, kinds, parameters.patch_side_px)
        self.record = record
        self.fingerprint = fingerprint
        self.history: list[EpochLoss] = []
        self._train_mean, self._val_mean = _Mean(), _Mean()
        self._steps = 0
        self._kinds = network.kind_codes(kinds)
        compiled = parameters.compile_mode is CompileMode.INDUCTOR
        self._encode: Callable[[Tensor, Tensor | None, Tensor | None], Encoding] = (
            torch.compile(network, dynamic=False) if compiled else network.__call__
        )

    def encode(self, patches: Tensor, shown: Tensor | None = None) -> Encoding:
        """Normalised patches (N, C, Z, Y, X) → features and projections, in the parameters' precision.

        `shown` (N, C) hides channels from the channel-adaptive stem.
        """
        half = self.settings.precision is Precision.BFLOAT16
        kinds = None if self._kinds is None else self._kinds.to(patches.device)
        with torch.autocast(patches.device.type, torch.bfloat16, enabled=half):
            features, projections = self._encode(patches, kinds, shown)
        return Encoding(features.float(), projections.float())

    def training_step(self, batch: TripletBatch, step: int) -> Tensor:
        # The first device draws as an only one would.
        device = () if rank() == 0 else (rank(),)
        seed = derived_seed(self.settings.seed, self.current_epoch, step, *device)
        # Stochastic depth draws from the global generator.
        torch.manual_seed(seed)
        generator = Generator().manual_seed(seed)
        augmented = augmented_triplets(batch, self.augmentation, generator)
        shown = None
        if self._kinds is not None:
            n, channels = augmented.patches.shape[:2]
            shown = shown_channels(n, channels, self.settings.channel_masking, generator).to(self.device)
        loss = self._loss(augmented.patches, batch, shown)
        self.record.observe(batch.cells, batch.counted, augmented.share_outside)
        self._add(loss, self._train_mean)
        self._steps += 1
        views = 2 if self.settings.objective is Objective.NT_XENT else 1
        # Lightning averages gradients over devices.
        return loss.share_of_mean(views * int(batch.counted_in_step.sum()), world_size())

    def validation_step(self, batch: TripletBatch, step: int) -> None:
        patches = center_crop(
            normalise(batch.patches, batch.offset, batch.scale), self.settings.patch_side_px
        )
        self._add(self._loss(patches, batch), self._val_mean)

    def on_validation_epoch_end(self) -> None:
        # One Lightning metric, for early stopping; the same on all devices already.
        self._val_mean = _Mean.over_devices(self._val_mean)
        self.log("val_loss", self._val_mean.loss / max(self._val_mean.n, 1))

    def on_train_epoch_end(self) -> None:
        """Lightning validates before it calls this, so that both losses are of the same epoch."""
        self.record.close_epoch(self.current_epoch)
        train, val = _Mean.over_devices(self._train_mean), self._val_mean
        self.history.append(
            EpochLoss(
                epoch=self.current_epoch,
                steps=self._steps,
                train_loss=train.loss / train.n,
                active_share=train.active / train.n,
                val_loss=val.loss / val.n if val.n else None,
            )
        )
        # Here and not when an epoch starts: Lightning does not say so after a resume.
        self._train_mean, self._val_mean, self._steps = _Mean(), _Mean(), 0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        settings = self.settings
        return torch.optim.AdamW(
            self.network.parameters(), lr=settings.rate, weight_decay=settings.weight_decay
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[FINGERPRINT] = self.fingerprint
        checkpoint["dynaclr_history"] = [row.model_dump_json() for row in self.history]
        checkpoint["dynaclr_sampling"] = self.record.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = [EpochLoss.model_validate_json(row) for row in checkpoint["dynaclr_history"]]
        self.record.restore(**checkpoint["dynaclr_sampling"])

    def _add(self, loss: BatchLoss, mean: _Mean) -> None:
        # All devices have all terms of NT-Xent, and the first one counts them.
        if self.settings.objective is not Objective.NT_XENT or rank() == 0:
            mean.add(loss)

    def _loss(self, patches: Tensor, batch: TripletBatch, shown: Tensor | None = None) -> BatchLoss:
        # One pass over all three, so that batch normalisation sees them together.
        anchor, positive, negative = self.encode(patches, shown).projections.chunk(3)
        settings = self.settings
        if settings.objective is Objective.NT_XENT:
            # Its negatives are the whole step's.
            return nt_xent(
                joined(anchor, batch.places),
                joined(positive, batch.places),
                joined(negative, batch.places),
                batch.kin,
                batch.counted_in_step,
                settings.temperature,
                settings.concentration,
            )
        return triplet_loss(anchor, positive, negative, batch.counted, settings.margin, settings.distance)


def augmented_triplets(
    batch: TripletBatch, augmentation: PatchAugmentation, generator: Generator
) -> AugmentedBatch:
    """A batch as the network takes it, normalised and augmented part by part; a GPU takes it as one part.

    Each part draws from a generator of its own, so that as many parts as PyTorch has threads are made at once: each by
    one thread, which is faster than two at every one of the many small operations.
    """
    n, device, side = len(batch.patches), batch.patches.device, augmentation.side
    on_cpu = device.type == "cpu"
    per_part = max(1, CPU_PART_BYTES // (4 * batch.patches[0].numel())) if on_cpu else n
    parts = [slice(start, start + per_part) for start in range(0, n, per_part)]
    seeds = torch.randint(2**62, (len(parts),), generator=generator).tolist()
    made = _room((*batch.patches.shape[:3], side, side), device)

    @torch.no_grad()
    def make(part: slice, seed: int) -> float:
        drawn = Generator().manual_seed(seed)
        augmented = augmentation(batch.patches[part], batch.offset[part], batch.scale[part], drawn)
        made[part] = augmented.patches
        return augmented.share_outside * len(augmented.patches)

    threads = torch.get_num_threads() if on_cpu else 1
    if threads == 1:
        outside = list(map(make, parts, seeds))
    else:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            outside = list(pool.map(make, parts, seeds))
        torch.set_num_threads(threads)
    return AugmentedBatch(made, sum(outside) / n)


def _room(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Uninitialised float32. NumPy asks for huge pages: 94 MB were filled in 17 ms, where PyTorch's own took 45."""
    if device.type == "cpu":
        return torch.from_numpy(np.empty(shape, np.float32))
    return torch.empty(shape, device=device)
