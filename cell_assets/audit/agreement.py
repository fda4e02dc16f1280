"""Whether ledger, store, Dagster and MLflow tell the same story, and where they do not.

What Dagster and MLflow say comes in as plain records: the ledger is the truth, they are its display.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cell_assets.ledger.records import Artifact, ArtifactState, JsonValue, ModelVersion, Run
from cell_assets.store.store import Store

FORMAT = "cell_assets.reconciliation"
FORMAT_VERSION = 1


class Fault(StrEnum):
    """How two of the four can disagree."""

    NOT_SHOWN = "not shown"
    """The ledger holds it, and Dagster has no event of it: its run ended after it wrote, or the event was lost."""
    NO_ARTIFACT = "no artifact"
    """Dagster shows an output that the ledger does not hold."""
    OTHER_ARTIFACT = "other artifact"
    """Dagster's event names another digest or another entry of history than the ledger does."""
    SHOWN_TWICE = "shown twice"
    BYTES_MISSING = "bytes missing"
    """The ledger holds it as present, and its folder is not in the store."""
    NOT_RECORDED = "not recorded"
    """A folder at a published name, which the ledger does not know and nobody is writing."""
    NOT_REGISTERED = "not registered"
    """A checkpoint that has no version in MLflow."""
    VERSION_NOT_RECORDED = "version not recorded"
    """MLflow has a version of a checkpoint, and the ledger does not know it."""
    VERSION_MISSING = "version missing"
    """The ledger names a version that MLflow does not have."""
    OTHER_MODEL = "other model"
    """MLflow's version names bytes that are not the checkpoint's."""
    MODEL_CHANGED = "model changed"
    """The bytes of a registered model are not the ones that were registered."""
    WITHDRAWAL_NOT_SHOWN = "withdrawal not shown"
    """What the ledger withdrew looks sound in Dagster."""


@dataclass(frozen=True)
class ShownEvent:
    """A materialisation of one of our assets, as Dagster holds it."""

    storage_id: int
    asset: str
    partition: str | None
    ledger_run: int | None
    """None for an event that was not made by publishing, such as one reported by hand."""
    digest: str | None
    entry_digest: str | None
    """Digest of the ledger entry that sealed the run."""


@dataclass(frozen=True)
class RegisteredModel:
    """One version in MLflow's registry that says it is a checkpoint of this ledger."""

    name: str
    version: str
    digest: str
    folder: str


@dataclass(frozen=True)
class Disagreement:
    """One place where two of the four disagree."""

    fault: Fault
    asset: str
    partition: str
    why: str
    run_id: int | None = None
    artifact_id: int | None = None
    model: RegisteredModel | None = None

    @property
    def title(self) -> str:
        """For a person."""
        return f"{self.asset} {self.partition}: {self.fault}: {self.why}"


def events_against_ledger(
    store: Store, assets: Collection[str], events: Sequence[ShownEvent], busy: Collection[str]
) -> Iterator[Disagreement]:
    """Dagster's events of `assets` against the ledger's runs, both ways; linear in both.

    Args:
        busy: Dagster runs that are alive: what they committed they will show themselves.
    """
    shown = Counter(event.ledger_run for event in events)
    by_asset: dict[str, list[ShownEvent]] = {}
    for event in events:
        by_asset.setdefault(event.asset, []).append(event)
    for asset in assets:
        made = {one.id: one for one in store.ledger.artifacts(asset)}
        runs = {run.id: run for run in store.ledger.runs_of(made)}
        entries = store.ledger.entries_of_runs(runs)
        for event in by_asset.get(asset, []):
            yield from _event_against_run(event, runs, made, entries)
        for run in runs.values():
            if shown[run.id] > 1:
                why = f"run {run.id} is shown by {shown[run.id]} events"
                yield Disagreement(Fault.SHOWN_TWICE, asset, run.partition, why, run.id, run.artifact_id)
            if not shown[run.id] and run.dagster_run_id not in busy:
                why = (
                    f"artifact {run.artifact_id} was recorded by run {run.id}, and Dagster has no event of it"
                )
                yield Disagreement(Fault.NOT_SHOWN, asset, run.partition, why, run.id, run.artifact_id)


def _event_against_run(
    event: ShownEvent, runs: Mapping[int, Run], made: Mapping[int, Artifact], entries: Mapping[int, str]
) -> Iterator[Disagreement]:
    partition = event.partition or "without a partition"
    run = None if event.ledger_run is None else runs.get(event.ledger_run)
    if run is None or run.partition != event.partition or run.artifact_id is None:
        said = "no run" if event.ledger_run is None else f"run {event.ledger_run}"
        why = f"Dagster's event {event.storage_id} names {said}, which the ledger does not hold for it"
        yield Disagreement(Fault.NO_ARTIFACT, event.asset, partition, why, event.ledger_run)
        return
    artifact = made[run.artifact_id]
    differs = "digest" if event.digest != artifact.digest else None
    if event.entry_digest is not None and event.entry_digest != entries.get(run.id):
        differs = "entry of history"
    if differs is not None:
        why = f"Dagster's event {event.storage_id} of run {run.id} names another {differs} than the ledger"
        yield Disagreement(Fault.OTHER_ARTIFACT, event.asset, partition, why, run.id, artifact.id)


def store_against_ledger(store: Store) -> Iterator[Disagreement]:
    """Published folders against the ledger's artifacts, both ways; looks at names, not at bytes."""
    for artifact in store.ledger.artifacts(state=ArtifactState.PRESENT):
        folder = store.path_of(artifact)
        if not folder.is_dir():
            yield _about(artifact, Fault.BYTES_MISSING, f"its folder {folder} is gone")
    for asset, partition, folder in store.orphans():
        why = f"{folder} has no row in the ledger; `cell-assets gc` removes it"
        yield Disagreement(Fault.NOT_RECORDED, asset, partition, why)


def models_against_ledger(
    store: Store, checkpoints: Collection[str], models: Sequence[RegisteredModel]
) -> Iterator[Disagreement]:
    """MLflow's registry against the ledger's checkpoints, both ways, and the bytes of what is registered."""
    made = {one.id: one for asset in checkpoints for one in store.ledger.artifacts(asset)}
    by_digest = {artifact.digest: artifact for artifact in made.values()}
    recorded: dict[tuple[str, str], ModelVersion] = {
        (one.registered_name, one.version): one for one in store.ledger.model_versions(made)
    }
    registered = {(model.name, model.version): model for model in models}
    for key, model in registered.items():
        version = recorded.get(key)
        artifact = by_digest.get(model.digest) if version is None else made[version.artifact_id]
        if artifact is None:
            why = f"{_title(model)} names digest {model.digest[:12]}, which no checkpoint of the ledger has"
            yield Disagreement(Fault.OTHER_MODEL, "", model.name, why, model=model)
        elif artifact.digest != model.digest or model.folder != str(store.path_of(artifact)):
            differs = "digest" if artifact.digest != model.digest else "folder"
            why = f"{_title(model)} names another {differs} than artifact {artifact.id}"
            yield _about(artifact, Fault.OTHER_MODEL, why, model)
        elif version is None:
            why = f"the ledger does not know {_title(model)}"
            yield _about(artifact, Fault.VERSION_NOT_RECORDED, why, model)
    has_version = {one.artifact_id for one in recorded.values()} | {
        by_digest[model.digest].id for model in models if model.digest in by_digest
    }
    for key, version in recorded.items():
        if key not in registered:
            why = f"MLflow has no {version.registered_name} version {version.version}"
            yield _about(made[version.artifact_id], Fault.VERSION_MISSING, why)
    for artifact in made.values():
        if artifact.id not in has_version:
            if artifact.state is ArtifactState.PRESENT:
                yield _about(artifact, Fault.NOT_REGISTERED, "it has no version in MLflow")
        elif artifact.state is not ArtifactState.EVICTED:
            verdict = store.verify(artifact)
            if not verdict.is_verified:
                yield _about(artifact, Fault.MODEL_CHANGED, verdict.why)


def withdrawals_against_display(
    store: Store, asset: str, shown_as_withdrawn: Collection[int]
) -> Iterator[Disagreement]:
    """Withdrawn artifacts of an asset against those that Dagster shows as withdrawn."""
    for artifact, reason in withdrawn_artifacts(store, asset):
        if artifact.id not in shown_as_withdrawn:
            yield _about(artifact, Fault.WITHDRAWAL_NOT_SHOWN, reason)


def withdrawn_artifacts(store: Store, asset: str) -> Iterator[tuple[Artifact, str]]:
    """Every withdrawn artifact of an asset with its tombstone's reason."""
    withdrawn = store.ledger.artifacts(asset, ArtifactState.TOMBSTONED)
    if withdrawn:
        reasons = {one.artifact_id: one.reason for one in store.ledger.tombstones()}
        yield from ((artifact, reasons[artifact.id]) for artifact in withdrawn)


def newest_withdrawn(store: Store, asset: str) -> dict[str, str]:
    """The reason by partition, for each whose newest artifact is withdrawn."""
    withdrawn = list(withdrawn_artifacts(store, asset))
    reasons = {artifact.id: reason for artifact, reason in withdrawn}
    newest = store.ledger.latest_many(asset, sorted({artifact.partition for artifact, _ in withdrawn}))
    return {
        partition: reasons[latest.artifact.id]
        for partition, latest in newest.items()
        if latest.artifact.id in reasons
    }


def _about(artifact: Artifact, fault: Fault, why: str, model: RegisteredModel | None = None) -> Disagreement:
    return Disagreement(fault, artifact.asset, artifact.partition, why, artifact_id=artifact.id, model=model)


def _title(model: RegisteredModel) -> str:
    return f"MLflow's {model.name} version {model.version}"


@dataclass(frozen=True)
class Reconciliation:
    """What was found, and what of it was mended."""

    mended: tuple[Disagreement, ...]
    left: tuple[Disagreement, ...]
    n_events: int
    n_models: int
    n_artifacts: int


def to_text(found: Reconciliation) -> str:
    """What was mended, what is left, and what was compared."""
    lines = [f"mended  {one.title}" for one in found.mended]
    lines += [f"left    {one.title}" for one in found.left]
    compared = (
        f"{found.n_artifacts} artifacts, {found.n_events} Dagster events and {found.n_models} MLflow versions"
    )
    outcome = "agree" if not found.left else f"{len(found.left)} disagreements are left"
    lines.append(f"{compared}: {outcome}")
    return "\n".join(lines)


def to_json(found: Reconciliation) -> str:
    """The whole of it as one JSON document."""
    document: dict[str, JsonValue] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "artifacts": found.n_artifacts,
        "dagster_events": found.n_events,
        "mlflow_versions": found.n_models,
        "mended": [_plain(one) for one in found.mended],
        "left": [_plain(one) for one in found.left],
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)


def _plain(one: Disagreement) -> JsonValue:
    return {
        "fault": one.fault.value,
        "asset": one.asset,
        "partition": one.partition,
        "why": one.why,
        "run": one.run_id,
        "artifact": one.artifact_id,
        "mlflow": None if one.model is None else {"name": one.model.name, "version": one.model.version},
    }
