"""Short ways to make things in a ledger under test."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import (
    Artifact,
    CodeIdentity,
    Commit,
    JsonValue,
    NumberDraft,
    OutputDraft,
    ReadReceipt,
    RunDraft,
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
