"""What a trained U-Net says of every cell: the mean class probability over the pixels of its nucleus."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from cell_assets.evaluation.scores.predicted_states import (
    PREDICTED_COLUMNS,
    PredictedStates,
    PredictedStatesRecord,
    write_predicted_states,
)
from cell_assets.methods.contract import Progress, ProgressSink
from cell_assets.methods.execution import prepared
from cell_assets.methods.state_segmentation.checkpoint import load_checkpoint
from cell_assets.methods.state_segmentation.fovs import FloatArray, SegmentedFovs
from cell_assets.methods.state_segmentation.network import UNet
from cell_assets.methods.state_segmentation.targets import STATE_A, STATE_B, Footprints

FloatMap = NDArray[np.float64]


def predict(
    checkpoint: Path, opened: SegmentedFovs, out: Path, progress: ProgressSink | None = None
) -> PredictedStates:
    """Write `states.parquet` and `states.json` into the existing folder `out`: one row for every cell image.

    The network sees each frame whole and in float32, whatever it was trained in. `probability` is that of state B
    rather than A, over the pixels of the cell's label or, where `segmented` is False, over the disk that stands for it.

    Raises:
        BadInputError: the checkpoint cannot be read.
    """
    network, config = load_checkpoint(checkpoint)
    total = sum(fov.cells["t"].nunique() for fov in opened.fovs)
    tables = []
    done, started = 0, time.monotonic()
    with prepared(config.parameters.device, config.parameters.threads, config.parameters.seed):
        network = network.to(config.parameters.device.value)
        for fov in opened.fovs:
            for t in sorted(fov.cells["t"].unique()):
                covers, cells = fov.nuclei(int(t))
                said = of_labels(class_probability(network, fov.image(int(t))), covers)
                tables.append(
                    cells.assign(probability=cells["label"].map(said), segmented=cells["label"] > 0)
                )
                done += 1
                if progress is not None:
                    rate = done / max(time.monotonic() - started, 1e-9)
                    progress(Progress(done, total, "frames", rate, (total - done) / rate))
    table = pd.concat(tables)[list(PREDICTED_COLUMNS)]
    table = table.sort_values(["plate", "fov_name", "track_id", "t"], ignore_index=True)
    record = PredictedStatesRecord(column=config.column, negative=config.state_a, positive=config.state_b)
    write_predicted_states(out, PredictedStates(record, table))
    return PredictedStates(record, table)


def class_probability(network: UNet, image: FloatArray) -> FloatMap:
    """Probabilities (3, Y, X) of background, A and B in a normalised image (C, Y, X)."""
    stride = 2**network.config.depth
    height, width = image.shape[1:]
    device = next(network.parameters()).device
    pixels = torch.from_numpy(image)[None].to(device)
    padded = F.pad(pixels, (0, -width % stride, 0, -height % stride), mode="replicate")
    with torch.inference_mode():
        # In float64, so that A and B of a pixel that is surely background still compare.
        probability = torch.softmax(network(padded)[0, :, :height, :width].double(), dim=0)
    return np.asarray(probability.cpu().numpy())


def of_labels(probability: FloatMap, covers: Footprints) -> dict[int, float]:
    """By label: B / (A + B) of the mean probabilities over its pixels."""
    labels, which = np.unique(covers.label, return_inverse=True)
    a, b = (
        np.bincount(which, probability[state].ravel()[covers.pixel], minlength=len(labels))
        for state in (STATE_A, STATE_B)
    )
    return dict(zip(labels.tolist(), (b / (a + b)).tolist(), strict=True))
