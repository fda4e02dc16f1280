"""Trainings of one plate, the rows of DynaCLR's Table 1: their reports are compared, and the comparison can be
recomputed."""

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


TASK = "infection_state"
TRAININGS = (
    ("time-and-cell-aware", []),
    ("classical", []),
    ("cell-aware", []),
    ("cell-aware", ["Phase"]),
)
"""Strategy and channels, none for all: the rows of the paper's Table 1."""
LABELS = (
    "channels all, time-and-cell-aware",
    "channels all, classical",
    "channels all, cell-aware",
    "Phase, cell-aware",
)
GAIN = f"{TASK}_balanced_accuracy_gain_of_channels_all_classical_over_channels_all_time-and-cell-aware"


def rows_of(page: str, title: str) -> dict[str, list[str]]:
    """Cells of the table under this title, by training."""
    table = page[page.index(f"<h3>{title}</h3>") :]
    table = table[: table.index("</table>")]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", table)]
    return {row[0]: row[1:] for row in rows if row}


def test_further_trainings_are_compared_with_the_first(
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

        for strategy, channels in TRAININGS[1:]:
            choices = small_choices()
            choices["training"]["dynaclr"]["changes"] |= {"strategy": strategy, "channels": channels}
            outcome = run(session, RunRequest(experiment="E1", choices=choices))
            assert outcome.failed == (), outcome.failed
        folder, _ = session.store.read("dynaclr_comparison", "E1")
        page = (folder / "report.html").read_text()
        assert "Simulated data." in page
        assert {path.name for path in (folder / "figures").iterdir()} == {
            "scores.png",
            "displacement.png",
            "single_track.png",
            "held_out_cells.png",
            "explained_variance.png",
            "division_trajectories.png",
        }
        made = session.ledger.latest("dynaclr_comparison", "E1")
        assert [one.asset for one in made.inputs] == ["dynaclr_report"] * 4
        numbers = [n for n in session.ledger.numbers("E1") if n.draft.report == "dynaclr/comparison"]
        (gain,) = [n for n in numbers if n.draft.name == GAIN]
        reports = {
            run.id: session.ledger.numbers_of_runs([run.id])
            for run in session.ledger.attempts("dynaclr_report", "E1")
        }
        stated = [
            {(n.draft.report.partition("/")[2], n.draft.name): n.draft for n in of_run}
            for of_run in reports.values()
        ]
        assert gain.draft.value == pytest.approx(
            stated[1][TASK, "balanced_accuracy"].value - stated[0][TASK, "balanced_accuracy"].value
        )
        for title, about, names in (
            ("infection state", TASK, ("accuracy", "f1", "balanced_accuracy")),
            ("rank of features", "feature_rank", ("effective_rank", "matrix_rank")),
            ("rank of projections", "projection_rank", ("effective_rank", "matrix_rank")),
        ):
            rows = rows_of(page, title)
            assert tuple(rows) == LABELS
            for row, of_report in zip(rows.values(), stated, strict=True):
                for place, name in enumerate(names):
                    draft = of_report[about, name]
                    assert float(row[2 * place]) == pytest.approx(draft.value, rel=0.006)
                    ends = [float(end) for end in re.findall(r"-?[\d.]+", row[2 * place + 1])]
                    assert ends == pytest.approx(
                        [] if draft.ci_low is None else [draft.ci_low, draft.ci_high], abs=0.006
                    )
        for one in numbers:
            if one.draft.value is not None:
                found = recompute(session.store, one.id)
                assert found.agrees and found.difference(found.ways[0]) == 0.0, found.to_text()
        assert run(session, RunRequest(experiment="E1")).dagster_runs == ()
        assert_published_is_whole(session)
        assert_nothing_left(session)
        assert_dagster_agrees(session)
