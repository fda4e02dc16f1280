"""Explanations: complete, bounded, the same later, and readable."""

import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from cell_assets.audit.explain import explain, to_json, to_text
from cell_assets.audit.explanation_html import to_html
from cell_assets.errors import NotFoundError
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import Commit, NumberDraft
from cell_assets_tests.ledger.making import make, run_draft

AUC = NumberDraft("dynaclr/division", "auc", "test tracks", 0.75, 12, "", 0.5, 0.9)
N_POSITIONS = 96


def _history(ledger: Ledger, positions: int = N_POSITIONS) -> tuple[Commit, Commit, Commit]:
    """One plate, its positions, a checkpoint and embeddings of all, and a report with one number."""
    ledger.register_experiment("E1")
    raw = make(ledger, "raw_acquisition", "P1", "pixels")
    tables = []
    for index in range(positions):
        key = f"P1|A/1/{index:03d}"
        tracks = make(ledger, "tracks", key, f"tracks {index}", [raw])
        tables.append(make(ledger, "patch_table", key, f"patches {index}", [raw, tracks]))
    checkpoint = make(ledger, "checkpoint", "E1", "weights", tables, run=run_draft(epochs=3, seed=1))
    ledger.record_model_version(checkpoint.artifact.id, "dynaclr-E1", "4")
    embeddings = make(ledger, "embeddings", "E1|P1", "vectors", [checkpoint, *tables])
    report = make(ledger, "report", "E1", "page", [embeddings, checkpoint], [AUC], "E1")
    return raw, checkpoint, report


def moment(ledger: Ledger) -> datetime:
    """Now, apart from what was recorded before and after: SQLite's clock counts milliseconds."""
    time.sleep(0.003)
    now = ledger.now()
    time.sleep(0.003)
    return now


def test_a_number_reaches_the_raw_bytes_and_everything_between(ledger: Ledger) -> None:
    raw, checkpoint, report = _history(ledger)
    (number,) = ledger.numbers()
    explanation = explain(ledger, number.id)
    assert explanation.number == number
    assert explanation.artifacts[0].artifact == report.artifact
    assert len(explanation.artifacts) == 2 * N_POSITIONS + 4
    assert [one.artifact for one in explanation.sources] == [raw.artifact]
    by_id = {one.artifact.id: one for one in explanation.artifacts}
    weights = by_id[checkpoint.artifact.id]
    assert len(weights.input_ids) == N_POSITIONS
    assert [(one.registered_name, one.version) for one in weights.model_versions] == [("dynaclr-E1", "4")]
    assert weights.runs[0].run.parameters == {"epochs": 3, "seed": 1}


def test_json_holds_every_artifact_once_and_every_reference(ledger: Ledger) -> None:
    raw, _, report = _history(ledger)
    (number,) = ledger.numbers()
    document = json.loads(to_json(explain(ledger, number.id)))
    artifacts = {one["id"]: one for one in document["artifacts"]}
    assert len(artifacts) == len(document["artifacts"]) == 2 * N_POSITIONS + 4
    assert document["number"]["value"] == 0.75
    assert document["number"]["ci_low"] == 0.5
    assert document["stated_by"] == {"artifact": report.artifact.id, "run": report.run_id}
    assert artifacts[raw.artifact.id]["digest"] == raw.artifact.digest
    referred = {one for artifact in artifacts.values() for run in artifact["runs"] for one in run["inputs"]}
    assert referred == set(artifacts) - {report.artifact.id}
    run = artifacts[report.artifact.id]["runs"][0]
    assert run["code_version"] == "code 1"
    assert run["git_commit"] == "abc123"
    assert run["environment_digest"] == "environment 1"
    assert run["host"] == "host 1"
    assert run["started"] == "2026-03-01T12:00:00.123456+00:00"


def test_the_tree_folds_what_is_alike_and_shows_shared_history_once(ledger: Ledger) -> None:
    raw, checkpoint, _ = _history(ledger)
    (number,) = ledger.numbers()
    text = to_text(explain(ledger, number.id))
    lines = text.splitlines()
    assert lines[0].startswith(
        "number 1: dynaclr/division auc, test tracks = 0.75 [0.5, 0.9], n = 12, experiment E1, recorded 20"
    )
    assert len(lines) < 40
    assert f"… and {N_POSITIONS - 1} more patch_table (up to P1|A/1/{N_POSITIONS - 1:03d})" in text
    assert text.count("MLflow dynaclr-E1 version 4") == 2
    shown_again = [line for line in lines if line.endswith("(explained above)")]
    assert any(f"artifact {checkpoint.artifact.id}" in line for line in shown_again)
    assert f"  raw_acquisition P1  {raw.artifact.digest}" in lines
    assert "parameters: epochs=3, seed=1" in text
    n_made = 2 * N_POSITIONS + 4
    assert lines[-1] == f"in all {n_made} artifacts, {n_made} runs, 1 version of the code, 1 environment"


def test_a_later_run_does_not_change_an_explanation(ledger: Ledger) -> None:
    _, _, _ = _history(ledger, positions=2)
    (number,) = ledger.numbers()
    then = moment(ledger)
    before, before_as_of = explain(ledger, number.id), to_json(explain(ledger, number.id, as_of=then))
    other = make(ledger, "raw_acquisition", "P2", "more pixels")
    make(ledger, "tracks", "P1|A/1/000", "tracks 0", [other], run=run_draft("code 2"))
    make(ledger, "report", "E1", "page", [other], [AUC], "E1")
    ledger.record_failure("checkpoint", "E1", run_draft(), "out of memory")
    weights = make(ledger, "checkpoint", "E1", "other weights", [other])
    ledger.withdraw({number.artifact_id: "contaminated"})
    after = explain(ledger, number.id)
    assert [one.runs for one in after.artifacts] == [one.runs for one in before.artifacts]
    assert to_json(explain(ledger, number.id, as_of=then)) == before_as_of

    (checkpoint,) = [one for one in after.artifacts if one.artifact.asset == "checkpoint"]
    assert [run.error for run in checkpoint.failures] == ["out of memory"]
    assert [run.id for run in checkpoint.superseded_by] == [weights.run_id]
    assert after.superseded == (checkpoint,)
    text = to_text(after)
    assert "WITHDRAWN because contaminated" in text
    assert "failed 1 time, last as run" in text
    assert "out of memory" in text
    assert f"superseded 1 time since, last by run {weights.run_id} (artifact {weights.artifact.id})" in text
    assert "newer bytes exist of 1 artifact: checkpoint" in text
    document = {one["id"]: one for one in json.loads(to_json(after))["artifacts"]}
    assert document[checkpoint.artifact.id]["superseded_by"][0]["artifact"] == weights.artifact.id
    with pytest.raises(NotFoundError, match=f"number {number.id} was not in the ledger at 2020"):
        explain(ledger, number.id, as_of=datetime(2020, 1, 1, tzinfo=UTC))


def test_a_walk_of_limited_depth_says_what_it_leaves_out(ledger: Ledger) -> None:
    _history(ledger, positions=5)
    (number,) = ledger.numbers()
    at_once = explain(ledger, number.id, depth=0)
    assert [one.artifact.asset for one in at_once.artifacts] == ["report"]
    one_step = explain(ledger, number.id, depth=1)
    assert {one.artifact.asset for one in one_step.artifacts} == {"report", "embeddings", "checkpoint"}
    assert one_step.n_deeper == 11
    assert "11 artifacts deeper than asked for" in to_text(one_step)
    assert "… 5 inputs deeper" in to_text(one_step)
    assert json.loads(to_json(one_step))["deeper_artifacts"] == 11
    whole = explain(ledger, number.id, depth=4)
    assert whole == explain(ledger, number.id)


def test_the_page_links_every_input_and_escapes_what_people_wrote(ledger: Ledger) -> None:
    raw = make(ledger, "raw_acquisition", run=run_draft(note="<script>alert(1)</script>"))
    report = make(ledger, "report", "E1", "page", [raw], [AUC])
    ledger.record_failure("raw_acquisition", "P1", run_draft(), "no <plate>")
    (number,) = ledger.numbers()
    page = to_html(explain(ledger, number.id))
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "no &lt;plate&gt;" in page
    targets = set(re.findall(r'id="(a\d+)"', page))
    assert targets == {f"a{raw.artifact.id}", f"a{report.artifact.id}"}
    assert set(re.findall(r'href="#(a\d+)"', page)) <= targets
    assert raw.artifact.digest in page


def test_numbers_as_they_stood(ledger: Ledger) -> None:
    raw = make(ledger, "raw_acquisition")
    before = moment(ledger)
    make(ledger, "report", "E1", "page 1", [raw], [AUC])
    first = moment(ledger)
    second = make(ledger, "report", "E1", "page 2", [raw], [replace(AUC, value=0.8)])
    both = moment(ledger)
    ledger.withdraw({second.artifact.id: "wrong"})
    assert ledger.numbers(as_of=before) == ()
    assert [one.draft.value for one in ledger.numbers(as_of=first)] == [0.75]
    (then,) = ledger.numbers(as_of=both)
    assert (then.draft.value, then.withdrawn_because) == (0.8, None)
    (now,) = ledger.numbers()
    assert (now.draft.value, now.withdrawn_because) == (0.8, "wrong")


def test_bytes_made_again_before_the_number_are_told(ledger: Ledger) -> None:
    raw = make(ledger, "raw_acquisition")
    other = make(ledger, "raw_acquisition", "P2")
    make(ledger, "tracks", inputs=[raw])
    again = make(ledger, "tracks", inputs=[other], run=run_draft("code 2"))
    make(ledger, "report", "E1", "page", [again], [AUC])
    (number,) = ledger.numbers()
    explanation = explain(ledger, number.id)
    assert {one.artifact.partition for one in explanation.sources} == {"P1", "P2"}
    assert f"made again by run {again.run_id}, also from other inputs" in to_text(explanation)


def test_a_number_that_could_not_be_computed_says_why(ledger: Ledger) -> None:
    missing = NumberDraft("dynaclr/division", "auc", "test tracks", None, 0, why_missing="no dividing track")
    make(ledger, "report", "E1", "page", [], [missing])
    (number,) = ledger.numbers()
    text = to_text(explain(ledger, number.id))
    assert "auc, test tracks: not computed, no dividing track, n = 0, recorded" in text


def test_states_diffs_and_long_parameters_are_shown(ledger: Ledger) -> None:
    diff = ledger.store_blob(b"diff")
    draft = run_draft(names=["x" * 50] * 10)
    draft = replace(draft, code=replace(draft.code, dirty_diff_digest=diff, git_commit=None))
    raw = make(ledger, "raw_acquisition", run=draft)
    make(ledger, "report", "E1", "page", [raw], [AUC])
    ledger.withdraw({raw.artifact.id: "wrong plate"})
    (number,) = ledger.numbers()
    text = to_text(explain(ledger, number.id))
    assert "· tombstoned" in text
    assert f"no commit known · uncommitted diff {diff[:12]}" in text
    assert all(len(line) < 200 for line in text.splitlines())


def test_a_deep_history_is_walked_and_written(ledger: Ledger) -> None:
    last = make(ledger, "raw_acquisition")
    for depth in range(1200):
        last = make(ledger, "step", str(depth), inputs=[last])
    make(ledger, "report", "E1", "page", [last], [AUC])
    (number,) = ledger.numbers()
    explanation = explain(ledger, number.id)
    assert len(explanation.artifacts) == 1202
    assert len(json.loads(to_json(explanation))["artifacts"]) == 1202
    assert "step 0 " in to_text(explanation)


def test_thousands_of_ancestors_take_few_queries(ledger: Ledger) -> None:
    _history(ledger, positions=500)
    (number,) = ledger.numbers()
    statements: list[str] = []

    def count(connection: object, cursor: object, statement: str, *others: object) -> None:
        statements.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", count)
    explanation = explain(ledger, number.id)
    sa.event.remove(sa.Engine, "before_cursor_execute", count)
    assert len(explanation.artifacts) == 1004
    assert len([one for one in statements if "SELECT" in one]) <= 10


def test_an_unknown_number_is_named(ledger: Ledger) -> None:
    with pytest.raises(NotFoundError, match="number 5 is not in the ledger"):
        explain(ledger, 5)
