"""What a bleached fluorophore does to the embedding: patches are dimmed as bleaching dims them, and embedded again."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from cell_assets.errors import BadInputError
from cell_assets.evaluation.manifest import FrozenCells
from cell_assets.evaluation.pixels.bleaching_parameters import BleachingParameters
from cell_assets.imaging.channels import ChannelKind
from cell_assets.methods.contract import Progress, ProgressSink, TrainingTable
from cell_assets.methods.dynaclr.augmentation import center_crop, normalise
from cell_assets.methods.dynaclr.checkpoint import load_checkpoint, load_config
from cell_assets.methods.dynaclr.embedding import as_trained, open_as_trained
from cell_assets.methods.dynaclr.embedding_parameters import EmbeddingParameters
from cell_assets.methods.dynaclr.patches import PatchSource
from cell_assets.methods.execution import derived_seed, prepared

NORMAL_MAD = 0.6745
"""Median of |x| of a standard normal."""


def embed_cells_dimmed(
    checkpoint: Path,
    tables: Sequence[TrainingTable],
    manifest: FrozenCells,
    cells: pd.DataFrame,
    parameters: BleachingParameters,
    embedding: EmbeddingParameters,
    progress: ProgressSink | None = None,
) -> dict[float, NDArray[np.float32]] | str:
    """Features (N, D) of `cells` by share of remaining light, or why nothing that the network sees can bleach.

    Args:
        cells: N rows with `plate, fov_name` and the `row` of their patch table.

    Raises:
        BadInputError: the checkpoint is not understood, or the tables lack its channels or have another shape.
    """
    source = open_as_trained(tables, manifest, load_config(checkpoint))
    if (why := why_not_dimmed(source)) is not None:
        return why
    table, row = source.places(cells)
    return embed_dimmed(
        checkpoint, source, table, row, parameters.remaining, embedding, parameters.seed, progress
    )


def embed_dimmed(
    checkpoint: Path,
    source: PatchSource,
    table: NDArray[np.int64],
    row: NDArray[np.int64],
    remaining: Sequence[float],
    parameters: EmbeddingParameters | None = None,
    seed: int = 0,
    progress: ProgressSink | None = None,
) -> dict[float, NDArray[np.float32]]:
    """Features (N, D) of the (table, row) cells for every share of the light that remains; 1 leaves all as it was.

    Memory holds one batch of patches.

    Raises:
        BadInputError: no channel that the network sees is fluorescence, or a share is not above 0 and at most 1.
    """
    parameters = parameters or EmbeddingParameters()
    network, config = load_checkpoint(checkpoint)
    source = as_trained(source, config)
    if (why := why_not_dimmed(source)) is not None:
        raise BadInputError(why)
    for share in remaining:
        if not 0 < share <= 1:
            raise BadInputError(f"remaining light is {share:g}; give shares above 0 and up to 1")
    features = {share: np.empty((len(row), config.network.widths[-1]), np.float32) for share in remaining}
    device = torch.device(parameters.device.value)
    network = network.to(device).eval()
    codes = network.kind_codes(source.kinds)
    kinds = None if codes is None else codes.to(device)
    started = time.monotonic()
    with prepared(parameters.device, parameters.threads, parameters.seed), torch.inference_mode():
        for start in range(0, len(row), parameters.batch_size):
            part = slice(start, start + parameters.batch_size)
            read = source.read(table[part], row[part])
            stored = center_crop(torch.from_numpy(read.patches).to(device), config.parameters.patch_side_px)
            offset, scale = torch.from_numpy(read.offset).to(device), torch.from_numpy(read.scale).to(device)
            patches = normalise(stored, offset, scale)
            for share in remaining:
                generator = Generator().manual_seed(derived_seed(seed, start))
                seen = dimmed(patches, source.kinds, share, generator)
                features[share][part] = network(seen, kinds).features.cpu().numpy()
            if progress is not None:
                done = min(part.stop, len(row))
                rate = done / max(time.monotonic() - started, 1e-9)
                progress(Progress(done, len(row), "cells", rate, (len(row) - done) / rate))
    return features


def why_not_dimmed(source: PatchSource) -> str | None:
    """Why nothing in these patches can bleach, or None where something can."""
    if ChannelKind.FLUORESCENCE in source.kinds:
        return None
    return f"the checkpoint sees {', '.join(source.channel_names)}, and none of them is fluorescence that could bleach"


def dimmed(patches: Tensor, kinds: Sequence[ChannelKind], remaining: float, generator: Generator) -> Tensor:
    """Normalised patches (N, C, Z, Y, X) as fewer photons would have made them; phase stays as it is.

    Light above the FOV's median falls to the share `remaining`. Of photons it is the variance and not the standard
    deviation that falls with the light, so the noise that scaling takes away too much of is put back.
    """
    if remaining == 1:
        return patches
    changed = patches.clone()
    for channel, kind in enumerate(kinds):
        if kind is not ChannelKind.FLUORESCENCE:
            continue
        light = patches[:, channel]
        missing = noise_sd(light) * (remaining - remaining**2) ** 0.5
        drawn = torch.randn(light.shape, generator=generator).to(light.device)
        changed[:, channel] = remaining * light + missing[:, None, None, None] * drawn
    return changed


def noise_sd(images: Tensor) -> Tensor:
    """(N, Z, Y, X) → (N,): standard deviation of white noise, by the median second difference along x.

    Texture as fine as a pixel counts as noise.
    """
    second = images[..., :-2] - 2 * images[..., 1:-1] + images[..., 2:]
    return second.abs().flatten(1).median(dim=1).values / (NORMAL_MAD * 6**0.5)
