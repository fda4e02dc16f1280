"""A trained state segmentation on disk: weights as safetensors, everything else as JSON."""

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from cell_assets.errors import BadInputError
from cell_assets.methods.state_segmentation.network import UNet, UNetConfig
from cell_assets.methods.state_segmentation.parameters import StateSegmentationParameters

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"


class StateSegmentationConfig(BaseModel):
    """The content of `config.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["cell_assets.state_segmentation"] = "cell_assets.state_segmentation"
    version: Literal[1] = 1
    network: UNetConfig
    channels: tuple[str, ...]
    column: str
    state_a: str
    state_b: str
    """The rarer of the two among the nuclei learned from."""
    class_pixels: tuple[int, ...]
    """Of background, A and B in the training frames."""
    class_weights: tuple[float, ...]
    n_train_nuclei: int
    """Annotated nuclei, counted in every frame that shows them."""
    n_val_nuclei: int
    best_epoch: int
    """Whose weights these are, from 1."""
    parameters: StateSegmentationParameters
    torch_version: str


def save_checkpoint(network: UNet, config: StateSegmentationConfig, folder: Path) -> None:
    """Write `model.safetensors` and `config.json`; equal content gives equal bytes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, folder / WEIGHTS_FILE)
    content = json.dumps(config.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"
    (folder / CONFIG_FILE).write_text(content, encoding="utf-8")


def load_checkpoint(folder: Path) -> tuple[UNet, StateSegmentationConfig]:
    """The trained network in evaluation mode, and how it was made.

    Raises:
        BadInputError: a file is missing or not understood, or the weights do not fit the configuration.
    """
    try:
        config = StateSegmentationConfig.model_validate_json((folder / CONFIG_FILE).read_bytes())
        network = UNet(config.network)
        network.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (OSError, ValidationError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise BadInputError(f"state segmentation {folder}: cannot be read ({reason}); train again") from error
    return network.eval(), config
