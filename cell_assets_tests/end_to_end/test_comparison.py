"""Two strategies trained on one plate: their reports are compared, and the comparison can be recomputed."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cell_assets.audit.recompute import recompute
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import RunRequest
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import (
    assert_dagster_agrees,
    assert_nothing_left,
    assert_published_is_whole,
    infected_plate,
    opened,
    run,
    small_choices,
)

pytestmark = pytest.mark.slow


def test_a_second_training_is_compared_with_the_first(
    new_lab: Callable[[], Settings], tmp_path: Path
) -> None:
    settings = new_lab()
    with opened(settings) as session:
        ingest_plate(session, infected_plate(tmp_path / "infected").request("E1", "P1"))
        first = run(session, RunRequest(experiment="E1", choices=small_choices()))
        assert first.failed == (), first.failed
        assert session.ledger.latest("dynaclr_comparison", "E1") is None
        with session.executor() as executor:
            alone = executor.materialise(["dynaclr_comparison"], partition="E1")
        assert alone.error is not None and "two are needed to compare" in str(alone.error)

        choices = small_choices()
        choices["training"]["dynaclr"]["changes"]["strategy"] = "classical"
        second = run(session, RunRequest(experiment="E1", choices=choices))
        assert second.failed == (), second.failed
        folder, _ = session.store.read("dynaclr_comparison", "E1")
        page = (folder / "report.html").read_text()
        assert "Simulated data." in page
        rows = re.findall(r"<tr><td>([^<]+)</td>", page)
        assert {"time-and-cell-aware", "classical"} <= set(rows)
        assert {path.name for path in (folder / "figures").iterdir()} == {
            "scores.png",
            "displacement.png",
            "explained_variance.png",
            "division_trajectories.png",
        }
        made = session.ledger.latest("dynaclr_comparison", "E1")
        assert [one.asset for one in made.inputs] == ["dynaclr_report"] * 2
        numbers = [n for n in session.ledger.numbers("E1") if n.draft.report == "dynaclr/comparison"]
        (gain,) = [
            n for n in numbers
            if n.draft.name == "infection_state_balanced_accuracy_gain_of_classical_over_time-and-cell-aware"
        ]  # fmt: skip
        reports = {
            run.id: session.ledger.numbers_of_runs([run.id])
            for run in session.ledger.attempts("dynaclr_report", "E1")
        }
        stated = [
            n.draft.value
            for of_run in reports.values()
            for n in of_run
            if (n.draft.report, n.draft.name) == ("dynaclr/infection_state", "balanced_accuracy")
        ]
        assert gain.draft.value == pytest.approx(stated[1] - stated[0])
        for one in numbers:
            if one.draft.value is not None:
                found = recompute(session.store, one.id)
                assert found.agrees and found.difference(found.ways[0]) == 0.0, found.to_text()
        assert run(session, RunRequest(experiment="E1")).dagster_runs == ()
        assert_published_is_whole(session)
        assert_nothing_left(session)
        assert_dagster_agrees(session)
