"""`cell-assets demo`: a simulated experiment from plate to explained number, on an empty machine, in minutes."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cell_assets.assets.ingest_request import IngestRequest
from cell_assets.audit.explain import explain
from cell_assets.audit.explanation_text import to_text
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import RunOutcome, RunRequest, plan_experiment, run_experiment
from cell_assets.automation.session import Session
from cell_assets.errors import CellAssetsError
from cell_assets.ledger.records import Number
from cell_assets.simulation.parameters import SimulationParameters
from cell_assets.simulation.simulate import SimulationResult, simulate

EXPERIMENT, PLATE, SEED = "demo", "demo-plate", 0

FOVS = {"patches": {"hours_post_perturbation_at_start": SimulationParameters().start_hours_post_perturbation}}


@dataclass(frozen=True)
class DemoResult:
    """What the demo shows at its end."""

    numbers: str
    explanation: str
    explained: int
    report: Path


def run_demo(session: Session, say: Callable[[str], None], workers: int = 1) -> DemoResult:
    """Simulate, ingest, run, explain; run again, it finds everything current.

    Raises:
        CellAssetsError: a step failed.
    """
    folder = session.settings.home / "simulated"
    if session.ledger.plate(PLATE) is None:
        say("1/3 simulating two wells, mock and infected (DENV, MOI 5), with known tracks and states")
        plate = _simulate(folder, workers)
        say("2/3 ingesting the plate: every stored pixel is compared with its source")
        ingest_plate(
            session,
            IngestRequest(
                source=str(plate.plate),
                experiment=EXPERIMENT,
                plate=PLATE,
                plate_map=str(plate.plate_map),
                tracks=str(plate.tracks),
                states=str(plate.states),
            ),
        )
    say("3/3 running the graph: FOVs, manifest, checkpoint, embeddings, features, report")
    request = RunRequest(experiment=EXPERIMENT, preset="quick", choices={"fovs": FOVS})
    say(plan_experiment(session, request).text())
    outcome = run_experiment(session, request)
    if outcome.failed or outcome.report is None:
        raise CellAssetsError(f"the demo failed: {'; '.join(outcome.failed)}")
    return _result(session, outcome, Path(outcome.report))


def _simulate(folder: Path, workers: int) -> SimulationResult:
    if folder.exists():
        shutil.rmtree(folder)
    return simulate(folder, SimulationParameters(seed=SEED), workers=workers)


def _result(session: Session, outcome: RunOutcome, report: Path) -> DemoResult:
    headline = _headline(session.ledger.numbers(experiment=EXPERIMENT))
    return DemoResult(
        numbers=outcome.table,
        explanation=to_text(explain(session.ledger, headline.id)),
        explained=headline.id,
        report=report,
    )


def _headline(numbers: tuple[Number, ...]) -> Number:
    """How well the embedding tells infected cells."""
    for number in numbers:
        if number.draft.report.endswith("/infection_state") and number.draft.name == "average_precision":
            return number
    return numbers[0]
