"""How much of the data a training really saw, counted from the batches that reached the network.

Counting the draws instead would not notice a loader that hands out the same epoch for ever under a healthy
loss, which is how 99.5 % of a data set once went unseen.
"""

from collections import Counter
from dataclasses import dataclass, field

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from cell_assets.methods.distributed import gathered
from cell_assets.methods.dynaclr.sampling import TripletSampler


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LagCount(_Frozen):
    """One bar of the histogram of positive lags."""

    lag_min: float
    draws: int


class EpochSeen(_Frozen):
    """What one epoch showed the network."""

    epoch: int
    anchors_seen: int
    share_of_anchors: float
    share_of_anchors_so_far: float
    """Share seen in this epoch or an earlier one."""
    distinct_negatives: int
    positive_lags: tuple[LagCount, ...]


class SplitAnchors(_Frozen):
    """Where the cells of a split went; see `AnchorCount`."""

    split: str
    cells: int
    anchors: int
    without_later_image: int
    without_negative: int
    share_relatives_only: float | None
    """Share of anchors for which only direct relatives could be excluded; None without anchors."""

    @classmethod
    def of(cls, sampler: TripletSampler) -> "SplitAnchors":
        count = sampler.count
        return cls(
            split=sampler.split,
            cells=count.cells,
            anchors=count.anchors,
            without_later_image=count.without_later_image,
            without_negative=count.without_negative,
            share_relatives_only=count.relatives_only / count.anchors if count.anchors else None,
        )


class SamplingReport(_Frozen):
    """The content of `sampling.json`."""

    format: str = "cell_assets.dynaclr_sampling"
    version: int = 1
    strategy: str
    tau_min: float
    anchors: tuple[SplitAnchors, ...]
    cells_not_in_manifest: int
    cells_left_out: int = 0
    """By thresholds of quality, of all splits together."""
    share_of_anchors_seen: float
    share_of_pixels_padded: float
    """Pixels of augmented patches that lay outside the stored patch and were mirrored."""
    side_without_padding_px: int
    """Stored patch side from which no augmentation would need padding."""
    epochs: tuple[EpochSeen, ...]


@dataclass
class _Counts:
    """One epoch's, of one device."""

    anchors: Tensor
    """(cells,) bool."""
    negatives: Tensor
    lags: Counter[float] = field(default_factory=Counter)
    padded_sum: float = 0.0
    steps: int = 0


class SamplingRecord:
    """Counts anchors, lags and negatives batch by batch, over all devices; its state travels with a resumable
    checkpoint."""

    def __init__(self, sampler: TripletSampler) -> None:
        self._sampler = sampler
        self._ever = torch.zeros(len(sampler.cells), dtype=torch.bool)
        self._epochs: list[EpochSeen] = []
        self._padded_sum = 0.0
        self._steps = 0
        self._open_epoch()

    def _open_epoch(self) -> None:
        self._own = _Counts(torch.zeros_like(self._ever), torch.zeros_like(self._ever))

    def observe(self, cells: Tensor, counted: Tensor, share_padded: float) -> None:
        """One batch: `cells` (3 B,) as in `TripletBatch`, `counted` (B,)."""
        anchor, positive, negative = cells.cpu().view(3, -1)[:, counted.cpu()]
        own, minutes = self._own, self._sampler.cells.minutes
        own.anchors[anchor] = True
        own.negatives[negative] = True
        own.lags.update((minutes[positive.numpy()] - minutes[anchor.numpy()]).round(3).tolist())
        own.padded_sum += share_padded
        own.steps += 1

    def close_epoch(self, epoch: int) -> None:
        """Sums the epoch up over all devices, each of which must call this."""
        anchors, negatives = torch.zeros_like(self._ever), torch.zeros_like(self._ever)
        lags: Counter[float] = Counter()
        for part in gathered(self._own):
            anchors |= part.anchors
            negatives |= part.negatives
            lags.update(part.lags)
            self._padded_sum += part.padded_sum
            self._steps += part.steps
        self._ever |= anchors
        total = len(self._sampler)
        self._epochs.append(
            EpochSeen(
                epoch=epoch,
                anchors_seen=int(anchors.sum()),
                share_of_anchors=int(anchors.sum()) / total,
                share_of_anchors_so_far=int(self._ever.sum()) / total,
                distinct_negatives=int(negatives.sum()),
                positive_lags=tuple(LagCount(lag_min=k, draws=n) for k, n in sorted(lags.items())),
            )
        )
        self._open_epoch()

    def state(self) -> dict[str, object]:
        """Plain values and one tensor, loadable with `weights_only=True`."""
        return {
            "ever": self._ever,
            "epochs": [epoch.model_dump_json() for epoch in self._epochs],
            "padded_sum": self._padded_sum,
            "steps": self._steps,
        }

    def restore(self, ever: Tensor, epochs: list[str], padded_sum: float, steps: int) -> None:
        """Takes up what `state` gave."""
        self._ever = ever
        self._epochs = [EpochSeen.model_validate_json(epoch) for epoch in epochs]
        self._padded_sum, self._steps = padded_sum, steps
        self._open_epoch()

    def report(self, validation: TripletSampler | None, tau_min: float, side_needed: int) -> SamplingReport:
        """Everything that was observed."""
        samplers = [self._sampler] + ([validation] if validation else [])
        return SamplingReport(
            strategy=self._sampler.strategy.value,
            tau_min=tau_min,
            anchors=tuple(SplitAnchors.of(sampler) for sampler in samplers),
            cells_not_in_manifest=self._sampler.count.cells_not_in_manifest,
            cells_left_out=self._sampler.count.cells_left_out,
            share_of_anchors_seen=self._epochs[-1].share_of_anchors_so_far if self._epochs else 0.0,
            share_of_pixels_padded=self._padded_sum / max(self._steps, 1),
            side_without_padding_px=side_needed,
            epochs=tuple(self._epochs),
        )
