"""What a commit leaves behind, and what it refuses."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from cell_assets.errors import BadInputError, CellAssetsError, NotFoundError
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import ArtifactState, NumberDraft, ReadReceipt, RunOutcome
from cell_assets_tests.ledger.making import LEASE, digest, make, output, receipt, run_draft

AUC = NumberDraft("dynaclr/division", "auc", "test tracks", 0.75, 12, "", 0.5, 0.9)


def test_a_commit_can_be_read_back_whole(ledger: Ledger) -> None:
    raw = make(ledger, "raw_acquisition")
    draft = run_draft(radius=2.5, names=["a", "µm"], nested={"deep": None, "flag": True})
    made = make(ledger, "tracks", "P1|A/1/000", "tracks", [raw], run=draft)
    found = ledger.provenance(made.run_id)
    assert found.artifact == made.artifact
    assert found.inputs == (raw.artifact,)
    assert found.run.code == draft.code
    assert found.run.parameters == draft.parameters
    assert found.run.started == draft.started
    assert found.run.outcome is RunOutcome.SUCCEEDED
    assert found.run.dagster_run_id == "dagster-run-1"
    assert found.artifact.state is ArtifactState.PRESENT
    assert not made.recreated
    assert ledger.latest("tracks", "P1|A/1/000") == found
    assert ledger.artifact(made.artifact.id) == made.artifact


def test_times_are_the_databases_and_in_utc(ledger: Ledger) -> None:
    before = ledger.now()
    made = make(ledger, "raw_acquisition")
    run = ledger.provenance(made.run_id).run
    after = ledger.now()
    assert before <= made.artifact.created <= run.ended <= after
    assert run.ended.utcoffset() == timedelta(0)
    assert abs(after - datetime.now(UTC)) < timedelta(seconds=5)


def test_the_same_bytes_again_are_recorded_not_stored_twice(ledger: Ledger) -> None:
    first = make(ledger, "tracks", content="same")
    again = make(ledger, "tracks", content="same", run=run_draft("code 2"))
    assert again.recreated
    assert again.artifact == first.artifact
    assert again.run_id != first.run_id
    assert [run.id for run in ledger.runs(first.artifact.id)] == [first.run_id, again.run_id]
    newest = ledger.latest("tracks", "P1")
    assert newest is not None and newest.run.code.code_version == "code 2"
    assert len(ledger.artifacts("tracks")) == 1


def test_the_same_bytes_of_another_partition_are_another_artifact(ledger: Ledger) -> None:
    assert make(ledger, "tracks", "P1").artifact.id != make(ledger, "tracks", "P2").artifact.id


def test_latest_goes_by_the_newest_run_even_when_it_made_older_bytes(ledger: Ledger) -> None:
    old = make(ledger, "tracks", content="old")
    make(ledger, "tracks", content="new")
    make(ledger, "tracks", content="old")
    newest = ledger.latest("tracks", "P1")
    assert newest is not None and newest.artifact == old.artifact


def test_an_input_read_twice_is_one_edge(ledger: Ledger) -> None:
    raw = make(ledger, "raw_acquisition")
    assert ledger.provenance(make(ledger, "tracks", inputs=[raw, raw]).run_id).inputs == (raw.artifact,)


def test_a_failure_is_history_but_never_the_latest(ledger: Ledger) -> None:
    raw = make(ledger, "raw_acquisition")
    made = make(ledger, "tracks", inputs=[raw])
    failed = ledger.record_failure("tracks", "P1", run_draft(), "no cells\0 found", [receipt(raw)])
    assert failed.outcome is RunOutcome.FAILED
    assert failed.error == "no cells found"
    assert failed.artifact_id is None
    newest = ledger.latest("tracks", "P1")
    assert newest is not None and newest.run.id == made.run_id
    assert [run.id for run in ledger.attempts("tracks", "P1")] == [made.run_id, failed.id]
    with pytest.raises(NotFoundError, match=f"run {failed.id} .* failed"):
        ledger.provenance(failed.id)
    assert ledger.descendants([raw.artifact.id]).artifact_ids == {raw.artifact.id, made.artifact.id}


def test_a_commit_that_is_refused_leaves_nothing(ledger: Ledger) -> None:
    raw = make(ledger, "raw_acquisition")
    wrong = replace(receipt(raw), digest=digest("other bytes"))
    intent = ledger.open_intent("tracks", "P1", "s", "host:1", LEASE)
    with pytest.raises(BadInputError, match=r"artifact \d+ .* this ledger does not hold"):
        ledger.commit(intent, run_draft(), output("tracks", "P1", "x"), [wrong])
    with pytest.raises(BadInputError, match=r"artifact 99 .* does not hold"):
        ledger.commit(
            intent, run_draft(), output("tracks", "P1", "x"), [ReadReceipt(99, "raw_acquisition", "P1", "d")]
        )
    with pytest.raises(BadInputError, match="experiment 'E9' is not in the ledger"):
        ledger.commit(intent, run_draft(), output("tracks", "P1", "x"), [], [AUC], "E9")
    with pytest.raises(BadInputError, match="parameters of tracks P1 hold nan"):
        ledger.commit(intent, run_draft(radius=float("nan")), output("tracks", "P1", "x"), [])
    assert ledger.artifacts("tracks") == ()
    assert ledger.attempts("tracks", "P1") == ()
    assert ledger.open_intents() == (intent,)


def test_an_uncommitted_diff_must_be_stored_first(ledger: Ledger) -> None:
    dirty = replace(run_draft(), code=replace(run_draft().code, dirty_diff_digest=digest("diff")))
    with pytest.raises(BadInputError, match="store it as a blob first"):
        make(ledger, "tracks", run=dirty)
    stored = ledger.store_blob(b"--- a\n+++ b\n")
    assert ledger.store_blob(b"--- a\n+++ b\n") == stored
    assert ledger.blob(stored) == b"--- a\n+++ b\n"
    dirty = replace(run_draft(), code=replace(run_draft().code, dirty_diff_digest=stored))
    made = make(ledger, "tracks", run=dirty)
    assert ledger.provenance(made.run_id).run.code.dirty_diff_digest == stored
    with pytest.raises(NotFoundError, match="blob nothing"):
        ledger.blob("nothing")


def test_making_an_artifact_from_what_was_made_of_it_is_refused(ledger: Ledger) -> None:
    raw = make(ledger, "raw_acquisition")
    tracks = make(ledger, "tracks", inputs=[raw])
    table = make(ledger, "patch_table", inputs=[tracks])
    with pytest.raises(BadInputError, match=r"raw_acquisition P1 .* cannot be made from"):
        make(ledger, "raw_acquisition", inputs=[table])
    with pytest.raises(BadInputError, match="cannot be made from"):
        make(ledger, "tracks", inputs=[tracks])
    assert len(ledger.runs(raw.artifact.id)) == 1
    assert make(ledger, "tracks", inputs=[raw]).recreated


def test_the_same_bytes_may_come_from_other_inputs(ledger: Ledger) -> None:
    first, second = make(ledger, "raw", "P1"), make(ledger, "raw", "P2")
    made = make(ledger, "summary", inputs=[first])
    make(ledger, "summary", inputs=[second])
    assert ledger.ancestors([made.artifact.id]).artifact_ids == {
        made.artifact.id,
        first.artifact.id,
        second.artifact.id,
    }


def test_nothing_is_built_upon_what_was_withdrawn(ledger: Ledger) -> None:
    raw = make(ledger, "raw_acquisition")
    ledger.withdraw({raw.artifact.id: "wrong plate scanned"})
    ledger.withdraw({raw.artifact.id: "another reason"})
    assert ledger.artifact(raw.artifact.id).state is ArtifactState.TOMBSTONED
    assert [tombstone.reason for tombstone in ledger.tombstones()] == ["wrong plate scanned"]
    with pytest.raises(BadInputError, match=r"raw_acquisition P1 .* withdrawn"):
        make(ledger, "tracks", inputs=[raw])
    ledger.record_failure("tracks", "P1", run_draft(), "withdrawn meanwhile", [receipt(raw)])
    assert ledger.artifacts(state=ArtifactState.TOMBSTONED) == (ledger.artifact(raw.artifact.id),)
    with pytest.raises(NotFoundError, match="artifact 77"):
        ledger.withdraw({77: "unknown"})


def test_the_very_bytes_that_were_withdrawn_are_refused(ledger: Ledger) -> None:
    made = make(ledger, "tracks")
    ledger.withdraw({made.artifact.id: "contaminated"})
    with pytest.raises(
        BadInputError, match=r"the very bytes of artifact 1, which was withdrawn \(contaminated\)"
    ):
        make(ledger, "tracks")
    assert len(ledger.attempts("tracks", made.artifact.partition)) == 1
    assert make(ledger, "tracks", content="other bytes").artifact.state is ArtifactState.PRESENT


def test_evicted_bytes_made_again_are_present_again(ledger: Ledger) -> None:
    old = make(ledger, "tracks", content="old")
    made = make(ledger, "tracks", content="new")
    ledger.record_eviction(made.artifact.id)
    ledger.record_eviction(made.artifact.id)
    assert ledger.artifact(made.artifact.id).state is ArtifactState.EVICTED
    present = ledger.latest("tracks", "P1", ArtifactState.PRESENT)
    assert present is not None and present.artifact == old.artifact
    assert ledger.artifacts("tracks", ArtifactState.EVICTED) == (ledger.artifact(made.artifact.id),)
    again = make(ledger, "tracks", content="new")
    assert again.recreated
    assert again.artifact.state is ArtifactState.PRESENT
    assert ledger.artifact(made.artifact.id).state is ArtifactState.PRESENT


def test_an_intent_that_was_taken_cannot_be_committed(ledger: Ledger) -> None:
    intent = ledger.open_intent("tracks", "P1", "s", "host:1", timedelta(seconds=-1))
    assert ledger.take_expired_intent(intent.id)
    assert not ledger.take_expired_intent(intent.id)
    with pytest.raises(CellAssetsError, match="its lease ended"):
        ledger.commit(intent, run_draft(), output("tracks", "P1", "x"), [])
    assert ledger.artifacts() == ()
    with pytest.raises(NotFoundError, match="cannot be renewed"):
        ledger.renew_intent(intent.id, LEASE)


def test_a_living_lease_is_left_alone(ledger: Ledger) -> None:
    intent = ledger.open_intent("tracks", "P1", "s", "host:1", timedelta(seconds=1))
    assert not ledger.take_expired_intent(intent.id)
    renewed = ledger.renew_intent(intent.id, timedelta(hours=1))
    assert renewed.lease_until > intent.lease_until + timedelta(minutes=50)
    assert ledger.open_intents() == (renewed,)
    assert ledger.close_intent(intent.id)
    assert not ledger.close_intent(intent.id)
    assert ledger.open_intents() == ()


def test_the_intent_must_be_for_the_output(ledger: Ledger) -> None:
    intent = ledger.open_intent("tracks", "P1", "s", "host:1", LEASE)
    with pytest.raises(ValueError, match="is for tracks P1, but the output is tracks P2"):
        ledger.commit(intent, run_draft(), output("tracks", "P2", "x"), [])


def test_events_are_announced_once(ledger: Ledger) -> None:
    first, second = make(ledger, "tracks", "P1"), make(ledger, "tracks", "P2")
    ledger.record_failure("tracks", "P3", run_draft(), "broken")
    assert [run.id for run in ledger.unannounced()] == [first.run_id, second.run_id]
    ledger.announce({first.run_id: 41})
    ledger.announce({first.run_id: 42})
    assert [run.id for run in ledger.unannounced()] == [second.run_id]
    assert ledger.run(first.run_id).event_storage_id == 41
    with pytest.raises(NotFoundError, match="run 99"):
        ledger.announce({99: 1})


def test_a_model_version_belongs_to_one_checkpoint(ledger: Ledger) -> None:
    first, second = make(ledger, "checkpoint", "E1"), make(ledger, "checkpoint", "E2")
    ledger.record_model_version(first.artifact.id, "dynaclr-E1", "1")
    ledger.record_model_version(first.artifact.id, "dynaclr-E1", "1")
    with pytest.raises(BadInputError, match="dynaclr-E1 version 1 belongs to artifact"):
        ledger.record_model_version(second.artifact.id, "dynaclr-E1", "1")
    (version,) = ledger.model_versions([first.artifact.id, second.artifact.id])
    assert (version.artifact_id, version.registered_name, version.version) == (
        first.artifact.id,
        "dynaclr-E1",
        "1",
    )


def test_numbers_come_back_and_newer_runs_supersede_them(ledger: Ledger) -> None:
    ledger.register_experiment("E1")
    missing = NumberDraft("dynaclr/division", "auc", "train", None, 0, why_missing="no dividing track")
    first = make(ledger, "report", "E1", "one", numbers=[missing, AUC], experiment="E1")
    found = ledger.numbers()
    assert [number.draft for number in found] == [AUC, missing]
    assert {number.run_id for number in found} == {first.run_id}
    assert {number.artifact_id for number in found} == {first.artifact.id}
    assert {number.experiment for number in found} == {"E1"}
    assert ledger.number(found[0].id) == found[0]
    better = replace(AUC, value=0.8)
    make(ledger, "report", "E1", "two", numbers=[better], experiment="E1")
    assert [number.draft for number in ledger.numbers("E1")] == [better]
    assert len(ledger.numbers("E1", superseded=True)) == 3
    assert ledger.numbers("E1", "dynaclr/other") == ()
    assert ledger.numbers("E2") == ()
    with pytest.raises(NotFoundError, match="number 99"):
        ledger.number(99)


def test_numpy_scalars_are_recorded_as_numbers(ledger: Ledger) -> None:
    draft = NumberDraft("r", "auc", "test", np.float32(0.5), np.int64(3), "", np.float64(0.25), np.float64(1))
    made = make(ledger, "report", "E1", numbers=[draft])
    (number,) = ledger.numbers()
    assert number.run_id == made.run_id
    assert (number.draft.value, number.draft.n, number.draft.ci_low) == (0.5, 3, 0.25)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": None}, "not both"),
        ({"why_missing": "because"}, "not both"),
        ({"value": float("nan")}, "NaN"),
        ({"ci_low": None}, "both bounds"),
        ({"ci_low": 0.95}, "lies above"),
        ({"n": -1}, "negative"),
    ],
)
def test_a_number_that_contradicts_itself_is_refused(change: dict[str, float | None], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(AUC, **change)


def test_latest_of_many_partitions(ledger: Ledger) -> None:
    keys = [f"P1|A/1/{index:03d}" for index in range(5)]
    raw = make(ledger, "raw_acquisition")
    made = {key: make(ledger, "tracks", key, key, [raw]) for key in keys[:4]}
    made[keys[0]] = make(ledger, "tracks", keys[0], "again", [raw])
    make(ledger, "segmentation", keys[4])
    found = ledger.latest_many("tracks", keys)
    assert {key: one.artifact for key, one in found.items()} == {
        key: one.artifact for key, one in made.items()
    }
    assert all(one.inputs == (raw.artifact,) for one in found.values())
    assert ledger.latest_many("tracks", []) == {}
    assert ledger.latest("tracks", keys[4]) is None


def test_finding_by_bytes(ledger: Ledger) -> None:
    made = make(ledger, "tracks", "P1", "bytes")
    assert ledger.find("tracks", "P1", digest("bytes")) == made.artifact
    assert ledger.find("tracks", "P1", digest("other")) is None
    assert ledger.find("tracks", "P2", digest("bytes")) is None
    with pytest.raises(NotFoundError, match="artifact 9"):
        ledger.artifact(9)


def test_durations_are_of_the_newest_successful_runs(ledger: Ledger) -> None:
    for seconds in (50, 20, 10):
        started = ledger.now() - timedelta(seconds=seconds)
        make(ledger, "tracks", f"P1|A/1/{seconds:03d}", run=replace(run_draft(), started=started))
    ledger.record_failure("tracks", "P1|A/1/001", run_draft(), "no cells")
    newest = ledger.durations("tracks", newest=2)
    assert [round(seconds) for seconds in newest] == [10, 20]
