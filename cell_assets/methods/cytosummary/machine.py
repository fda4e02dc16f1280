"""What of a training, or of a trained network, this machine can run, and what it changes instead."""

import torch

from cell_assets.methods.cytosummary.parameters import TrainingParameters
from cell_assets.methods.execution import require, runnable_precision
from cell_assets.methods.processor import Device


def supported(parameters: TrainingParameters) -> tuple[TrainingParameters, tuple[str, ...]]:
    """`parameters` as this machine can train by them, and a sentence for everything that changed.

    Raises:
        BadInputError: more devices are asked for than there are.
    """
    require(parameters.device, parameters.devices, parameters.num_nodes)
    precision, messages = runnable_precision(parameters.precision, parameters.device)
    return parameters.model_copy(update={"precision": precision}), messages


def applicable(parameters: TrainingParameters) -> tuple[TrainingParameters, tuple[str, ...]]:
    """As `supported`, but what was trained on a GPU is applied on the CPU where there is none."""
    if parameters.device is Device.CUDA and not torch.cuda.is_available():
        moved, messages = supported(parameters.model_copy(update={"device": Device.CPU}))
        return moved, (
            "the network was trained on a GPU and is applied on the CPU, because PyTorch sees no GPU here: the last "
            "digits differ",
            *messages,
        )
    return supported(parameters)
