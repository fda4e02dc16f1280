"""What of a training this machine can run, and what it changes instead."""

import shutil

import torch

from cell_assets.methods.dynaclr.imagenet import weights_digest
from cell_assets.methods.dynaclr.parameters import CompileMode, InitialState, TrainingParameters
from cell_assets.methods.execution import require, runnable_precision
from cell_assets.methods.processor import Device


def supported(parameters: TrainingParameters) -> tuple[TrainingParameters, tuple[str, ...]]:
    """`parameters` as this machine can run them, and a sentence for everything that changed.

    The learning rate and the digest of ImageNet weights are filled in where they are not stated.

    Raises:
        BadInputError: more devices are asked for than there are, or ImageNet weights that are not there or others.
    """
    require(parameters.device, parameters.devices, parameters.num_nodes)
    messages: list[str] = []
    changes: dict[str, object] = {"learning_rate": parameters.rate}
    if parameters.initial is InitialState.IMAGENET:
        changes["imagenet_blake3"] = weights_digest(parameters.imagenet_file, parameters.imagenet_blake3)
    if parameters.compile_mode is CompileMode.INDUCTOR and not _compiler_works(parameters.device):
        changes["compile_mode"] = CompileMode.EAGER
        messages.append(
            "torch.compile does not work here (it needs a C++ compiler), so the network runs uncompiled: "
            "slower, and with other checkpoint bytes than a compiled run"
        )
    changes["precision"], slower = runnable_precision(parameters.precision, parameters.device)
    return parameters.model_copy(update=changes), (*messages, *slower)


def _compiler_works(device: Device) -> bool:
    """Compiles and runs a trivial function: the only honest test of compiler, headers and linker."""
    if device is Device.CPU and not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        return False
    try:
        probe = torch.compile(lambda x: torch.sin(x) + 1, dynamic=False)
        probe(torch.zeros(16, device=device.value))
    except (RuntimeError, OSError, ImportError, torch._dynamo.exc.TorchDynamoException):
        return False
    finally:
        torch._dynamo.reset()
    return True
