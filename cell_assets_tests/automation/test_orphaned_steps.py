"""A step leaves when its run is over, and not before."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test, instance_for_test

from cell_assets_tests.end_to_end.lab import CHECKOUT

_STEP = """
import sys, time
import dagster as dg
from dagster_postgres.utils import DagsterPostgresException
from cell_assets.automation import orphaned_steps

orphaned_steps.LOOK_EVERY_S = 0.05
look, left = dg.DagsterInstance.get_run_by_id, int(sys.argv[2])


def look_at_a_database_that_is_away_at_first(*asked):
    global left
    left -= 1
    if left >= 0:
        raise DagsterPostgresException("too many retries for DB connection")
    return look(*asked)


dg.DagsterInstance.get_run_by_id = look_at_a_database_that_is_away_at_first
with dg.DagsterInstance.get() as instance, orphaned_steps.leaving_with_run(instance, sys.argv[1]):
    print("begun", flush=True)
    # Until it is told to end, or asked to leave.
    sys.stdin.readline()
    time.sleep(0.5)
print("ended", flush=True)
"""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with instance_for_test(temp_dir=str(tmp_path)) as opened:
        yield opened


def begun_step(run_id: str, unanswered: int = 0) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", _STEP, run_id, str(unanswered)],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def left(step: "subprocess.Popen[str]") -> tuple[int, str]:
    """How it ended and what it said last, with its input left open: closed, it would end by itself."""
    assert step.stdout is not None
    return step.wait(120), step.stdout.read()


def test_a_step_whose_run_was_reported_as_failed_leaves(instance: dg.DagsterInstance) -> None:
    run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED)
    step = begun_step(run.run_id)
    instance.report_run_failed(run, "its worker was killed")
    assert left(step) == (-signal.SIGTERM, "")


def test_a_step_goes_on_looking_while_the_database_is_away(instance: dg.DagsterInstance) -> None:
    """What Dagster's storage raises then is played."""
    run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED)
    step = begun_step(run.run_id, unanswered=2)
    instance.report_run_failed(run, "its worker was killed")
    assert left(step) == (-signal.SIGTERM, "")


def test_a_step_whose_run_goes_on_stays(instance: dg.DagsterInstance) -> None:
    run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED)
    step = begun_step(run.run_id)
    out, _ = step.communicate("end\n", timeout=120)
    assert (step.returncode, out) == (0, "ended\n")
