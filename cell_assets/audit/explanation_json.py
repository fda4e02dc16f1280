"""An explanation as JSON: complete, nothing folded, each artifact once and referred to by its id."""

import json
from dataclasses import asdict

from cell_assets.audit.explanation import ExplainedArtifact, ExplainedRun, Explanation
from cell_assets.ledger.records import JsonValue

FORMAT = "cell_assets.explanation"
FORMAT_VERSION = 2


def to_json(explanation: Explanation) -> str:
    """The explanation as one JSON document.

    `number` is the number, `stated_by` the ids of the artifact and run that state it, `artifacts` the list of
    everything behind it, down to the depth that was asked for; an artifact's `runs` hold `inputs`, ids of other
    artifacts, its `failures` and `superseded_by` other runs of its asset's partition. Times are ISO 8601 in UTC.
    """
    number = explanation.number
    document: dict[str, JsonValue] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "number": {
            "id": number.id,
            "experiment": number.experiment,
            "recorded": number.recorded.isoformat(),
            **asdict(number.draft),
        },
        "as_of": None if explanation.as_of is None else explanation.as_of.isoformat(),
        "withdrawn_because": number.withdrawn_because,
        "deeper_artifacts": explanation.n_deeper,
        "stated_by": {"artifact": number.artifact_id, "run": number.run_id},
        "artifacts": [_artifact(one) for one in explanation.artifacts],
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)


def _artifact(explained: ExplainedArtifact) -> dict[str, JsonValue]:
    artifact = explained.artifact
    return {
        **asdict(artifact),
        "state": artifact.state.value,
        "created": artifact.created.isoformat(),
        "model_versions": [
            {"registered_name": one.registered_name, "version": one.version}
            for one in explained.model_versions
        ],
        "runs": [_run(one) for one in explained.runs],
        "failures": [_run(ExplainedRun(one, ())) for one in explained.failures],
        "superseded_by": [
            {**_run(ExplainedRun(one, ())), "artifact": one.artifact_id} for one in explained.superseded_by
        ],
    }


def _run(explained: ExplainedRun) -> dict[str, JsonValue]:
    run = explained.run
    return {
        "id": run.id,
        **asdict(run.code),
        "parameters": dict(run.parameters),
        "started": run.started.isoformat(),
        "ended": run.ended.isoformat(),
        "outcome": run.outcome.value,
        "error": run.error,
        "dagster_run_id": run.dagster_run_id,
        "event_storage_id": run.event_storage_id,
        "inputs": list(explained.input_ids),
    }
