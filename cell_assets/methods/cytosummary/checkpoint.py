"""A checkpoint on disk: weights as safetensors, and everything needed to build and feed the network again as JSON."""

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from cell_assets.errors import BadInputError
from cell_assets.methods.cytosummary.building import SetNetwork, network_of
from cell_assets.methods.cytosummary.parameters import TrainingParameters

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"


class CheckpointConfig(BaseModel):
    """The content of `config.json`; a field that this version does not know is refused, not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["cell_assets.cytosummary_checkpoint"] = "cell_assets.cytosummary_checkpoint"
    version: Literal[1] = 1
    features: tuple[str, ...]
    """Names of the D features of a cell, in the network's order."""
    compounds: tuple[str, ...]
    """Those that it learned from."""
    plates: tuple[str, ...]
    """Those that it learned on."""
    kept_epoch: int
    """Whose weights these are."""
    parameters: TrainingParameters
    torch_version: str
    """Part of the environment that decides the bytes."""


def save_checkpoint(network: SetNetwork, config: CheckpointConfig, folder: Path) -> None:
    """Writes `model.safetensors` and `config.json` into `folder`."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, folder / WEIGHTS_FILE)
    content = json.dumps(config.model_dump(mode="json"), indent=2, sort_keys=True)
    (folder / CONFIG_FILE).write_text(content + "\n", encoding="utf-8")


def load_config(folder: Path) -> CheckpointConfig:
    """How a checkpoint was made.

    Raises:
        BadInputError: `config.json` is missing or not understood.
    """
    try:
        return CheckpointConfig.model_validate_json((folder / CONFIG_FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise BadInputError(
            f"checkpoint {folder.name}: {CONFIG_FILE} is not there or not understood ({error}); use the version of "
            "cell-assets that wrote it, or train again"
        ) from error


def load_checkpoint(folder: Path) -> tuple[SetNetwork, CheckpointConfig]:
    """The trained network in evaluation mode, and how it was made.

    Raises:
        BadInputError: a file is missing or not understood, or the weights do not fit the network.
    """
    config = load_config(folder)
    network = network_of(config.parameters, len(config.features))
    try:
        network.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise BadInputError(
            f"checkpoint {folder.name}: {WEIGHTS_FILE} does not hold the network that {CONFIG_FILE} states ({reason}); "
            "train again"
        ) from error
    return network.eval(), config
