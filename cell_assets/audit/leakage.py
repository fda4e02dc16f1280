"""The leakage audit of an experiment or a number, from the manifest that it rests on."""

import json
from dataclasses import asdict, dataclass

from cell_assets.errors import NotFoundError
from cell_assets.evaluation.leakage import Leakage, find_leakage
from cell_assets.evaluation.manifest import read_manifest
from cell_assets.evaluation.profiling.well_leakage import WellLeakage, find_well_leakage
from cell_assets.evaluation.profiling.well_manifest import read_well_manifest
from cell_assets.imaging.acquisition import open_acquisition
from cell_assets.ledger.records import Artifact, JsonValue
from cell_assets.store.store import Store

FORMAT = "cell_assets.leakage"
FORMAT_VERSION = 1
MANIFEST, WELLS, RAW = "experiment_manifest", "well_manifest", "raw_acquisition"


@dataclass(frozen=True)
class AuditedSplit:
    """One manifest and what the audit says of its split."""

    title: str
    manifest: Artifact
    leakage: Leakage

    def to_text(self) -> str:
        """The claim, each level with what is shared, and the upshot."""
        found = self.leakage
        lines = [f"{self.title}, manifest {self.manifest.id}: split by {found.claimed.value}"]
        for level in found.levels:
            is_fault = level.unit in (one.unit for one in found.faults)
            beyond = "" if is_fault or not level.shared else ", as not claimed"
            lines.append(
                f"  {level.unit.value:8} {len(level.shared)} of {level.n_test} on both sides{beyond}"
            )
        lines.append(f"leaks: {found.sentence()}" if found.leaks else "no leakage at the claimed level")
        return "\n".join(lines)


@dataclass(frozen=True)
class AuditedWells:
    """One well manifest and what the audit says of its split."""

    title: str
    manifest: Artifact
    n_plates: int
    leakage: WellLeakage

    def to_text(self) -> str:
        """What is held out, and the upshot."""
        found = self.leakage
        return "\n".join(
            [
                f"{self.title}, well manifest {self.manifest.id}: split by compound, plate and dose",
                f"  compound {len(found.compounds)} of {found.n_held_out_compounds} on both sides",
                f"  plate    {len(found.plates)} of {found.n_held_out_plates} on both sides",
                f"  dose     {len(found.doses)} of {found.n_held_out_doses} on both sides",
                f"  cells    {len(found.copies)} wells hold the same cells as another",
                f"leaks: {found.sentence()}" if found.leaks else "no leakage at the claimed level",
            ]
        )


def audit_split(store: Store, named: str) -> AuditedSplit | AuditedWells:
    """Audit the newest manifest of experiment `named`, or the one that number `named` rests on.

    Of an experiment that has one of cells and one of wells, the newer.

    Raises:
        NotFoundError: there is no such number or experiment, it rests on no manifest, or bytes are gone.
    """
    ledger = store.ledger
    if named.isdecimal():
        title, roots = f"number {named}", [ledger.number(int(named)).artifact_id]
    else:
        made = [one for asset in (MANIFEST, WELLS) if (one := ledger.latest(asset, named)) is not None]
        if not made:
            raise NotFoundError(f"experiment {named!r} has no manifest yet: run it first")
        newest = max(made, key=lambda one: one.run.id)
        title, roots = f"experiment {named}", [newest.artifact.id]
    closure = {*roots, *ledger.ancestors(roots).artifact_ids}
    artifacts = list(ledger.artifacts_with_ids(sorted(closure)).values())
    of_wells = [one for one in artifacts if one.asset == WELLS]
    if of_wells:
        record, wells = read_well_manifest(store.read_artifact(of_wells[-1].id).path)
        return AuditedWells(title, of_wells[-1], len(record.plates), find_well_leakage(wells))
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


def to_json(audited: AuditedSplit | AuditedWells) -> str:
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
