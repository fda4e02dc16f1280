"""A training on several devices of this machine: one process each, started and watched from here."""

import multiprocessing
import multiprocessing.process
import os
import queue
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import torch

from cell_assets.errors import BadInputError
from cell_assets.evaluation.manifest import FrozenCells
from cell_assets.imaging.workers import end_with_parent
from cell_assets.methods.contract import Progress, ProgressSink, TrainingResult, TrainingTable
from cell_assets.methods.dynaclr.machine import supported
from cell_assets.methods.dynaclr.parameters import TrainingParameters
from cell_assets.methods.dynaclr.training import train
from cell_assets.methods.processor import Device

WAITS_FOR_OTHERS = timedelta(hours=1)
"""How long a process waits for another within a step: a compilation or a slow disk may hold one up."""


@dataclass(frozen=True)
class _Job:
    tables: Sequence[TrainingTable]
    manifest: FrozenCells
    parameters: TrainingParameters
    out: Path
    work: Path | None
    meeting: str
    """File through which the processes find each other."""


@dataclass(frozen=True)
class _Failure:
    why: str
    is_bad_input: bool


_Message = Progress | TrainingResult | _Failure


def train_together(
    tables: Sequence[TrainingTable],
    manifest: FrozenCells,
    parameters: TrainingParameters,
    out: Path,
    progress: ProgressSink | None = None,
    work: Path | None = None,
) -> TrainingResult:
    """`training.train` in `parameters.devices` processes, each of which sees its share of every batch.

    Raises:
        BadInputError: as `training.train`.
        RuntimeError: a process failed or was killed; the others are ended.
    """
    parameters, messages = supported(parameters)
    context = multiprocessing.get_context("spawn")
    said: multiprocessing.Queue[_Message] = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        job = _Job(tables, manifest, parameters, out, work, str(Path(folder) / "meeting"))
        processes = [
            context.Process(target=_train_as, args=(number, job, said))
            for number in range(parameters.devices)
        ]
        try:
            for process in processes:
                process.start()
            result = _followed(processes, said, progress)
            for process in processes:
                process.join()
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
            # What the others say of one that was killed is that they cannot reach it.
            raise RuntimeError(_ended(processes) or message.why)
        if progress is not None:
            progress(message)


def _ended(processes: Sequence[multiprocessing.process.BaseProcess]) -> str | None:
    for number, process in enumerate(processes):
        if process.exitcode:
            return (
                f"process {number} of {len(processes)} that train together ended with {process.exitcode} (a negative "
                "number is a signal: 9 may be want of memory); mend that and train again"
            )
    return None


def _train_as(number: int, job: _Job, said: "multiprocessing.Queue[_Message]") -> None:
    """What each process runs; the first one speaks for all, and any says why it fails."""
    end_with_parent()
    devices = job.parameters.devices
    # Lightning takes from these that it need not start processes, and Gloo where to listen.
    os.environ |= {"LOCAL_RANK": str(number), "NODE_RANK": "0", "GLOO_SOCKET_IFNAME": "lo"}
    is_cuda = job.parameters.device is Device.CUDA
    if is_cuda:
        torch.cuda.set_device(number)
    try:
        torch.distributed.init_process_group(
            "nccl" if is_cuda else "gloo",
            init_method=f"file://{job.meeting}",
            rank=number,
            world_size=devices,
            timeout=WAITS_FOR_OTHERS,
        )
        sink = said.put if number == 0 else None
        result = train(job.tables, job.manifest, job.parameters, job.out, sink, job.work)
        if number == 0:
            said.put(result)
        torch.distributed.destroy_process_group()
    except BadInputError as error:
        said.put(_Failure(str(error), is_bad_input=True))
    except Exception as error:  # noqa: BLE001 - it crosses to the parent, which raises it
        traceback.print_exc()
        why = f"process {number} of {devices} that train together failed ({type(error).__name__}: {error})"
        said.put(_Failure(f"{why}; its log says where", is_bad_input=False))
