"""Short ways to make things in a ledger under test."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import (
    ArrivalDraft,
    ArrivalState,
    Artifact,
    CodeIdentity,
    Commit,
    JsonValue,
    NumberDraft,
    OutputDraft,
    PlateDraft,
    ReadReceipt,
    RunDraft,
    WellDraft,
)

LEASE = timedelta(minutes=5)


def digest(content: str) -> str:
    """64 hex digits that stand for bytes."""
    return sha256(content.encode()).hexdigest()


def run_draft(code_version: str = "code 1", **parameters: JsonValue) -> RunDraft:
    """An attempt by a given version of the code."""
    code = CodeIdentity(code_version, "abc123", None, "environment 1", "host 1")
    return RunDraft(code, parameters, datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC), "dagster-run-1")


def output(asset: str, partition: str, content: str) -> OutputDraft:
    """An output whose bytes are `content`."""
    said = digest(content)
    uri = f"{asset}/{partition}/{said[:12]}"
    return OutputDraft(asset, partition, said, "blake3-tree-1", None, len(content), 1, uri, "test", "1")


def receipt(of: Artifact | Commit) -> ReadReceipt:
    """Proof of having read an artifact."""
    artifact = of.artifact if isinstance(of, Commit) else of
    return ReadReceipt(artifact.id, artifact.asset, artifact.partition, artifact.digest)


def make(
    ledger: Ledger,
    asset: str,
    partition: str = "P1",
    content: str = "bytes",
    inputs: Sequence[Artifact | Commit] = (),
    numbers: Sequence[NumberDraft] = (),
    experiment: str | None = None,
    run: RunDraft | None = None,
) -> Commit:
    """Intend and commit one output."""
    intent = ledger.open_intent(asset, partition, f"staging/{asset}", "host:1", LEASE)
    receipts = [receipt(one) for one in inputs]
    return ledger.commit(
        intent, run or run_draft(), output(asset, partition, content), receipts, numbers, experiment
    )


def arrival(
    folder: str,
    state: ArrivalState = ArrivalState.ACCEPTED,
    reason: str | None = None,
    content: str = "bytes",
    plate: str | None = "P1",
) -> ArrivalDraft:
    """A word about a folder of experiment E1."""
    return ArrivalDraft(folder, digest(content), f"fingerprint {content}", "E1", plate, state, reason)


def fill_every_table(ledger: Ledger) -> None:
    """Rows in every table of history."""
    wells = (WellDraft("A/1", "compound", "taxol", 1.5, "uM", "tubulin", False), WellDraft("A/2"))
    options = {"pixel_size_um": [0.1, 0.2], "note": "µ"}
    ledger.register_plate(PlateDraft("E1", "P1", "src", "ctc", wells, ("A/1/000", "A/2/000"), options))
    ledger.record_annotation_set("P1", "states", "d", "labels.csv", 1)
    ledger.record_choices("E1", {"preset": "quick", "τ": 0.1})
    ledger.store_blob(b"diff")
    raw = [make(ledger, "raw", f"P{n}", content=f"bytes {n}") for n in range(3)]
    ledger.record_eviction(raw[0].artifact.id)
    make(ledger, "raw", "P0", content="bytes 0")
    numbers = [NumberDraft("r", "auc", "test", 0.1 + 0.2, 3, ci_low=0.1, ci_high=1 / 3)]
    made = make(ledger, "report", inputs=raw, numbers=numbers, experiment="E1")
    ledger.announce({made.run_id: 1, raw[0].run_id: 2})
    ledger.record_model_version(made.artifact.id, "model", "1")
    ledger.record_failure("raw", "P9", run_draft(), "no such plate", [receipt(raw[1])])
    ledger.withdraw({raw[2].artifact.id: "wrong"})
    ledger.withdraw({}, plate="P1", reason="wrong")
    ledger.withdraw({}, plate="P1", positions=["A/2/000"], reason="wrong")
    quarantined = arrival("/landing/P1", ArrivalState.QUARANTINED, "no plate map")
    (landed,) = ledger.record_arrivals([quarantined])
    ledger.release_arrival(landed.id, "µ", "map mended")
    ledger.record_expected_plates("E1", ["P1", "P2"], False, digest("experiment.yaml"))
    ledger.record_verifications([(made.artifact.id, "changed", "1 changed (first: a)", 10)])
