"""Verifying a closure: what is wrong is named, what was read is counted, and an interrupted run is taken up."""

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest

from cell_assets.audit.impact import withdraw
from cell_assets.audit.subjects import every_number, find_subject
from cell_assets.audit.verification_text import to_json, to_text
from cell_assets.audit.verified_numbers import standing_numbers, verified_numbers
from cell_assets.audit.verify import Verification, verify
from cell_assets.errors import BadInputError, NotFoundError
from cell_assets.ledger.records import NumberDraft, PlateDraft, WellDraft
from cell_assets.store.store import Store, VerdictState
from cell_assets_tests.ledger.editing import unguarded
from cell_assets_tests.ledger.making import receipt
from cell_assets_tests.store.drafts import FORMAT, fill, publish, run_draft

ARRAY = {
    "node_type": "array",
    "shape": [5, 2, 1, 8, 8],
    "chunk_grid": {"configuration": {"chunk_shape": [2, 1, 1, 8, 8]}},
    "dimension_names": ["T", "C", "Z", "Y", "X"],
}
PLATE = {
    "plate.zarr/A/1/000/0/zarr.json": json.dumps(ARRAY).encode(),
    **{f"plate.zarr/A/1/000/0/c/{t}/{c}/0/0/0": bytes([t, c]) * 64 for t in range(3) for c in range(2)},
}


@pytest.fixture
def history(store: Store) -> Store:
    """Plate P1, tracks of its FOV, and a report that states number 1."""
    store.ledger.register_plate(PlateDraft("E1", "P1", "src", "ctc", (WellDraft("A/1"),), ("A/1/000",)))
    raw = publish(store, "P1", PLATE, asset="raw_acquisition")
    tracks = publish(store, "P1|A/1/000", receipts=[receipt(raw)])
    with store.write("dynaclr_report", "E1") as staged:
        fill(staged.path, {"report.html": b"<html>"})
        numbers = [NumberDraft("r", "auc", "test", 0.5, 3)]
        store.publish(staged, run_draft(), [receipt(tracks)], FORMAT, numbers, experiment="E1")
    store.ledger.register_plate(PlateDraft("E2", "P2", "src", "ctc", (WellDraft("A/1"),), ("A/1/000",)))
    publish(store, "P2", {"unrelated": b"x"}, asset="raw_acquisition")
    return store


@pytest.fixture
def two_reports(history: Store) -> Store:
    """A second report beside, of another plate, that states numbers 2 and 3."""
    (other,) = (one for one in history.ledger.artifacts("raw_acquisition") if one.partition == "P2")
    with history.write("dynaclr_report", "E2") as staged:
        fill(staged.path, {"report.html": b"<html>"})
        numbers = [NumberDraft("r", name, "test", 0.5, 3) for name in ("auc", "f1")]
        history.publish(staged, run_draft(), [history.receipt(other)], FORMAT, numbers, experiment="E2")
    return history


def of(store: Store, subject: str = "1", **how: object) -> Verification:
    return verify(store, find_subject(store.ledger, subject), **how)  # type: ignore[arg-type]


def file_of(store: Store, asset: str, name: str) -> Path:
    (path,) = store.root.glob(f"{asset}/P1*/*/{name}")
    return path


def edit(path: Path, content: bytes) -> None:
    """A same-size edit whose modification time is put back."""
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_an_untouched_closure_is_verified_and_every_byte_counted(history: Store) -> None:
    found = of(history)
    assert found.is_verified
    assert [node.artifact.asset for node in found.nodes] == ["raw_acquisition", "tracks", "dynaclr_report"]
    assert found.n_bytes_read == sum(node.artifact.n_bytes for node in found.nodes)
    recorded = history.ledger.verifications([node.artifact.id for node in found.nodes])
    assert {one.verdict for one in recorded.values()} == {"verified"}
    assert "number 1, artifacts: 3 verified" in to_text(found)
    assert json.loads(to_json(found))["verified"] is True


def test_a_changed_chunk_is_named_by_file_time_and_channel(history: Store) -> None:
    edit(file_of(history, "raw_acquisition", "plate.zarr/A/1/000/0/c/1/1/0/0/0"), bytes(128))
    found = of(history)
    assert not found.is_verified
    (node,) = [node for node in found.nodes if not node.verdict.is_verified]
    assert node.verdict.state is VerdictState.CHANGED
    assert node.verdict.changed == ("plate.zarr/A/1/000/0/c/1/1/0/0/0",)
    (region,) = node.regions
    assert region.array == "plate.zarr/A/1/000/0"
    assert region.ranges == (("t", 2, 4), ("c", 1, 2), ("z", 0, 1), ("y", 0, 8), ("x", 0, 8))
    assert "plate.zarr/A/1/000/0: t 2 to 3, c 1, z 0, y 0 to 7, x 0 to 7" in to_text(found)


def test_missing_and_extra_chunks_are_named_too(history: Store) -> None:
    gone = file_of(history, "raw_acquisition", "plate.zarr/A/1/000/0/c/2/0/0/0/0")
    gone.parent.chmod(0o755)
    gone.unlink()
    (found,) = [node for node in of(history).nodes if not node.verdict.is_verified]
    assert found.verdict.state is VerdictState.MISSING
    assert found.regions[0].ranges[:2] == (("t", 4, 5), ("c", 0, 1))


def test_history_that_was_edited_is_found_by_the_same_command(history: Store, ledger_url: str) -> None:
    with unguarded(ledger_url) as connection:
        connection.exec_driver_sql("UPDATE number SET value = 0.99")
    found = of(history)
    assert not found.is_verified
    assert found.chain is not None
    assert [(fault.table, fault.key) for fault in found.chain.faults] == [("number", 1)]
    assert "history: number 1 was changed after it was recorded" in to_text(found)


def test_a_quick_look_reads_nothing_certifies_nothing_and_sees_a_hidden_edit(history: Store) -> None:
    found = of(history, quick=True)
    assert (found.looks_right, found.is_verified, found.n_bytes_read) == (True, False, 0)
    assert "this certifies nothing" in to_text(found)
    assert history.ledger.verifications([1, 2, 3]) == {}
    edit(file_of(history, "tracks", "tracks.parquet"), b"ROWS")
    (wrong,) = [node for node in of(history, quick=True).nodes if not node.verdict.is_verified]
    assert wrong.verdict.changed == ("tracks.parquet",)


def test_an_interrupted_run_is_taken_up(history: Store) -> None:
    class Stopped(Exception):  # noqa: N818 - not an error
        pass

    def stop(done: int, total: int, what: str) -> None:
        if what.startswith("tracks"):
            raise Stopped

    with pytest.raises(Stopped):
        of(history, step=stop)
    found = of(history, since=history.ledger.now() - timedelta(hours=1))
    assert found.is_verified
    assert [node.earlier is not None for node in found.nodes] == [True, False, False]
    assert found.n_bytes_read == sum(node.artifact.n_bytes for node in found.nodes[1:])
    again = of(history, since=history.ledger.now())
    assert [node.earlier for node in again.nodes] == [None, None, None]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_byte_is_told_as_it_is_hashed(
    history: Store, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr("cell_assets.audit.verify._WORTH_A_PROCESS_BYTES", 0)
    said: list[tuple[int, int, str]] = []
    found = of(history, workers=workers, step=lambda *state: said.append(state))
    total = sum(node.artifact.n_bytes for node in found.nodes)
    assert [done for done, _, _ in said] == sorted(done for done, _, _ in said)
    assert said[-1][:2] == (total, total)
    # The plate is the largest and is told file by file, the rest artifact by artifact where processes share it.
    plate = [what for _, _, what in said if what.startswith("raw_acquisition")]
    assert len(plate) == found.nodes[0].artifact.n_files


def test_what_was_found_wrong_is_read_again_when_taken_up(history: Store) -> None:
    path = file_of(history, "tracks", "tracks.parquet")
    edit(path, b"ROWS")
    assert not of(history).is_verified
    edit(path, b"rows")
    found = of(history, since=history.ledger.now() - timedelta(hours=1))
    assert [node.earlier is not None for node in found.nodes] == [True, False, True]
    assert found.is_verified


def test_workers_say_the_same(history: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cell_assets.audit.verify._WORTH_A_PROCESS_BYTES", 0)
    edit(file_of(history, "tracks", "tracks.parquet"), b"ROWS")
    alone, together = of(history), of(history, workers=2)
    assert [node.verdict for node in alone.nodes] == [node.verdict for node in together.nodes]


@pytest.mark.parametrize(
    ("named", "assets"),
    [
        ("1", ["dynaclr_report"]),
        ("artifact:2", ["tracks"]),
        ("P1", ["raw_acquisition"]),
        ("P1|A/1", ["tracks"]),
        ("P1|A/1/000", ["tracks"]),
    ],
)
def test_what_a_person_names(history: Store, named: str, assets: list[str]) -> None:
    found = find_subject(history.ledger, named)
    assert [history.ledger.artifact(one).asset for one in found.artifact_ids] == assets


@pytest.mark.parametrize(
    ("named", "error", "said"),
    [
        ("77", NotFoundError, "number 77"),
        ("artifact:77", NotFoundError, "artifact 77"),
        ("P9", NotFoundError, "plate 'P9' is not in the ledger; its plates are: P1, P2"),
        ("P1|B/1", NotFoundError, "plate P1 has no well or position B/1"),
        ("P1|A/1|000", BadInputError, "names nothing"),
    ],
)
def test_what_names_nothing(history: Store, named: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said.replace("|", r"\|")):
        find_subject(history.ledger, named)


def test_every_number_is_verified_by_reading_each_artifact_once(two_reports: Store) -> None:
    numbers = standing_numbers(two_reports.ledger)
    found = verify(two_reports, every_number(numbers))
    said = verified_numbers(two_reports.ledger, numbers, found)
    assert [node.artifact.asset for node in found.nodes] == [
        *("raw_acquisition", "tracks", "dynaclr_report", "raw_acquisition", "dynaclr_report")
    ]
    assert found.n_bytes_read == sum(node.artifact.n_bytes for node in found.nodes)
    assert [(one.number.id, one.is_clean) for one in said] == [(1, True), (2, True), (3, True)]
    assert to_text(found, said).endswith("3 of 3 numbers are clean")


def test_a_changed_byte_is_said_of_the_numbers_that_rest_on_it_and_of_no_other(two_reports: Store) -> None:
    edit(file_of(two_reports, "tracks", "tracks.parquet"), b"ROWS")
    numbers = standing_numbers(two_reports.ledger)
    found = verify(two_reports, every_number(numbers))
    said = verified_numbers(two_reports.ledger, numbers, found)
    (tracks,) = two_reports.ledger.artifacts("tracks")
    assert [(one.number.id, [damaged.id for damaged in one.damaged]) for one in said] == [
        (1, [tracks.id]),
        (2, []),
        (3, []),
    ]
    text = to_text(found, said)
    assert f"number 1 (E1 r auc, test): artifact {tracks.id} is not what was published" in text
    assert text.endswith("2 of 3 numbers are clean")
    document = json.loads(to_json(found, numbers=said))
    assert [(one["id"], one["clean"], one["damaged"]) for one in document["numbers"]] == [
        (1, False, [tracks.id]),
        (2, True, []),
        (3, True, []),
    ]


def test_a_number_that_was_edited_in_the_ledger_is_named(two_reports: Store, ledger_url: str) -> None:
    with unguarded(ledger_url) as connection:
        connection.exec_driver_sql("UPDATE number SET value = 0.99 WHERE id = 2")
    numbers = standing_numbers(two_reports.ledger)
    found = verify(two_reports, every_number(numbers))
    said = verified_numbers(two_reports.ledger, numbers, found)
    assert [(one.number.id, one.was_edited) for one in said] == [(1, False), (2, True), (3, False)]
    assert "number 2 (E2 r auc, test): it was changed after it was recorded" in to_text(found, said)


def test_withdrawn_numbers_need_no_bytes(two_reports: Store) -> None:
    withdraw(two_reports.ledger, find_subject(two_reports.ledger, "P2"), "contaminated")
    assert [number.id for number in standing_numbers(two_reports.ledger)] == [1]
