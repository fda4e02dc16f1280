"""Dagster runs in the command's own process, recorded in the same instance that the UI shows."""

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg
from dagster._core.execution.plan.objects import ErrorSource

from cell_assets.assets.publishing import emit_lost_events
from cell_assets.automation.dagster_home import open_instance
from cell_assets.automation.failures import NO_STEP_FAILED, failure_sentence
from cell_assets.automation.session import Session
from cell_assets.resources.progress import ProgressDisplay

OWNER_TAG = "cell_assets/owner"
"""`host:pid` of the command that executes a run, so that a later one can tell that it was killed."""

RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
"""By these a single run covers a range of partitions."""

_LEFT_BY = ("SystemExit", "SIGTERMException")
"""What Lightning makes of Ctrl-C and of a polite kill."""

ALIVE = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.NOT_STARTED)


@dataclass(frozen=True)
class Outcome:
    """How one Dagster run ended."""

    run_id: str
    succeeded: bool
    error: str | None
    """One sentence for a person, when it failed."""


@dataclass(frozen=True)
class Executor:
    """Runs assets of this code location against one instance."""

    instance: dg.DagsterInstance
    job: dg.JobDefinition

    def materialise(
        self,
        assets: Sequence[str],
        *,
        partition: str | None = None,
        partition_range: tuple[str, str] | None = None,
        config: Mapping[str, object] | None = None,
    ) -> Outcome:
        """One run over `assets`, of one partition or of a range of them.

        Args:
            config: op name to its config.

        Raises:
            KeyboardInterrupt: the command was told to stop while the run was under way.
        """
        tags = {OWNER_TAG: _owner()}
        if partition_range is not None:
            tags.update(zip(RANGE_TAGS, partition_range, strict=True))
        result = self.job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(str(asset)) for asset in assets],
            partition_key=partition,
            tags=tags,
            run_config={
                "ops": {op: {"config": dict(values)} for op, values in (config or {}).items()},  # type: ignore[call-overload]
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
            raise_on_error=False,
        )
        if _was_interrupted(result):
            raise KeyboardInterrupt
        error = None if result.success else failure_sentence(result.all_events) or NO_STEP_FAILED
        return Outcome(result.run_id, result.success, error)

    def fail_abandoned_runs(self) -> None:
        """Mark runs whose command on this host was killed as failed; their process cannot do it any more."""
        for run in self.instance.get_runs(dg.RunsFilter(statuses=list(ALIVE))):
            host, _, pid = run.tags.get(OWNER_TAG, "").rpartition(":")
            if host == socket.gethostname() and not _lives(int(pid)):
                self.instance.report_run_failed(run, f"its command (process {pid}) was killed")


@contextmanager
def open_executor(session: Session) -> Iterator[Executor]:
    """Dagster for one command; first shows what earlier, killed commands committed and did not show."""
    with open_instance(session.settings, session.addresses) as instance:
        defs = session.build_definitions(session.settings, session.observer, ProgressDisplay.BAR)
        executor = Executor(instance, defs.resolve_implicit_global_asset_job_def())
        executor.fail_abandoned_runs()
        emit_lost_events(instance, session.store)
        yield executor


def _was_interrupted(result: dg.ExecuteInProcessResult) -> bool:
    """Whether a step ended by a signal; Dagster and Lightning swallow it on the way."""
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            ended_by = "" if failure.error is None else failure.error.cls_name
            if failure.error_source is ErrorSource.INTERRUPT or ended_by in _LEFT_BY:
                return True
    return False


def _owner() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
