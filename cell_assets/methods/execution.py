"""How the arithmetic runs: threads, determinism and randomness.

Sets the process up for one computation and puts everything back after it.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from cell_assets.errors import BadInputError
from cell_assets.methods.processor import Device, Precision


def derived_seed(*path: int) -> int:
    """A 63-bit seed for one purpose, for example (seed, epoch, step)."""
    return int(np.random.SeedSequence(path).generate_state(1, np.uint64)[0] >> np.uint64(1))


def require(device: Device, devices: int = 1, num_nodes: int = 1) -> None:
    """Refuse what this machine lacks.

    Args:
        devices: of all machines together.
        num_nodes: machines, each of which has as many.

    Raises:
        BadInputError: so many GPUs, or cores for so many processes, are not there; or machines would have unlike many.
    """
    if devices % num_nodes:
        raise BadInputError(
            f"devices={devices} are those of all machines, and num_nodes={num_nodes} would not have equally many; "
            "choose a multiple"
        )
    if device is Device.CUDA and not torch.cuda.is_available():
        raise BadInputError("device=cuda was asked for and PyTorch sees no GPU here; use device=cpu")
    there = torch.cuda.device_count() if device is Device.CUDA else len(os.sched_getaffinity(0))
    here = devices // num_nodes
    if here > there:
        kind = "GPUs" if device is Device.CUDA else "processor cores"
        of_all = "" if num_nodes == 1 else f", {here} on each of {num_nodes} machines,"
        raise BadInputError(
            f"devices={devices}{of_all} was asked for and there are {there} {kind} here; use as many at most"
        )


def runnable_precision(precision: Precision, device: Device) -> tuple[Precision, tuple[str, ...]]:
    """The arithmetic that the processor has instructions for, and a sentence where it is not the one asked for."""
    if precision is Precision.FLOAT32:
        return precision, ()
    on_cpu = device is Device.CPU
    has_half = torch.cpu._is_avx512_bf16_supported() if on_cpu else torch.cuda.is_bf16_supported()
    if has_half:
        return precision, ()
    why = "the network runs in float32, because the processor has no bfloat16 instructions"
    return Precision.FLOAT32, (why,)


@contextmanager
def prepared(device: Device, threads: int, seed: int) -> Iterator[None]:
    """Fixed threads, deterministic algorithms, an own random state and a quiet Lightning, while it lasts.

    Raises:
        BadInputError: a GPU is asked for and there is none.
    """
    require(device)
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
