"""A training in several processes of this machine, one for each device, started and watched from here.

Each is a fresh interpreter, by multiprocessing's `spawn`: a Dagster step has threads, which a fork would not survive,
and no script that Lightning's own launcher could run again. They meet by a file that this process makes, so that no
port is chosen that another program could take, and talk over the loopback interface alone. Only the first one writes,
into the folder of the step, which publishes it; what is read is read by folders that the step has read receipts for.
"""

import multiprocessing
import multiprocessing.process
import os
import queue
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import torch

from cell_assets.errors import BadInputError
from cell_assets.imaging.workers import end_with_parent
from cell_assets.methods.contract import Progress, ProgressSink, TrainingResult
from cell_assets.methods.processor import Device

WAITS_FOR_OTHERS = timedelta(hours=1)
"""How long a process waits for another within a step: a compilation or a slow disk may hold one up."""
_DIES_WITHIN_S = 2.0
"""A killed process is seen to be gone so soon after others miss it."""

_ENDS_WITHIN_S = 60.0
"""Once the first process has its result, the others have nothing left to do."""


class Training(Protocol):
    """What every process runs; it can be pickled, and finds by `distributed.rank` which part of the work is its."""

    def __call__(self, *, progress: ProgressSink | None) -> TrainingResult:
        """The whole training; the first process's result is that of all."""
        ...


@dataclass(frozen=True)
class _Failure:
    why: str
    is_bad_input: bool


@dataclass(frozen=True)
class _Process:
    """One of those that train together."""

    number: int
    of: int
    device: Device
    meeting: str
    """File through which they find each other."""


_Message = Progress | TrainingResult | _Failure


def train_together(
    train: Training,
    devices: int,
    device: Device,
    messages: Sequence[str] = (),
    progress: ProgressSink | None = None,
) -> TrainingResult:
    """`train` in `devices` processes; where one fails or is killed, the others are ended at once.

    Args:
        device: of what kind they are.
        messages: put before those of the result.

    Raises:
        BadInputError: as `train`, of whichever process found it first.
        RuntimeError: a process failed, with what it said, or was killed.
    """
    context = multiprocessing.get_context("spawn")
    said: multiprocessing.Queue[_Message] = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            context.Process(
                target=_train_as,
                args=(_Process(number, devices, device, str(Path(folder) / "meeting")), train, said),
            )
            for number in range(devices)
        ]
        try:
            for process in processes:
                process.start()
            result = _followed(processes, said, progress)
            for process in processes:
                process.join(_ENDS_WITHIN_S)
        finally:
            for process in processes:
                if process.is_alive():
                    process.kill()
                    process.join()
    return replace(result, messages=(*messages, *result.messages))


def _followed(
    processes: Sequence[multiprocessing.process.BaseProcess],
    said: "multiprocessing.Queue[_Message]",
    progress: ProgressSink | None,
) -> TrainingResult:
    """The first process's result; hands progress on until then."""
    while True:
        # Read before what was said is, so that a last word is not missed.
        ended = _ended(processes)
        try:
            message = said.get(timeout=0.5)
        except queue.Empty:
            if ended:
                raise RuntimeError(ended) from None
            continue
        if isinstance(message, TrainingResult):
            return message
        if isinstance(message, _Failure):
            if message.is_bad_input:
                raise BadInputError(message.why)
            raise RuntimeError(_killed(processes) or message.why)
        if progress is not None:
            progress(message)


def _killed(processes: Sequence[multiprocessing.process.BaseProcess]) -> str | None:
    """What others say of one that was killed is that they cannot reach it, and maybe before the system says so.

    One that failed by itself spoke before others could miss it, and ends with 0.
    """
    deadline = time.monotonic() + _DIES_WITHIN_S
    while any(process.is_alive() for process in processes) and time.monotonic() < deadline:
        if ended := _ended(processes):
            return ended
        time.sleep(0.05)
    return _ended(processes)


def _ended(processes: Sequence[multiprocessing.process.BaseProcess]) -> str | None:
    for number, process in enumerate(processes):
        if process.exitcode:
            return (
                f"process {number} of {len(processes)} that train together ended with {process.exitcode} (a negative "
                "number is a signal: 9 may be want of memory); mend that and train again"
            )
    return None


def _train_as(own: _Process, train: Training, said: "multiprocessing.Queue[_Message]") -> None:
    """What each process runs; the first one speaks for all, and any says why it fails."""
    end_with_parent()
    # Lightning takes from these that it need not start processes, and Gloo and NCCL where to listen.
    os.environ |= {"LOCAL_RANK": str(own.number), "NODE_RANK": "0"}
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    is_cuda = own.device is Device.CUDA
    try:
        if is_cuda:
            torch.cuda.set_device(own.number)
        torch.distributed.init_process_group(
            "nccl" if is_cuda else "gloo",
            init_method=f"file://{own.meeting}",
            rank=own.number,
            world_size=own.of,
            timeout=WAITS_FOR_OTHERS,
        )
        result = train(progress=said.put if own.number == 0 else None)
        if own.number == 0:
            said.put(result)
        torch.distributed.destroy_process_group()
    except BadInputError as error:
        said.put(_Failure(str(error), is_bad_input=True))
    except Exception as error:  # noqa: BLE001 - it crosses to the parent, which raises it
        traceback.print_exc()
        why = f"process {own.number} of {own.of} that train together failed ({type(error).__name__}: {error})"
        said.put(_Failure(f"{why}; its log says where", is_bad_input=False))
