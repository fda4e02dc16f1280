"""A checkpoint on disk: weights as safetensors and everything needed to build the network again as JSON."""

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from cell_assets.errors import BadInputError
from cell_assets.imaging.channels import ChannelKind
from cell_assets.methods.dynaclr.imagenet import InitialWeights
from cell_assets.methods.dynaclr.network import DynaclrNetwork, NetworkConfig
from cell_assets.methods.dynaclr.parameters import TrainingParameters

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"


class ChannelConfig(BaseModel):
    """One channel that the network expects, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: ChannelKind


class CheckpointConfig(BaseModel):
    """The content of `config.json`; a field that this version does not know is refused, not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["cell_assets.dynaclr_checkpoint"] = "cell_assets.dynaclr_checkpoint"
    version: Literal[1] = 1
    network: NetworkConfig
    channels: tuple[ChannelConfig, ...]
    parameters: TrainingParameters
    initial_weights: InitialWeights | None
    """None when the backbone started from random values."""
    torch_version: str
    """Part of the environment that decides the bytes; a digest of all of it is the ledger's to keep."""


def write_json(path: Path, content: BaseModel) -> None:
    """Sorted keys and a final newline: equal content gives equal bytes."""
    path.write_text(json.dumps(content.model_dump(mode="json"), indent=2, sort_keys=True) + "\n")


def save_checkpoint(network: DynaclrNetwork, config: CheckpointConfig, folder: Path) -> None:
    """Writes `model.safetensors` and `config.json` into `folder`."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, folder / WEIGHTS_FILE)
    write_json(folder / CONFIG_FILE, config)


def load_config(folder: Path) -> CheckpointConfig:
    """How a checkpoint was made.

    Raises:
        BadInputError: `config.json` is missing or not understood.
    """
    try:
        return CheckpointConfig.model_validate_json((folder / CONFIG_FILE).read_bytes())
    except FileNotFoundError as error:
        raise BadInputError(f"checkpoint {folder.name} has no {CONFIG_FILE}; train again") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise BadInputError(
            f"checkpoint {folder.name}: {CONFIG_FILE} is not understood at {field} ({first['msg']}); "
            "use the version of cell-assets that wrote it, or train again"
        ) from error


def load_checkpoint(folder: Path) -> tuple[DynaclrNetwork, CheckpointConfig]:
    """The trained network in evaluation mode, and how it was made.

    Raises:
        BadInputError: `config.json` is missing or not understood, or the weights do not fit it.
    """
    config = load_config(folder)
    network = DynaclrNetwork(config.network)
    try:
        network.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise BadInputError(
            f"checkpoint {folder.name}: {WEIGHTS_FILE} does not hold the network that {CONFIG_FILE} states "
            f"({reason}); train again"
        ) from error
    return network.eval(), config
