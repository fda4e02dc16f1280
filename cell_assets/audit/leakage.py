"""The leakage audit of an experiment or a number, from the manifest that it rests on."""

import json
from dataclasses import asdict, dataclass

from cell_assets.errors import NotFoundError
from cell_assets.evaluation.leakage import Leakage, find_leakage
from cell_assets.evaluation.manifest import read_manifest
from cell_assets.imaging.acquisition import open_acquisition
from cell_assets.ledger.records import Artifact, JsonValue
from cell_assets.store.store import Store

FORMAT = "cell_assets.leakage"
FORMAT_VERSION = 1
MANIFEST, RAW = "experiment_manifest", "raw_acquisition"


@dataclass(frozen=True)
class AuditedSplit:
    """One manifest and what the audit says of its split."""

    title: str
    manifest: Artifact
    leakage: Leakage


def audit_split(store: Store, named: str) -> AuditedSplit:
    """Audit the newest manifest of experiment `named`, or the one that number `named` rests on.

    Raises:
        NotFoundError: there is no such number or experiment, it rests on no manifest, or bytes are gone.
    """
    ledger = store.ledger
    if named.isdecimal():
        title, roots = f"number {named}", [ledger.number(int(named)).artifact_id]
    else:
        latest = ledger.latest(MANIFEST, named)
        if latest is None:
            raise NotFoundError(f"experiment {named!r} has no manifest yet: run it first")
        title, roots = f"experiment {named}", [latest.artifact.id]
    closure = {*roots, *ledger.ancestors(roots).artifact_ids}
    artifacts = list(ledger.artifacts_with_ids(sorted(closure)).values())
    manifests = [one for one in artifacts if one.asset == MANIFEST]
    if not manifests:
        raise NotFoundError(f"{title} rests on no experiment manifest, so it claims no split")
    manifest, frozen = read_manifest(store.read_artifact(manifests[-1].id).path)
    raw = {one.digest: one for one in artifacts if one.asset == RAW}
    pixels = {
        (plate, position.name): position.content_digest
        for plate, digest in manifest.plates.items()
        for position in open_acquisition(store.read_artifact(raw[digest].id).path).info.positions
    }
    return AuditedSplit(title, manifests[-1], find_leakage(frozen.split_tracks, manifest.split_unit, pixels))


def to_text(audited: AuditedSplit) -> str:
    """The claim, each level with what is shared, and the upshot."""
    found = audited.leakage
    lines = [f"{audited.title}, manifest {audited.manifest.id}: split by {found.claimed.value}"]
    for level in found.levels:
        beyond = (
            "" if level.unit in (one.unit for one in found.faults) or not level.shared else ", as not claimed"
        )
        lines.append(f"  {level.unit.value:8} {len(level.shared)} of {level.n_test} on both sides{beyond}")
    lines.append(f"leaks: {found.sentence()}" if found.leaks else "no leakage at the claimed level")
    return "\n".join(lines)


def to_json(audited: AuditedSplit) -> str:
    """The whole of it as one JSON document."""
    document: dict[str, JsonValue] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "subject": audited.title,
        "manifest": audited.manifest.id,
        "leaks": audited.leakage.leaks,
        **asdict(audited.leakage),
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
