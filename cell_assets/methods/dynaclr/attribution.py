"""DynaCLR's encoder as class attribution takes it (paper, section 3.4.2): pixels to the features h."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from cell_assets.evaluation.manifest import FrozenCells
from cell_assets.evaluation.pixels.attribution_parameters import AttributionParameters
from cell_assets.methods.attribution.classifier import PatchEncoder
from cell_assets.methods.contract import TrainingTable
from cell_assets.methods.dynaclr.augmentation import center_crop, normalise
from cell_assets.methods.dynaclr.checkpoint import CheckpointConfig, load_checkpoint, load_config
from cell_assets.methods.dynaclr.embedding import open_as_trained
from cell_assets.methods.dynaclr.network import DynaclrNetwork
from cell_assets.methods.dynaclr.patches import PatchSource
from cell_assets.methods.execution import derived_seed, prepared
from cell_assets.methods.processor import Device

BASELINE = "the FOV's mean in a phase channel and its median in a fluorescence channel"
"""What patches are normalised to 0 by (appendix A.2)."""

_RANDOMISED = 1
"""Place in the seed's path."""


class _Features(nn.Module):
    """(N, C, Z, Y, X) → h (N, F): the network without its projection head."""

    def __init__(self, network: DynaclrNetwork, kinds: Tensor | None) -> None:
        super().__init__()
        self.network = network
        self.kinds: Tensor | None
        self.register_buffer("kinds", kinds, persistent=False)

    def forward(self, patches: Tensor) -> Tensor:
        features: Tensor = self.network(patches, self.kinds).features
        return features


def open_encoder(
    checkpoint: Path,
    tables: Sequence[TrainingTable],
    manifest: FrozenCells,
    parameters: AttributionParameters,
) -> PatchEncoder:
    """The trained network, and one of random values, over the cells of `tables`.

    Raises:
        BadInputError: the checkpoint is not understood, or the tables lack its channels or have another shape.
    """
    config = load_config(checkpoint)
    source = open_as_trained(tables, manifest, config)
    network, _ = load_checkpoint(checkpoint)
    with torch.random.fork_rng([]):
        torch.manual_seed(derived_seed(parameters.seed, _RANDOMISED))
        randomised = DynaclrNetwork(config.network).eval()
    kinds = network.kind_codes(source.kinds)
    return PatchEncoder(
        network=_Features(network, kinds),
        randomised=_Features(randomised, kinds),
        read=partial(_read, source, config),
        channel_names=source.channel_names,
        side_px=config.parameters.patch_side_px,
        baseline=BASELINE,
        arithmetic=partial(prepared, Device(parameters.device), parameters.threads, parameters.seed),
    )


def _read(
    source: PatchSource,
    config: CheckpointConfig,
    cells: pd.DataFrame,
) -> Tensor:
    read = source.read(*source.places(cells))
    patches = center_crop(torch.from_numpy(read.patches), config.parameters.patch_side_px)
    return normalise(patches, torch.from_numpy(read.offset), torch.from_numpy(read.scale))
