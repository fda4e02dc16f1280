"""Re-hashing the store bit by bit: a share each night, what was verified longest ago first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cell_assets.audit.verify import Step, rehash
from cell_assets.errors import BadInputError
from cell_assets.ledger.records import Artifact, ArtifactState, Verification
from cell_assets.store.store import Store
from cell_assets.store.verdict import Verdict, VerdictState


@dataclass(frozen=True)
class Coverage:
    """How much of one asset was ever found to be what was published, and how long ago."""

    asset: str
    n_artifacts: int
    n_bytes: int
    n_verified: int
    """Artifacts whose newest re-hash found them whole."""
    n_bytes_verified: int
    oldest: datetime | None
    """When the one that was verified longest ago was; None where none ever was."""
    damaged: tuple[str, ...]
    """A sentence for each artifact whose newest re-hash did not find it whole."""

    @property
    def n_never(self) -> int:
        """Artifacts that were never re-hashed."""
        return self.n_artifacts - self.n_verified - len(self.damaged)


@dataclass(frozen=True)
class Scrub:
    """What one pass did."""

    verdicts: tuple[Verdict, ...]
    n_bytes_read: int
    coverage: tuple[Coverage, ...]
    """By asset, of the whole store, after this pass."""

    @property
    def damaged(self) -> tuple[Verdict, ...]:
        """What this pass found that is not as it was published."""
        return tuple(one for one in self.verdicts if not one.is_verified)

    def text(self) -> str:
        """Two sentences: of this pass, and of the store."""
        known = sum(one.n_bytes for one in self.coverage)
        verified = sum(one.n_bytes_verified for one in self.coverage)
        dates = [one.oldest for one in self.coverage if one.oldest is not None]
        since = f", the oldest on {min(dates).date().isoformat()}" if dates else ""
        share = f"{verified / known:.0%} of the store" if known else "nothing, as nothing is stored,"
        found = f"{len(self.damaged)} damaged" if self.damaged else "all whole"
        return (
            f"re-hashed {len(self.verdicts)} artifacts, {self.n_bytes_read / 1e6:.1f} MB: {found}. "
            f"{share} was found whole at its last re-hash{since}"
        )


def scrub(store: Store, share: float, *, workers: int = 1, step: Step | None = None) -> Scrub:
    """Re-hash at least `share` of the store's bytes, whole artifacts, and record each verdict in the ledger.

    What was found damaged comes first, to see whether it was repaired, then what was never re-hashed, then what
    was longest ago; at 1/30 a night, every byte has its turn once in a month.

    Raises:
        BadInputError: `share` lies outside (0, 1].
    """
    if not 0 < share <= 1:
        raise BadInputError(f"share is {share}; give the part of the store to re-hash, above 0 and at most 1")
    artifacts = store.ledger.artifacts(state=ArtifactState.PRESENT)
    chosen = _longest_ago(artifacts, _newest(store, artifacts), share)
    verdicts = [verdict for _, verdict in rehash(store, chosen, workers, step)]
    return Scrub(
        tuple(verdicts),
        sum(one.n_bytes_read for one in verdicts),
        coverage(artifacts, _newest(store, artifacts)),
    )


def coverage(artifacts: Sequence[Artifact], newest: dict[int, Verification]) -> tuple[Coverage, ...]:
    """What the newest re-hashes say of every asset."""
    by_asset: dict[str, list[Artifact]] = {}
    for artifact in artifacts:
        by_asset.setdefault(artifact.asset, []).append(artifact)
    return tuple(_coverage(asset, those, newest) for asset, those in sorted(by_asset.items()))


def nothing_stored(asset: str) -> Coverage:
    """Coverage of an asset that has no present artifact."""
    return Coverage(asset, 0, 0, 0, 0, None, ())


def _coverage(asset: str, artifacts: Sequence[Artifact], newest: dict[int, Verification]) -> Coverage:
    said = [(artifact, newest[artifact.id]) for artifact in artifacts if artifact.id in newest]
    whole = [(artifact, one) for artifact, one in said if one.verdict == VerdictState.VERIFIED]
    return Coverage(
        asset,
        len(artifacts),
        sum(artifact.n_bytes for artifact in artifacts),
        len(whole),
        sum(artifact.n_bytes for artifact, _ in whole),
        min((one.checked for _, one in whole), default=None),
        tuple(
            f"{artifact.asset} {artifact.partition} (artifact {artifact.id}): {one.verdict}: {one.why}"
            for artifact, one in said
            if one.verdict != VerdictState.VERIFIED
        ),
    )


def _newest(store: Store, artifacts: Sequence[Artifact]) -> dict[int, Verification]:
    return store.ledger.verifications([artifact.id for artifact in artifacts])


def _longest_ago(
    artifacts: Sequence[Artifact], newest: dict[int, Verification], share: float
) -> list[Artifact]:
    def turn(artifact: Artifact) -> tuple[bool, float, int]:
        last = newest.get(artifact.id)
        return last is not None, 0.0 if last is None else last.checked.timestamp(), artifact.id

    wanted = share * sum(artifact.n_bytes for artifact in artifacts)
    damaged = {one.artifact_id for one in newest.values() if one.verdict != VerdictState.VERIFIED}
    chosen = [artifact for artifact in artifacts if artifact.id in damaged]
    gathered = 0
    for artifact in sorted((one for one in artifacts if one.id not in damaged), key=turn):
        if gathered >= wanted:
            break
        chosen.append(artifact)
        gathered += artifact.n_bytes
    return chosen
