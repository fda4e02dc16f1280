"""Who else is affected: everything that was made from an artifact or a part of a plate, however remotely."""

import json
from collections import Counter
from dataclasses import asdict, dataclass

from cell_assets.audit.subjects import Subject
from cell_assets.errors import BadInputError
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import Artifact, ArtifactState, JsonValue, ModelVersion, Number

FORMAT = "cell_assets.impact"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Impact:
    """What rests on a subject."""

    title: str
    artifacts: tuple[Artifact, ...]
    """The subject's own first, then what was made from them, oldest first."""
    models: tuple[ModelVersion, ...]
    numbers: tuple[Number, ...]
    """Superseded ones included: somebody may have quoted them."""
    withdrawn_fovs: tuple[str, ...]
    """FOVs of the subject that were withdrawn, as `PLATE|FOV`; nothing need have been made of them."""

    @property
    def reports(self) -> tuple[str, ...]:
        """Reports that state an affected number, each once."""
        return tuple(dict.fromkeys(number.draft.report for number in self.numbers))


def impact_of(ledger: Ledger, subject: Subject) -> Impact:
    """Walk from the subject to everything downstream, in a constant number of queries."""
    own = set(subject.artifact_ids)
    below = ledger.descendants(subject.artifact_ids).artifact_ids - own
    order = [*sorted(own), *sorted(below)]
    known = ledger.artifacts_with_ids(order)
    runs = [run.id for run in ledger.runs_of(order)]
    return Impact(
        subject.title,
        tuple(known[one] for one in order),
        ledger.model_versions(order),
        ledger.numbers_of_runs(runs),
        _withdrawn_fovs(ledger, subject),
    )


def _withdrawn_fovs(ledger: Ledger, subject: Subject) -> tuple[str, ...]:
    plate = None if subject.plate is None else ledger.plate(subject.plate)
    if plate is None:
        return ()
    asked = subject.positions or plate.draft.positions
    return tuple(f"{subject.plate}|{one}" for one in asked if one in plate.withdrawn)


def withdraw(ledger: Ledger, subject: Subject, why: str) -> Impact:
    """Tombstone the subject and everything that rests on it; returns what was withdrawn.

    A plate leaves its experiment, and a well or FOV its plate: later manifests and reports are made without.

    What is withdrawn stays in history. Nothing can be built upon it, and the ledger refuses a report that was.

    Raises:
        BadInputError: `why` is empty, or the subject is a number, which is withdrawn with what it rests on.
    """
    if subject.number_id is not None:
        raise BadInputError(
            f"{subject.title} is only stated by an artifact: withdraw what is wrong, as `explain` names it"
        )
    if not why.strip():
        raise BadInputError("--why is empty: say for whoever meets the tombstone what was wrong")
    first, reasons = True, _unburied(ledger, subject, why)
    # Until it is committed, somebody may still build upon what is withdrawn; afterwards nobody can.
    while first or reasons:
        ledger.withdraw(reasons, plate=subject.plate, positions=subject.positions, reason=why)
        first, reasons = False, _unburied(ledger, subject, why)
    return impact_of(ledger, subject)


def _unburied(ledger: Ledger, subject: Subject, why: str) -> dict[int, str]:
    """What is to be withdrawn with the subject and is not yet, with the reason of each."""
    return {
        artifact.id: why if artifact.id in subject.artifact_ids else f"made from {subject.title}: {why}"
        for artifact in impact_of(ledger, subject).artifacts
        if artifact.state is not ArtifactState.TOMBSTONED
    }


def to_text(impact: Impact) -> str:
    """Counts by asset, then models and numbers by id."""
    counts = Counter(artifact.asset for artifact in impact.artifacts)
    withdrawn = sum(artifact.state is ArtifactState.TOMBSTONED for artifact in impact.artifacts)
    lines = [f"{impact.title}: artifacts: {len(impact.artifacts)}, of them withdrawn: {withdrawn}"]
    if impact.withdrawn_fovs:
        lines.append(f"FOVs left out from now on: {', '.join(impact.withdrawn_fovs)}")
    lines.extend(f"  {count:5d}  {asset}" for asset, count in counts.items())
    lines.append(f"models: {len(impact.models)}")
    lines.extend(f"  {one.registered_name} version {one.version}" for one in impact.models)
    lines.append(f"numbers: {len(impact.numbers)} in {len(impact.reports)} reports")
    for number in impact.numbers:
        draft = number.draft
        value = draft.why_missing if draft.value is None else f"{draft.value:.6g}"
        experiment = "" if number.experiment is None else f"{number.experiment} "
        lines.append(f"  {number.id:5d}  {experiment}{draft.report} {draft.name}, {draft.split} = {value}")
    return "\n".join(lines)


def to_json(impact: Impact) -> str:
    """The whole of it as one JSON document."""
    document: dict[str, JsonValue] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "subject": impact.title,
        "artifacts": [
            {
                "id": one.id,
                "asset": one.asset,
                "partition": one.partition,
                "digest": one.digest,
                "state": one.state.value,
            }
            for one in impact.artifacts
        ],
        "withdrawn_fovs": list(impact.withdrawn_fovs),
        "models": [{"registered_name": one.registered_name, "version": one.version} for one in impact.models],
        "reports": list(impact.reports),
        "numbers": [
            {"id": one.id, "experiment": one.experiment, **asdict(one.draft)} for one in impact.numbers
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
