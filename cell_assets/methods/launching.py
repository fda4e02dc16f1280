"""A training in several processes, one for each device, started and watched from here: those of this machine.

Each is a fresh interpreter, by multiprocessing's `spawn`: a Dagster step has threads, which a fork would not survive,
and no script that Lightning's own launcher could run again. They meet by a file (`meeting.py`). Those of one machine
talk over the loopback interface alone; of several machines each starts its own by this module. Only the first process
writes, into the folder of the step, which publishes it; what is read is read by folders that the step has read
receipts for.
"""

import multiprocessing
import multiprocessing.process
import os
import queue
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import torch

from cell_assets.errors import BadInputError
from cell_assets.imaging.workers import end_with_parent
from cell_assets.methods.contract import Progress, ProgressSink, TrainingResult
from cell_assets.methods.meeting import Meeting, called_meeting, found_meeting, meeting_here
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
class Team:
    """The processes of a training, over all machines."""

    devices: int
    """How many processes there are, one for each."""
    device: Device
    num_nodes: int = 1
    """Machines, each with as many of them."""

    @property
    def of_each(self) -> int:
        """Processes of each machine."""
        return self.devices // self.num_nodes


@dataclass(frozen=True)
class _Process:
    """One of those that train together."""

    team: Team
    node: int
    """Its machine."""
    local: int
    """Its number there."""
    meeting: str
    """File through which they find each other."""

    @property
    def number(self) -> int:
        """Among all."""
        return self.node * self.team.of_each + self.local

    def __str__(self) -> str:
        return f"process {self.number} of {self.team.devices} that train together"


_Message = Progress | TrainingResult | _Failure


def train_together(
    train: Training,
    team: Team,
    messages: Sequence[str] = (),
    progress: ProgressSink | None = None,
    work: Path | None = None,
) -> TrainingResult:
    """`train` in all processes of the first machine; where one fails or is killed, the others are ended at once.

    Args:
        messages: put before those of the result.
        work: a folder that several machines share; where there are several, it is waited for them.

    Raises:
        BadInputError: as `train`, of whichever process found it first; or several machines share no folder.
        RuntimeError: a process failed, with what it said, or was killed.
    """
    if team.num_nodes > 1 and work is None:
        raise BadInputError(
            f"num_nodes={team.num_nodes} was asked for and no folder is named that the machines share; name it as "
            "work, as a step of Dagster does"
        )
    with meeting_here() if work is None or team.num_nodes == 1 else called_meeting(work) as meeting:
        if progress is not None and team.num_nodes > 1:
            progress(Progress(0, 0, "steps", 0.0, 0.0, f"waiting until {team.num_nodes} machines train"))
        result = _trained(train, team, 0, meeting, progress)
    assert result is not None, "the first process has the result"
    return replace(result, messages=(*messages, *result.messages))


def train_beside(
    train: Training, team: Team, node: int, work: Path, progress: ProgressSink | None = None
) -> None:
    """`train` in all processes of another machine, together with the first one, which calls by `train_together`.

    Args:
        node: number of this machine, from 1.
        work: the folder that the machines share.

    Raises:
        BadInputError: there is no such machine; or as `train`.
        RuntimeError: no training called; a process failed, here or there, or was killed.
    """
    if node not in range(1, team.num_nodes):
        raise BadInputError(
            f"node={node} takes no part in a training of num_nodes={team.num_nodes}, whose step is node 0; number "
            "the other machines from 1, and choose num_nodes for the experiment's training"
        )
    _trained(train, team, node, found_meeting(work, WAITS_FOR_OTHERS.total_seconds()), progress)


def _trained(
    train: Training, team: Team, node: int, meeting: Meeting, progress: ProgressSink | None
) -> TrainingResult | None:
    """Runs one machine's processes; the result is the first machine's."""
    context = multiprocessing.get_context("spawn")
    said: multiprocessing.Queue[_Message] = context.Queue()
    own = [_Process(team, node, local, str(meeting.file)) for local in range(team.of_each)]
    processes = {one: context.Process(target=_train_as, args=(one, train, said)) for one in own}
    try:
        for process in processes.values():
            process.start()
        result = _followed(processes, said, meeting, progress)
        for process in processes.values():
            process.join(_ENDS_WITHIN_S)
    finally:
        for process in processes.values():
            if process.is_alive():
                process.kill()
                process.join()
    return result


_Processes = Mapping[_Process, multiprocessing.process.BaseProcess]


def _followed(
    processes: _Processes,
    said: "multiprocessing.Queue[_Message]",
    meeting: Meeting,
    progress: ProgressSink | None,
) -> TrainingResult | None:
    """The first process's result, or None where all of this machine have ended without it; hands progress on."""
    while True:
        # Read before what was said is, so that a last word is not missed.
        ended = _ended(processes)
        over = all(process.exitcode == 0 for process in processes.values())
        meeting.attend()
        try:
            message = said.get(timeout=0.5)
        except queue.Empty:
            if ended:
                raise RuntimeError(ended) from None
            if over:
                return None
            continue
        if isinstance(message, TrainingResult):
            return message
        if isinstance(message, _Failure):
            if message.is_bad_input:
                raise BadInputError(message.why)
            raise RuntimeError(_killed(processes) or message.why)
        if progress is not None:
            progress(message)


def _killed(processes: _Processes) -> str | None:
    """What others say of one that was killed is that they cannot reach it, and maybe before the system says so.

    One that failed by itself spoke before others could miss it, and ends with 0.
    """
    deadline = time.monotonic() + _DIES_WITHIN_S
    while any(process.is_alive() for process in processes.values()) and time.monotonic() < deadline:
        if ended := _ended(processes):
            return ended
        time.sleep(0.05)
    return _ended(processes)


def _ended(processes: _Processes) -> str | None:
    for one, process in processes.items():
        if process.exitcode:
            return (
                f"{one} ended with {process.exitcode} (a negative number is a signal: 9 may be want of memory); mend "
                "that and train again"
            )
    return None


def _train_as(own: _Process, train: Training, said: "multiprocessing.Queue[_Message]") -> None:
    """What each process runs; the first one speaks for all, and any says why it fails."""
    end_with_parent()
    # Lightning takes from these that it need not start processes, and Gloo and NCCL where to listen.
    os.environ |= {"LOCAL_RANK": str(own.local), "NODE_RANK": str(own.node)}
    # Where this is unset, Lightning would take as many threads as the machine has cores for, and other bytes with them.
    os.environ["OMP_NUM_THREADS"] = "1"
    if own.team.num_nodes == 1:
        os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    is_cuda = own.team.device is Device.CUDA
    try:
        if is_cuda:
            torch.cuda.set_device(own.local)
        torch.distributed.init_process_group(
            "nccl" if is_cuda else "gloo",
            init_method=f"file://{own.meeting}",
            rank=own.number,
            world_size=own.team.devices,
            timeout=WAITS_FOR_OTHERS,
        )
        result = train(progress=said.put if own.local == 0 else None)
        if own.number == 0:
            said.put(result)
        torch.distributed.destroy_process_group()
    except BadInputError as error:
        said.put(_Failure(str(error), is_bad_input=True))
    except Exception as error:  # noqa: BLE001 - it crosses to the parent, which raises it
        traceback.print_exc()
        why = f"{own} failed ({type(error).__name__}: {error}); its log says where"
        said.put(_Failure(why, is_bad_input=False))
