"""Where a number comes from: the walk from it, through every run and input, down to the raw acquisitions."""

from collections import defaultdict, deque
from collections.abc import Iterable

from cell_assets.audit.explanation import ExplainedArtifact, ExplainedRun, Explanation
from cell_assets.audit.explanation_json import to_json
from cell_assets.audit.explanation_text import to_text
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import ModelVersion

__all__ = ["explain", "to_json", "to_text"]


def explain(ledger: Ledger, number_id: int) -> Explanation:
    """Walk number `number_id` back to its sources, in a constant number of queries.

    Raises NotFoundError when there is no such number.
    """
    number = ledger.number(number_id)
    stated = ledger.provenance(number.run_id)
    root = stated.artifact.id
    stated_by = ExplainedRun(stated.run, tuple(sorted(one.id for one in stated.inputs)))
    inputs_of_run: dict[int, list[int]] = defaultdict(list)
    for edge in ledger.ancestors(stated_by.input_ids).edges:
        inputs_of_run[edge.run_id].append(edge.input_id)
    reachable = {*stated_by.input_ids, *(one for ids in inputs_of_run.values() for one in ids)}
    runs_of_artifact: dict[int, list[ExplainedRun]] = defaultdict(list, {root: [stated_by]})
    for run in ledger.runs_of(sorted(reachable)):
        if run.id < number.run_id and run.artifact_id is not None:
            runs_of_artifact[run.artifact_id].append(ExplainedRun(run, tuple(inputs_of_run[run.id])))
    order = _walk(root, runs_of_artifact)
    artifacts = ledger.artifacts_with_ids(order)
    versions: dict[int, list[ModelVersion]] = defaultdict(list)
    for version in ledger.model_versions(order):
        versions[version.artifact_id].append(version)
    return Explanation(
        number,
        tuple(
            ExplainedArtifact(artifacts[one], tuple(runs_of_artifact[one]), tuple(versions[one]))
            for one in order
        ),
    )


def _walk(root: int, runs_of_artifact: dict[int, list[ExplainedRun]]) -> list[int]:
    """Ids in breadth-first order from `root`."""
    order = [root]
    seen = {root}
    waiting = deque(order)
    while waiting:
        runs: Iterable[ExplainedRun] = runs_of_artifact[waiting.popleft()]
        for input_id in sorted({one for run in runs for one in run.input_ids} - seen):
            seen.add(input_id)
            order.append(input_id)
            waiting.append(input_id)
    return order
