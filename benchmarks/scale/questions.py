"""What people and the daemon ask of a ledger that holds a year: commands, plans, sensors, nightly jobs."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import dagster as dg

from cell_assets.assets.evicting import plan_evictions
from cell_assets.assets.partitions import POSITION
from cell_assets.assets.publishing import emit_lost_events
from cell_assets.assets.reconciling import reconcile
from cell_assets.audit.explain import explain
from cell_assets.automation.dagster_home import process_environment
from cell_assets.automation.following import follow_through
from cell_assets.automation.running import RunRequest, plan_experiment
from cell_assets.automation.session import Session
from cell_assets.automation.stages import fov_runs, next_runs
from cell_assets.resources.mlflow_registry import ModelRegistry

METHOD = "dynaclr"


@dataclass(frozen=True)
class Taken:
    """What one question took."""

    seconds: float
    cpu_s: float
    """Of the asking process alone; the rest is the database's, or waiting."""
    said: str


def taken(ask: Callable[[], object]) -> Taken:
    """Ask once."""
    cpu, started = time.process_time(), time.perf_counter()
    said = ask()
    return Taken(
        round(time.perf_counter() - started, 2), round(time.process_time() - cpu, 2), str(said)[:200]
    )


def command(session: Session, *arguments: str) -> Taken:
    """A `cell-assets` command as a process of its own."""
    environment = {**os.environ, **process_environment(session.settings, session.addresses)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", "from cell_assets.cli import main; main()", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Taken(round(seconds, 2), round(cpu, 2), f"{len(done.stdout.splitlines())} lines")


def ledger_questions(session: Session) -> dict[str, Taken]:
    """Those that need nothing but the ledger."""
    ledger = session.ledger
    numbers = ledger.numbers()
    return {
        "numbers, the query": taken(lambda: f"{len(ledger.numbers())} numbers"),
        "numbers of one experiment, the query": taken(
            lambda: f"{len(ledger.numbers(experiment='E000'))} numbers"
        ),
        "cell-assets numbers": command(session, "numbers"),
        "cell-assets numbers --experiment": command(session, "numbers", "--experiment", "E000"),
        "explain, the walk": taken(lambda: f"{len(explain(ledger, numbers[0].id).artifacts)} artifacts"),
        "cell-assets explain --depth 2": command(session, "explain", str(numbers[0].id), "--depth", "2"),
        "cell-assets impact of a FOV": command(session, "impact", "P0000|A/1/000"),
        "unshown runs": taken(lambda: f"{len(ledger.unannounced())} runs"),
        "plates": taken(lambda: f"{len(ledger.plates())} plates"),
    }


def planning_questions(session: Session, instance: dg.DagsterInstance) -> dict[str, Taken]:
    """What must run, as commands and the sensor ask it; every plate has its bytes."""
    store, experiments = session.store, session.ledger.experiments()
    positions = instance.get_dynamic_partitions(POSITION)

    def fovs_of_all() -> str:
        return f"{sum(len(fov_runs(store, one, positions)) for one in experiments)} runs"

    def sensor(cursor: str | None) -> str:
        said = follow_through(dg.build_sensor_context(instance=instance, cursor=cursor), store=store)
        assert isinstance(said, dg.SensorResult)
        return str(said.cursor)

    # The first one imports torch.
    next_runs(store, experiments[0], METHOD, positions)
    found = {
        "what must run, FOVs of all plates": taken(fovs_of_all),
        "what must run, one experiment of ten plates": taken(
            lambda: [run.why for run in next_runs(store, experiments[0], METHOD, positions)]
        ),
        "cell-assets run --plan, one experiment": taken(
            lambda: plan_experiment(session, RunRequest(experiment=experiments[0])).text()
        ),
        "shows what a crash lost": taken(lambda: emit_lost_events(instance, store)),
    }
    for experiment in experiments:
        plates = [plate.draft.name for plate in session.ledger.plates(experiment)]
        session.ledger.record_expected_plates(experiment, plates, True, experiment)
    found["sensor, everything new"] = taken(lambda: sensor(None))
    newest = sensor(None)
    found["sensor, nothing new"] = taken(lambda: sensor(newest))
    return found


def nightly_questions(session: Session, instance: dg.DagsterInstance) -> dict[str, Taken]:
    """What the daemon does at night, without changing anything."""
    store = session.store

    def compare() -> str:
        models = ModelRegistry(session.addresses.mlflow)
        found = reconcile(instance, store, models, mend=False)
        return f"{found.n_events} events, {found.n_artifacts} artifacts, {len(found.left)} left"

    def evictions() -> str:
        plan = plan_evictions(store, timedelta(days=30))
        return f"{len(plan.going)} would go, {len(plan.staying)} stay"

    return {
        "reconcile": taken(compare),
        "gc --dry-run, evictions": taken(evictions),
        "gc --dry-run, sweep": taken(lambda: f"{len(store.foresee_sweep().removed_orphans)} orphans"),
    }
