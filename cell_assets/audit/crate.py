"""An evidence bundle described as an RO-Crate 1.2: each run a CreateAction, the number a PropertyValue."""

import json
import mimetypes
from collections.abc import Mapping
from urllib.parse import quote

from rocrate.model.contextentity import ContextEntity
from rocrate.model.entity import Entity
from rocrate.rocrate import ROCrate

from cell_assets.audit.attestation import ENVELOPE
from cell_assets.audit.bundle_members import (
    CODE,
    ENVIRONMENT,
    INPUTS,
    LEDGER,
    MANIFESTS,
    REPORT,
    folder_member,
    manifest_member,
)
from cell_assets.audit.explanation import ExplainedArtifact, ExplainedRun, Explanation
from cell_assets.audit.explanation_text import number_text
from cell_assets.audit.statement import STATEMENT
from cell_assets.ledger.records import JsonValue

_FOLDERS = {
    REPORT: "the report that states the number: page, figures, numbers and predictions",
    INPUTS: "the frozen list of plates, FOVs and splits that the number rests on",
    MANIFESTS: "digests of every file of every artifact behind the number",
    CODE: "uncommitted changes of the code that ran",
    ENVIRONMENT: "Python, platform and installed packages of each run",
}
_FILES = {
    LEDGER: "everything that the lab's ledger recorded of the number, as SQLite",
    STATEMENT: "digests of all files, the number and what it rests on, as an in-toto Statement",
    ENVELOPE: "the statement with its signature, as a DSSE envelope",
}


def crate_metadata(
    explanation: Explanation, sizes: Mapping[str, int], signed: bool, withdrawn: bool
) -> bytes:
    """`ro-crate-metadata.json` of a bundle whose other members, statement left out, have these `sizes`."""
    crate = ROCrate(version="1.2")
    number, draft = explanation.number, explanation.number.draft
    crate.name = f"Evidence for number {number.id}: {draft.report} {draft.name}, {draft.split}"
    crate.description = (
        f"{number_text(number)}. Holds the report that states it, the history that led to it, and the digests "
        "of all data behind it; `cell-assets verify-bundle` checks them offline."
    )
    if withdrawn:
        crate.description += " The number, or something that it rests on, has been withdrawn."
    # The ledger's clock, at which the number became visible: the same bundle made later has the same date.
    crate.datePublished = number.recorded.isoformat()
    _add_files(crate, sizes, signed)
    _add_runs(crate, explanation, sizes)
    crate.mainEntity = _add_number(crate, explanation)
    text = json.dumps(
        crate.metadata.generate(), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False
    )
    return (text + "\n").encode()


def _add_files(crate: ROCrate, sizes: Mapping[str, int], signed: bool) -> None:
    names = [*sizes, STATEMENT, *([ENVELOPE] if signed else [])]
    for folder, description in _FOLDERS.items():
        inside = [name for name in names if name.startswith(f"{folder}/")]
        if inside:
            properties: dict[str, JsonValue] = {"name": folder, "description": description}
            parent = crate.add_dataset(dest_path=folder, properties=properties)
            for name in inside:
                parent.append_to("hasPart", _add_file(crate, name, sizes[name]))
    for name in names:
        if "/" not in name:
            _add_file(crate, name, sizes.get(name), _FILES[name])


def _add_file(crate: ROCrate, name: str, n_bytes: int | None, description: str | None = None) -> Entity:
    kind = "application/vnd.sqlite3" if name == LEDGER else mimetypes.guess_type(name, strict=False)[0]
    said = {
        "name": name,
        "description": description,
        "contentSize": None if n_bytes is None else str(n_bytes),
        "encodingFormat": "application/json" if name.endswith(".json") else kind,
    }
    properties = {key: value for key, value in said.items() if value is not None}
    return crate.add_file(dest_path=name, properties=properties)


def _add_runs(crate: ROCrate, explanation: Explanation, sizes: Mapping[str, int]) -> None:
    report = explanation.number.artifact_id
    entities = {node.artifact.id: _artifact(crate, node, report) for node in explanation.artifacts}
    for node in sorted(explanation.artifacts, key=lambda node: node.artifact.id):
        for explained in node.runs:
            action = _run(crate, node, explained, entities, sizes)
            crate.root_dataset.append_to("mentions", action)


def _artifact(crate: ROCrate, node: ExplainedArtifact, report_id: int) -> Entity:
    """The folder of an artifact in the bundle; where it is not there, a description of it."""
    artifact = node.artifact
    folder = folder_member(artifact, report_id)
    entity = (
        crate.add(ContextEntity(crate, f"#artifact-{artifact.id}", {"@type": "Dataset"}))
        if folder is None
        else crate.get(quote(folder)) or crate.add_dataset(dest_path=folder)
    )
    entity["name"] = f"{artifact.asset} {artifact.partition} (artifact {artifact.id})"
    entity["identifier"] = f"{artifact.digest_type}:{artifact.digest}"
    entity["contentSize"] = str(artifact.n_bytes)
    entity["encodingFormat"] = f"{artifact.format_name} {artifact.format_version}"
    entity["dateCreated"] = artifact.created.isoformat()
    entity["subjectOf"] = crate.get(quote(manifest_member(artifact)))
    return entity


def _run(
    crate: ROCrate,
    node: ExplainedArtifact,
    explained: ExplainedRun,
    entities: Mapping[int, Entity],
    sizes: Mapping[str, int],
) -> Entity:
    run = explained.run
    properties: dict[str, JsonValue] = {
        "@type": "CreateAction",
        "name": f"run {run.id}: {run.asset} {run.partition}",
        "startTime": run.started.isoformat(),
        "endTime": run.ended.isoformat(),
        "actionStatus": {"@id": "http://schema.org/CompletedActionStatus"},
    }
    action = crate.add(ContextEntity(crate, f"#run-{run.id}", properties))
    action["instrument"] = _code(crate, explained, sizes)
    action["result"] = entities[node.artifact.id]
    inputs = [entities[one] for one in explained.input_ids if one in entities]
    parameters = [_parameter(crate, run.id, name, value) for name, value in sorted(run.parameters.items())]
    if inputs or parameters:
        action["object"] = [*inputs, *parameters]
    environment = f"{ENVIRONMENT}/{run.code.environment_digest}.txt"
    if environment in sizes:
        action["subjectOf"] = crate.get(environment)
    return action


def _code(crate: ROCrate, explained: ExplainedRun, sizes: Mapping[str, int]) -> Entity:
    """The code of a run: the same entity for the same code."""
    code = explained.run.code
    diff = code.dirty_diff_digest
    identifier = f"#code-{code.code_version[:16]}-{(code.git_commit or 'none')[:16]}-{(diff or 'clean')[:16]}"
    known = crate.get(identifier)
    if known is not None:
        return known
    properties: dict[str, JsonValue] = {
        "@type": "SoftwareApplication",
        "name": "cell_assets",
        "softwareVersion": code.git_commit or f"code {code.code_version}",
        "identifier": code.code_version,
        "description": "identified by a BLAKE3 over the syntax trees of the modules that decide the bytes",
    }
    entity = crate.add(ContextEntity(crate, identifier, properties))
    if diff is not None and f"{CODE}/{diff}.diff" in sizes:
        entity["hasPart"] = crate.get(f"{CODE}/{diff}.diff")
    return entity


def _parameter(crate: ROCrate, run_id: int, name: str, value: JsonValue) -> Entity:
    said = value if isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False)
    properties: dict[str, JsonValue] = {"@type": "PropertyValue", "name": name, "value": said}
    return crate.add(ContextEntity(crate, f"#run-{run_id}-{quote(name)}", properties))


def _add_number(crate: ROCrate, explanation: Explanation) -> Entity:
    number, draft = explanation.number, explanation.number.draft
    properties: dict[str, JsonValue] = {
        "@type": "PropertyValue",
        "name": f"{draft.report} {draft.name}, {draft.split}",
        "description": number_text(number),
        "propertyID": str(number.id),
    }
    if draft.value is not None:
        properties["value"] = draft.value
    entity = crate.add(ContextEntity(crate, f"#number-{number.id}", properties))
    n = {"@type": "PropertyValue", "name": "n, independent units", "value": draft.n, "unitText": draft.unit}
    beside = [crate.add(ContextEntity(crate, f"#number-{number.id}-n", n))]
    if draft.ci_low is not None:
        interval = {
            "@type": "PropertyValue",
            "name": "95 % interval",
            "minValue": draft.ci_low,
            "maxValue": draft.ci_high,
        }
        beside.append(crate.add(ContextEntity(crate, f"#number-{number.id}-interval", interval)))
    entity["valueReference"] = beside
    entity["subjectOf"] = crate.get(f"{REPORT}/")
    return entity
