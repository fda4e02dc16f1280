"""How the arithmetic runs: device, precision, compilation, threads and determinism.

Sets the process up for one computation and puts everything back after it.
"""

import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from cell_assets.errors import BadInputError
from cell_assets.methods.dynaclr.imagenet import weights_digest
from cell_assets.methods.dynaclr.parameters import (
    CompileMode,
    Device,
    InitialState,
    Precision,
    TrainingParameters,
)


def derived_seed(*path: int) -> int:
    """A 63-bit seed for one purpose, for example (seed, epoch, step)."""
    return int(np.random.SeedSequence(path).generate_state(1, np.uint64)[0] >> np.uint64(1))


def supported(parameters: TrainingParameters) -> tuple[TrainingParameters, tuple[str, ...]]:
    """`parameters` as this machine can run them, and a sentence for everything that changed.

    The learning rate and the digest of ImageNet weights are filled in where they are not stated.

    Raises:
        BadInputError: a GPU is asked for and there is none, or ImageNet weights, and they are not there or others.
    """
    if parameters.device is Device.CUDA and not torch.cuda.is_available():
        raise BadInputError("device=cuda was asked for and PyTorch sees no GPU here; use device=cpu")
    if parameters.device is Device.CUDA and parameters.devices > torch.cuda.device_count():
        raise BadInputError(
            f"devices={parameters.devices} was asked for and PyTorch sees {torch.cuda.device_count()} GPUs here; use "
            "as many at most"
        )
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
    half = parameters.precision is Precision.BFLOAT16
    if half and parameters.device is Device.CPU and not torch.cpu._is_avx512_bf16_supported():
        changes["precision"] = Precision.FLOAT32
        messages.append("the network runs in float32, because the processor has no bfloat16 instructions")
    return parameters.model_copy(update=changes), tuple(messages)


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


@contextmanager
def prepared(device: Device, threads: int, seed: int) -> Iterator[None]:
    """Fixed threads, deterministic algorithms, an own random state and a quiet Lightning, while it lasts."""
    lightning_log = logging.getLogger("lightning.pytorch")
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), lightning_log.level)
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    # Earlier compilations in this process would let dynamo choose dynamic shapes and so other code.
    torch._dynamo.reset()
    torch.set_num_threads(threads)
    # CUDA's interpolation has no deterministic backward; none is taken here, but a kernel may still refuse.
    torch.use_deterministic_algorithms(True, warn_only=device is Device.CUDA)
    # Nothing here reads memory before writing it, so that filling all of it first only costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    lightning_log.setLevel(logging.WARNING)
    devices = list(range(torch.cuda.device_count())) if device is Device.CUDA else []
    try:
        with torch.random.fork_rng(devices), warnings.catch_warnings():
            # Advice about loader workers, which reading a memory-mapped patch table does not need.
            warnings.filterwarnings("ignore", module="lightning")
            # Gradients of depthwise convolutions are copied where several devices average them.
            warnings.filterwarnings("ignore", "Grad strides do not match")
            torch.manual_seed(derived_seed(seed, 0))
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1], warn_only=warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
        lightning_log.setLevel(before[2])
        torch._dynamo.reset()
