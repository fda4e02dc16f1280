"""Whether ledger, store, Dagster and MLflow tell the same story, and where they do not.

What Dagster and MLflow say comes in as plain records: the ledger is the truth, they are its display.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cell_assets.ledger.records import Artifact, ArtifactState, JsonValue, ModelVersion, Run
from cell_assets.store.store import Store

FORMAT = "cell_assets.reconciliation"
FORMAT_VERSION = 1


class Fault(StrEnum):
    """How two of the four can disagree."""

    NOT_SHOWN = "missing in Dagster"
    """The ledger holds it, and Dagster has no event of it: its run ended after it wrote, or the event was lost."""
    NO_ARTIFACT = "shown by Dagster alone"
    """Dagster shows an output that the ledger does not hold."""
    OTHER_ARTIFACT = "Dagster shows other bytes"
    """Dagster's event names another digest or another entry of history than the ledger does."""
    SHOWN_TWICE = "shown twice by Dagster"
    BYTES_MISSING = "bytes missing"
    """The ledger holds it as present, and its folder is not in the store."""
    NOT_RECORDED = "not in the ledger"
    """A folder at a published name, which the ledger does not know and nobody is writing."""
    NOT_REGISTERED = "missing in MLflow"
    """A checkpoint without a version in MLflow: it never had one, or MLflow lost it."""
    VERSION_NOT_RECORDED = "registered in MLflow alone"
    """MLflow has a version of a checkpoint, and the ledger does not know it."""
    OTHER_MODEL = "MLflow names other bytes"
    """MLflow's version names bytes that are not the checkpoint's."""
    MODEL_CHANGED = "registered model changed"
    """The bytes of a registered model are not the ones that were registered."""
    WITHDRAWAL_NOT_SHOWN = "withdrawal missing in Dagster"
    """What the ledger withdrew looks sound in Dagster."""


_MENDS = "`cell-assets reconcile` mends it"
_WIPE = "wipe the asset's events in Dagster's UI, then `cell-assets reconcile` shows the true ones again"
_ADVICE: Mapping[Fault, str] = {
    Fault.NOT_SHOWN: _MENDS,
    Fault.NO_ARTIFACT: _WIPE,
    Fault.OTHER_ARTIFACT: _WIPE,
    Fault.SHOWN_TWICE: _WIPE,
    Fault.BYTES_MISSING: "restore the folder, or materialise it again",
    Fault.NOT_RECORDED: "`cell-assets gc` removes it",
    Fault.NOT_REGISTERED: _MENDS,
    Fault.VERSION_NOT_RECORDED: _MENDS,
    Fault.OTHER_MODEL: "delete that version in MLflow",
    Fault.MODEL_CHANGED: "restore its files, or train it again",
    Fault.WITHDRAWAL_NOT_SHOWN: _MENDS,
}


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
        return f"{self.asset} {self.partition}: {self.fault}: {self.why}; {_ADVICE[self.fault]}"


def events_against_ledger(
    store: Store,
    assets: Collection[str],
    events: Sequence[ShownEvent],
    busy: Collection[str],
    since: datetime,
) -> Iterator[Disagreement]:
    """Dagster's events of `assets` against the ledger's runs, both ways; linear in both.

    Args:
        busy: Dagster runs that are alive: what they committed they will show themselves.
        since: when `events` and `busy` began to be read; what ended later may have been shown later.
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
            if not shown[run.id] and run.dagster_run_id not in busy and run.ended < since:
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
    present = store.ledger.artifacts(state=ArtifactState.PRESENT)
    there = store.with_bytes(present)
    for artifact in present:
        if artifact.id not in there:
            yield _about(artifact, Fault.BYTES_MISSING, f"its folder {store.title(artifact.uri)} is gone")
    for asset, partition, uri in store.orphans():
        why = f"{store.title(uri)} has no row in the ledger"
        yield Disagreement(Fault.NOT_RECORDED, asset, partition, why)


def models_against_ledger(
    store: Store, checkpoints: Collection[str], models: Sequence[RegisteredModel]
) -> Iterator[Disagreement]:
    """MLflow's registry against the ledger's checkpoints, both ways, and the bytes of what is registered."""
    made = {one.id: one for asset in checkpoints for one in store.ledger.artifacts(asset)}
    by_digest: dict[str, list[Artifact]] = {}
    for artifact in made.values():
        by_digest.setdefault(artifact.digest, []).append(artifact)
    recorded: dict[tuple[str, str], ModelVersion] = {
        (one.registered_name, one.version): one for one in store.ledger.model_versions(made)
    }
    registered = {(model.name, model.version): model for model in models}
    for key, model in registered.items():
        version = recorded.get(key)
        # Equal bytes may be checkpoints of several experiments; the folder tells them apart.
        alike = [one for one in by_digest.get(model.digest, []) if str(store.path_of(one)) == model.folder]
        named = made[version.artifact_id] if version is not None else next(iter(alike), None)
        if named is None:
            why = f"{_title(model)} names bytes ({model.digest[:12]}) or a folder that no checkpoint has"
            yield Disagreement(Fault.OTHER_MODEL, _asset_of(model, checkpoints), model.name, why, model=model)
        elif named not in alike:
            why = f"{_title(model)} names another digest or folder than artifact {named.id}"
            yield _about(named, Fault.OTHER_MODEL, why, model)
        elif version is None:
            yield _about(
                named, Fault.VERSION_NOT_RECORDED, f"the ledger does not know {_title(model)}", model
            )
    folders = {model.folder for model in models}
    versions: dict[int, list[str]] = {}
    for (name, number), version in recorded.items():
        versions.setdefault(version.artifact_id, []).append(f"{name} version {number}")
    living = {version.artifact_id for key, version in recorded.items() if key in registered}
    for artifact in made.values():
        is_registered = artifact.id in living or str(store.path_of(artifact)) in folders
        if not is_registered and artifact.state is ArtifactState.PRESENT:
            lost = ", ".join(versions.get(artifact.id, []))
            why = f"MLflow has no {lost}" if lost else "it never had a version"
            yield _about(artifact, Fault.NOT_REGISTERED, why)
        if is_registered and artifact.state is not ArtifactState.EVICTED:
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


def _asset_of(model: RegisteredModel, checkpoints: Collection[str]) -> str:
    """The checkpoint asset that a model's name speaks of, `<experiment>.<method>`; the first where it names none."""
    method = model.name.rpartition(".")[2]
    return next((asset for asset in checkpoints if asset.startswith(f"{method}_")), next(iter(checkpoints)))


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
        f"compared: {found.n_artifacts} artifacts in the ledger, {found.n_events} events in Dagster, "
        f"{found.n_models} versions in MLflow"
    )
    lines.append(f"{compared}; {f'left: {len(found.left)}' if found.left else 'they agree'}")
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
