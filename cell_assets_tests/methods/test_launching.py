"""Processes that train together end together, and the one that failed says why."""

import multiprocessing
import os
import signal
import time
from functools import partial

import pytest
import torch.distributed as dist

from cell_assets.errors import BadInputError, CellAssetsError
from cell_assets.methods.contract import ProgressSink, TrainingResult
from cell_assets.methods.distributed import gathered, rank
from cell_assets.methods.launching import Team, train_together
from cell_assets.methods.processor import Device


def second_fails(
    error: Exception, first_waits_for_it: bool, *, progress: ProgressSink | None
) -> TrainingResult:
    """The first process would wait for the second one for ever, or never look at it again."""
    if rank() == 1:
        raise error
    if first_waits_for_it:
        gathered(0)
    while True:
        time.sleep(1)


def second_is_killed(*, progress: ProgressSink | None) -> TrainingResult:
    if rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    dist.barrier()
    raise AssertionError("the other is gone")


@pytest.mark.parametrize(
    "first_waits_for_it", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["busy", "waiting"]
)
def test_a_process_that_fails_ends_the_others_and_says_why(first_waits_for_it: bool) -> None:
    train = partial(second_fails, ValueError("no such patch"), first_waits_for_it)
    said = r"process 1 of 2 that train together failed \(ValueError: no such patch\)"
    with pytest.raises(RuntimeError, match=said):
        train_together(train, Team(2, Device.CPU))
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_bad_input_that_one_process_finds_is_bad_input() -> None:
    train = partial(second_fails, BadInputError("table P1 is of another plate; name its own"), False)
    with pytest.raises(CellAssetsError, match=r"^table P1 is of another plate; name its own$"):
        train_together(train, Team(2, Device.CPU))
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_a_killed_process_is_named_and_not_the_one_that_misses_it() -> None:
    with pytest.raises(RuntimeError, match="process 1 of 2 that train together ended with -9"):
        train_together(second_is_killed, Team(2, Device.CPU))
    assert not multiprocessing.active_children()
