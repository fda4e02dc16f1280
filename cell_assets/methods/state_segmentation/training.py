"""Training a U-Net on annotated nuclei of train tracks, watched on those of val tracks."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from cell_assets.errors import BadInputError
from cell_assets.evaluation.splits import Split
from cell_assets.imaging.parquet_tables import write_parquet
from cell_assets.methods.contract import Progress, ProgressSink
from cell_assets.methods.execution import prepared
from cell_assets.methods.processor import Precision
from cell_assets.methods.state_segmentation.checkpoint import StateSegmentationConfig, save_checkpoint
from cell_assets.methods.state_segmentation.fovs import SegmentedFovs, States
from cell_assets.methods.state_segmentation.network import UNet, UNetConfig
from cell_assets.methods.state_segmentation.parameters import StateSegmentationParameters
from cell_assets.methods.state_segmentation.targets import IGNORED
from cell_assets.methods.state_segmentation.tiles import Batch, SplitFrames, class_weights, epoch_batches

HISTORY_FILE = "history.parquet"
_DRAWS, _VALIDATION = 0, 1
"""Purposes of seeded generators."""


@dataclass(frozen=True)
class EpochLoss:
    """Losses of one epoch."""

    epoch: int
    """From 1."""
    train_loss: float
    """Mean over its steps, while the network changed."""
    val_loss: float | None
    """Over the same tiles in every epoch; None without annotated val nuclei."""


@dataclass(frozen=True)
class StateTrainingResult:
    """A finished training; its files lie in the folder that the caller named."""

    config: StateSegmentationConfig
    history: tuple[EpochLoss, ...]
    messages: tuple[str, ...]
    """What a person should know."""


def train(
    opened: SegmentedFovs,
    states: States,
    parameters: StateSegmentationParameters,
    out: Path,
    progress: ProgressSink | None = None,
) -> StateTrainingResult:
    """Write `model.safetensors`, `config.json` and `history.parquet` into the existing folder `out`.

    Equal inputs and parameters give equal bytes in an equal environment.

    Args:
        opened: FOVs with states, see `fovs.with_states`.

    Raises:
        BadInputError: no train track has a segmented and annotated nucleus of each state.
    """
    training, validation = (SplitFrames(opened.fovs, split) for split in (Split.TRAIN, Split.VAL))
    counts = training.pixel_counts() if len(training) else np.zeros(3, np.int64)
    for state, n in zip((states.a, states.b), counts[1:], strict=True):
        if not n:
            raise BadInputError(
                f"no segmented nucleus of a train track is annotated {states.column} {state}; annotate some, or "
                "look at the segmentation's parameters"
            )
    messages = (
        ()
        if len(validation)
        else ("no nucleus of a val track is annotated, so training does not stop early",)
    )
    with prepared(parameters.device, parameters.threads, parameters.seed):
        network = UNet(
            UNetConfig(
                channels=len(opened.channel_names), base_width=parameters.base_width, depth=parameters.depth
            )
        )
        weights = class_weights(counts, parameters.class_weights)
        history, best = _fit(network, training, validation, weights, parameters, progress)
    config = StateSegmentationConfig(
        network=network.config,
        channels=opened.channel_names,
        column=states.column,
        state_a=states.a,
        state_b=states.b,
        class_pixels=tuple(int(n) for n in counts),
        class_weights=weights,
        n_train_nuclei=training.n_nuclei,
        n_val_nuclei=validation.n_nuclei,
        best_epoch=best,
        parameters=parameters,
        torch_version=torch.__version__,
    )
    save_checkpoint(network, config, out)
    table = pd.DataFrame([vars(one) for one in history], columns=["epoch", "train_loss", "val_loss"])
    write_parquet(table.astype({"val_loss": "float64"}), out / HISTORY_FILE)
    return StateTrainingResult(config, tuple(history), messages)


def state_loss(logits: Tensor, classes: Tensor, weights: Tensor) -> Tensor:
    """Cross entropy, weighted by class and averaged by these weights over the pixels that are not ignored.

    Args:
        logits: (N, 3, Y, X)
        classes: (N, Y, X), `IGNORED` where a pixel does not count.
        weights: (3,)
    """
    # Flat: of images, the backward pass has no deterministic kernel on GPUs.
    flat, truth = logits.permute(0, 2, 3, 1).reshape(-1, logits.shape[1]).float(), classes.reshape(-1).long()
    total = F.cross_entropy(flat, truth, weight=weights, ignore_index=IGNORED, reduction="sum")
    weight = weights[truth[truth != IGNORED]].sum()
    # Without any pixel that counts there is nothing to be wrong about.
    return total / weight if weight > 0 else total


def _fit(
    network: UNet,
    training: SplitFrames,
    validation: SplitFrames,
    class_weighting: Sequence[float],
    parameters: StateSegmentationParameters,
    progress: ProgressSink | None,
) -> tuple[list[EpochLoss], int]:
    """Leaves the weights of the best epoch in `network`; returns the history and that epoch."""
    device = torch.device(parameters.device.value)
    network.to(device)
    weights = torch.tensor(class_weighting, dtype=torch.float32, device=device)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=parameters.learning_rate, weight_decay=parameters.weight_decay
    )
    steps = -(-len(training) // parameters.batch_size)
    total = min(parameters.max_epochs * steps, parameters.max_steps or parameters.max_epochs * steps)
    shown = _Shown(progress, total)
    history: list[EpochLoss] = []
    best, best_epoch, best_state = float("inf"), 0, network.state_dict()
    done = 0
    while done < total:
        epoch = len(history) + 1
        losses = []
        network.train()
        for batch in epoch_batches(
            training, parameters, _generator(parameters, _DRAWS, epoch), augmented=True
        ):
            optimizer.zero_grad()
            loss = _batch_loss(network, batch, weights, parameters)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
            done += 1
            shown.step(done, epoch)
            if done == total:
                break
        val_loss = _validation_loss(network, validation, weights, parameters) if len(validation) else None
        history.append(EpochLoss(epoch, float(np.mean(losses)), val_loss))
        # Without validation nothing tells epochs apart, and the last one is kept.
        if val_loss is None or val_loss < best:
            best, best_epoch = best if val_loss is None else val_loss, epoch
            best_state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        patience = parameters.early_stopping_patience
        if val_loss is not None and patience is not None and epoch - best_epoch >= patience:
            break
    network.load_state_dict(best_state)
    network.cpu()
    return history, best_epoch


def _batch_loss(
    network: UNet, batch: Batch, weights: Tensor, parameters: StateSegmentationParameters
) -> Tensor:
    images, classes = (torch.from_numpy(one).to(weights.device) for one in (batch.images, batch.classes))
    half = parameters.precision is Precision.BFLOAT16
    with torch.autocast(weights.device.type, torch.bfloat16, enabled=half):
        logits = network(images)
    return state_loss(logits, classes, weights)


def _validation_loss(
    network: UNet, frames: SplitFrames, weights: Tensor, parameters: StateSegmentationParameters
) -> float:
    network.eval()
    rng = _generator(parameters, _VALIDATION)
    with torch.inference_mode():
        losses = [
            (len(batch.images), float(_batch_loss(network, batch, weights, parameters)))
            for batch in epoch_batches(frames, parameters, rng, augmented=False)
        ]
    return sum(n * loss for n, loss in losses) / sum(n for n, _ in losses)


def _generator(parameters: StateSegmentationParameters, *purpose: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((parameters.seed, *purpose))))


class _Shown:
    """Reports rate and remaining time of steps."""

    def __init__(self, sink: ProgressSink | None, total: int) -> None:
        self._sink = sink
        self._total = total
        self._started = time.monotonic()

    def step(self, done: int, epoch: int) -> None:
        if self._sink is None:
            return
        rate = done / max(time.monotonic() - self._started, 1e-9)
        self._sink(Progress(done, self._total, "steps", rate, (self._total - done) / rate, f"epoch {epoch}"))
