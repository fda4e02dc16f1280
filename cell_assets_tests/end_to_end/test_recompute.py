"""Every number of a real report computed anew from what it rests on."""

import json
from collections.abc import Callable

import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from cell_assets.audit.recompute import Outcome, recompute
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.ledger.records import NumberDraft, RunDraft
from cell_assets.settings import Settings
from cell_assets.store.store import FormatName
from cell_assets_tests.end_to_end.lab import cell_assets, opened, run, small_run, tiny_plate

FROM_PREDICTIONS, FROM_EMBEDDINGS = 0, 1


@pytest.fixture(scope="module")
def lab(new_lab: Callable[[], Settings], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """E1 with a plate of four FOVs of ten frames: test tracks of both classes."""
    settings = new_lab()
    plate = tiny_plate(tmp_path_factory.mktemp("plates") / "four", fovs_per_well=2, time_points=10)
    with opened(settings) as session:
        ingest_plate(session, plate.request("E1", "P1"))
        assert run(session, small_run("E1")).failed == ()
    return settings


def test_numbers_of_every_report_come_out_again(lab: Settings) -> None:
    """One with a value of each report, and one that could not be computed; each is a whole study."""
    with opened(lab) as session:
        numbers = session.ledger.numbers("E1")
        # States over time are computed alike for every column: those of one are enough, at a whole study each.
        chosen = {
            one.draft.report: one
            for one in numbers
            if one.draft.value is not None and not one.draft.report.startswith("dynaclr/division_state_")
        }
        missing = next(one for one in numbers if one.draft.value is None)
        found = [recompute(session.store, one.id) for one in (*chosen.values(), missing)]
    for one in found:
        assert one.agrees, one.to_text()
        assert one.same_environment
        embedded, draft = one.ways[FROM_EMBEDDINGS], one.number.draft
        assert (embedded.value, embedded.low, embedded.high) == (draft.value, draft.ci_low, draft.ci_high)
    from_predictions = {
        one.number.draft.report for one in found if one.ways[FROM_PREDICTIONS].value is not None
    }
    assert from_predictions == {
        "dynaclr/about_to_divide",  # nothing divides, so all that it knows is what chance gives
        "dynaclr/division_state",
        "dynaclr/infection_state",
        "dynaclr/infection_state_half_of_test",
    }
    assert len(chosen) > 3


def test_a_score_from_predictions_is_what_scikit_learn_says(lab: Settings) -> None:
    with opened(lab) as session:
        number = next(
            one
            for one in session.ledger.numbers("E1")
            if one.draft.name == "average_precision" and one.draft.value is not None
        )
        task = number.draft.report.rpartition("/")[2]
        report = session.store.read_artifact(number.artifact_id).path
        rows = pd.read_parquet(report / "predictions" / f"{task}.parquet").dropna(subset="label")
        expected = average_precision_score(rows["label"].astype(bool), rows["probability"])
        assert recompute(session.store, number.id).ways[FROM_PREDICTIONS].value == pytest.approx(
            expected, rel=1e-12
        )


def test_a_number_that_was_never_true_does_not_come_out_again(lab: Settings) -> None:
    """What a bug, or a hand in the database before it was sealed, would have left."""
    with opened(lab) as session:
        latest = session.ledger.latest("dynaclr_report", "E1")
        assert latest is not None
        true = next(
            one.draft
            for one in session.ledger.numbers_of_runs([latest.run.id])
            if one.draft.name == "average_precision" and one.draft.value is not None
        )
        forged = NumberDraft(true.report, true.name, true.split, 0.999, true.n, true.unit)
        with session.store.write("dynaclr_report", "E1") as staged:
            source = session.store.path_of(latest.artifact)
            for file in source.rglob("*"):
                if file.is_file():
                    target = staged.path / file.relative_to(source)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(file.read_bytes())
            draft = session.ledger.run(latest.run.id)
            session.store.publish(
                staged,
                RunDraft(draft.code, draft.parameters, draft.started, draft.dagster_run_id),
                [session.store.receipt(one) for one in latest.inputs],
                FormatName("cell_assets.report", "1"),
                numbers=[forged],
                experiment="E1",
            )
        (number,) = [one for one in session.ledger.numbers("E1") if one.draft.value == 0.999]
    said = cell_assets(lab, "verify", str(number.id), "--recompute", "--json")
    document = json.loads(said.out)
    assert said.code == 1
    assert document["verified"] is True
    assert document["recomputed"]["outcome"] == "does NOT come out again"
    assert [way["value"] for way in document["recomputed"]["ways"]] == [true.value, true.value]
    said = cell_assets(lab, "verify", str(number.id), "--recompute")
    assert said.out.rstrip().endswith(f"number {number.id} does NOT come out again")


def test_damaged_predictions_leave_the_verdict_and_no_traceback(lab: Settings) -> None:
    with opened(lab) as session:
        number = next(one for one in session.ledger.numbers("E1") if one.draft.name == "average_precision")
        predictions = session.store.path_of(session.ledger.artifact(number.artifact_id)) / "predictions"
        file = predictions / f"{number.draft.report.rpartition('/')[2]}.parquet"
        sound = file.read_bytes()
        file.chmod(0o644)
        file.write_bytes(sound[: len(sound) // 2])
        found = recompute(session.store, number.id)
    said = cell_assets(lab, "verify", str(number.id), "--recompute")
    file.write_bytes(sound)
    file.chmod(0o444)
    assert said.code == 1
    assert f"changed predictions/{file.name}" in said.out
    assert said.out.rstrip().endswith("not computed anew: what it rests on is not what was published")
    assert "it cannot be read" in (found.ways[FROM_PREDICTIONS].why_missing or "")


def test_a_withdrawn_number_can_be_computed(lab: Settings) -> None:
    with opened(lab) as session:
        report = session.ledger.artifacts("dynaclr_report")[0]
        made = session.ledger.runs(report.id)[0]
        number = next(one for one in session.ledger.numbers_of_runs([made.id]) if one.draft.value is not None)
        session.ledger.withdraw({report.id: "contaminated"})
        assert recompute(session.store, number.id).outcome is Outcome.SAME


def test_only_numbers_are_computed(lab: Settings) -> None:
    said = cell_assets(lab, "verify", "P1", "--recompute")
    assert said.code == 1
    assert said.error_lines == [
        "error: --recompute computes a number anew, and plate P1 is none: give its id"
    ]
