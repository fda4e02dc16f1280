"""Two numbers side by side: the cause is told from what follows, across versions and across experiments."""

import json

import pytest

from cell_assets.audit.difference import Difference, difference, to_json, to_text
from cell_assets.errors import NotFoundError
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import Commit, NumberDraft
from cell_assets_tests.ledger.making import make, run_draft

AUC = NumberDraft("r", "auc", "test", 0.75, 12)


def history(ledger: Ledger, name: str, raw: Commit, lr: float, code: str = "code 1") -> int:
    """Tracks, a checkpoint and a report; the number's id."""
    tracks = make(ledger, "tracks", "P1|A/1/000", f"tracks of {raw.artifact.digest}", [raw])
    model = run_draft(code, optimiser={"lr": lr, "decay": 0.1}, seed=1)
    weights = make(
        ledger, "checkpoint", name, f"weights {lr} {code} {raw.artifact.digest}", [tracks], run=model
    )
    report = make(ledger, "report", name, f"page of {weights.artifact.digest}", [weights], [AUC])
    (number,) = ledger.numbers_of_runs([report.run_id])
    return number.id


def causes(found: Difference) -> dict[str, list[tuple[str, object, object]]]:
    return {
        one.asset: [(change.name, change.a, change.b) for change in one.changed]
        for one in found.differing
        if one.is_cause
    }


def test_a_parameter_is_the_cause_and_the_report_follows(ledger: Ledger) -> None:
    raw = make(ledger, "raw_acquisition")
    a, b = history(ledger, "E1", raw, 0.1), history(ledger, "E2", raw, 0.2)
    found = difference(ledger, a, b)
    assert causes(found) == {"checkpoint": [("parameters.optimiser.lr", 0.1, 0.2)]}
    assert [one.asset for one in found.differing] == ["checkpoint", "report"]
    assert found.n_same == 2
    text = to_text(found)
    assert "the same: 2 artifacts" in text
    assert "differs: checkpoint E1 / E2\n  parameters.optimiser.lr: 0.1 → 0.2" in text
    assert "follows: report E1 / E2, from other checkpoint" in text
    assert [one["asset"] for one in json.loads(to_json(found))["differing"] if one["is_cause"]] == [
        "checkpoint"
    ]


def test_code_and_parameters_and_inputs_are_told_apart(ledger: Ledger) -> None:
    first, second = make(ledger, "raw_acquisition"), make(ledger, "raw_acquisition", "P2", "other pixels")
    a, b = history(ledger, "E1", first, 0.1), history(ledger, "E1", second, 0.1, "code 2")
    found = difference(ledger, a, b)
    assert causes(found)["checkpoint"] == [("code", "code 1", "code 2")]
    assert [one.asset for one in found.differing] == ["raw_acquisition", "tracks", "checkpoint", "report"]


def test_what_only_one_rests_on_is_listed(ledger: Ledger) -> None:
    raw = make(ledger, "raw_acquisition")
    a = history(ledger, "E1", raw, 0.1)
    more = make(ledger, "tracks", "P1|A/2/000", "more tracks", [raw])
    (weights,) = ledger.artifacts("checkpoint")
    report = make(ledger, "report", "E1", "another page", [weights, more], [AUC])
    (b,) = ledger.numbers_of_runs([report.run_id])
    found = difference(ledger, a, b.id)
    assert (found.only_a, found.only_b) == ((), ("tracks P1|A/2/000",))
    assert "only number 2 rests on: tracks P1|A/2/000" in to_text(found)


def test_a_number_and_itself(ledger: Ledger) -> None:
    a = history(ledger, "E1", make(ledger, "raw_acquisition"), 0.1)
    found = difference(ledger, a, a)
    assert (found.n_same, found.differing, found.only_a, found.only_b) == (4, (), (), ())


def test_other_bytes_from_the_same_recipe_are_said_plainly(ledger: Ledger) -> None:
    raw = make(ledger, "raw_acquisition")
    numbers = []
    for content in ("page", "page with a time stamp"):
        report = make(ledger, "report", "E1", content, [raw], [AUC])
        numbers += ledger.numbers_of_runs([report.run_id])
    assert "the same code, parameters and inputs gave other bytes" in to_text(
        difference(ledger, numbers[0].id, numbers[1].id)
    )


def test_an_unknown_number_is_named(ledger: Ledger) -> None:
    with pytest.raises(NotFoundError, match="number 7"):
        difference(ledger, 7, 8)
