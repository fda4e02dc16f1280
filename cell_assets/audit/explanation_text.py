"""An explanation as a tree for people: what is alike is folded, what was shown once is referred to."""

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from cell_assets.audit.counting import counted
from cell_assets.audit.explanation import ExplainedArtifact, ExplainedRun, Explanation
from cell_assets.ledger.records import ArtifactState, Number
from cell_assets.store.room import said_bytes

_UNFOLDED = 3
"""So many inputs of one asset are all shown; of more, only the first."""
_SOURCES_LISTED = 40
_LONGEST_PARAMETERS = 160
_SHORT_DIGEST = 12


def to_text(explanation: Explanation) -> str:
    """The explanation as a tree of lines, with what it rests on and what has changed since at the end.

    Of many inputs of one asset only the first is shown with what is behind it; `to_json` holds them all.
    """
    lines = [
        number_text(explanation.number),
        *_tree(explanation),
        "",
        *_sources(explanation),
        *_since(explanation),
        _totals(explanation),
    ]
    return "\n".join(lines)


def number_text(number: Number) -> str:
    """A number with its interval, experiment and time of recording, in one line."""
    draft = number.draft
    said = f"{draft.report} {draft.name}, {draft.split}"
    if draft.value is None:
        said += f": not computed, {draft.why_missing}"
    else:
        said += f" = {draft.value:.6g}"
        if draft.ci_low is not None:
            said += f" [{draft.ci_low:.6g}, {draft.ci_high:.6g}]"
    if number.withdrawn_because is not None:
        said += f", WITHDRAWN because {number.withdrawn_because}"
    experiment = "" if number.experiment is None else f", experiment {number.experiment}"
    n = f"{draft.n} {draft.unit}".strip()
    return f"number {number.id}: {said}, n = {n}{experiment}, recorded {_time(number.recorded)}"


def _tree(explanation: Explanation) -> list[str]:
    """Artifact after artifact, depth first. Not recursive: a history may be deeper than Python's stack."""
    known = {one.artifact.id: one for one in explanation.artifacts}
    shown: set[int] = set()
    lines: list[str] = []
    waiting: list[tuple[int | str, str, bool]] = [(explanation.artifacts[0].artifact.id, "", True)]
    while waiting:
        branch, indent, is_last = waiting.pop()
        head = indent + ("└─ " if is_last else "├─ ")
        if isinstance(branch, str):
            lines.append(head + branch)
            continue
        node = known[branch]
        if branch in shown:
            lines.append(f"{head}{_title(node)} (explained above)")
            continue
        shown.add(branch)
        below = indent + ("   " if is_last else "│  ")
        branches = _branches([known[one] for one in node.input_ids if one in known])
        deeper = sum(one not in known for one in node.input_ids)
        if deeper:
            branches.append(f"… {counted(deeper, 'input')} deeper")
        rule = below + ("│  " if branches else "   ")
        lines.append(head + _title(node))
        lines.extend(rule + line for line in _details(node))
        ends = [False] * (len(branches) - 1) + [True]
        waiting.extend((one, below, ends[index]) for index, one in reversed(list(enumerate(branches))))
    return lines


def _branches(inputs: Sequence[ExplainedArtifact]) -> list[int | str]:
    """Ids to show, and in place of many of one asset the first and how many more."""
    by_asset: dict[str, list[ExplainedArtifact]] = defaultdict(list)
    for one in inputs:
        by_asset[one.artifact.asset].append(one)
    branches: list[int | str] = []
    for asset, alike in by_asset.items():
        if len(alike) <= _UNFOLDED:
            branches.extend(one.artifact.id for one in alike)
        else:
            last = alike[-1].artifact.partition
            branches.append(alike[0].artifact.id)
            branches.append(f"… and {len(alike) - 1} more {asset} (up to {last})")
    return branches


def _title(node: ExplainedArtifact) -> str:
    artifact = node.artifact
    words = [
        f"{artifact.asset} {artifact.partition}",
        f"artifact {artifact.id}",
        artifact.digest[:_SHORT_DIGEST],
        said_bytes(artifact.n_bytes),
        *(f"MLflow {one.registered_name} version {one.version}" for one in node.model_versions),
    ]
    if artifact.state is not ArtifactState.PRESENT:
        words.append(artifact.state.value)
    return " · ".join(words)


def _details(node: ExplainedArtifact) -> list[str]:
    first, *others = node.runs
    lines = [_run(first), _parameters(first)]
    if others:
        again = ", ".join(str(one.run.id) for one in others)
        differing = any(one.input_ids != first.input_ids for one in others)
        lines.append(f"made again by run {again}" + (", also from other inputs" if differing else ""))
    if node.failures:
        last = node.failures[-1]
        lines.append(
            f"failed {counted(len(node.failures), 'time')}, last as run {last.id} at {_time(last.ended)}: {last.error}"
        )
    if node.superseded_by:
        newest = node.superseded_by[-1]
        lines.append(
            f"superseded {counted(len(node.superseded_by), 'time')} since, last by run {newest.id} "
            f"(artifact {newest.artifact_id}) at {_time(newest.ended)}"
        )
    return lines


def _run(explained: ExplainedRun) -> str:
    run = explained.run
    code = run.code
    words = [f"run {run.id}", f"code {code.code_version[:_SHORT_DIGEST]}"]
    words.append(f"commit {code.git_commit[:_SHORT_DIGEST]}" if code.git_commit else "no commit known")
    if code.dirty_diff_digest is not None:
        words.append(f"uncommitted diff {code.dirty_diff_digest[:_SHORT_DIGEST]}")
    words.append(f"environment {code.environment_digest[:_SHORT_DIGEST]}")
    words.append(f"on {code.host}")
    words.append(f"{_time(run.started)}, {(run.ended - run.started).total_seconds():.1f} s")
    return " · ".join(words)


def _parameters(explained: ExplainedRun) -> str:
    said = ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False)}"
        for name, value in sorted(explained.run.parameters.items())
    )
    if len(said) > _LONGEST_PARAMETERS:
        said = said[:_LONGEST_PARAMETERS] + "…"
    return f"parameters: {said}" if said else "no parameters"


def _sources(explanation: Explanation) -> list[str]:
    sources = sorted(explanation.sources, key=lambda one: (one.artifact.asset, one.artifact.partition))
    listed = [one.artifact for one in sources[:_SOURCES_LISTED]]
    lines = ["rests on", *(f"  {one.asset} {one.partition}  {one.digest}" for one in listed)]
    if len(sources) > _SOURCES_LISTED:
        lines.append(f"  … and {len(sources) - _SOURCES_LISTED} more")
    return lines


def _since(explanation: Explanation) -> list[str]:
    lines = []
    if explanation.superseded:
        assets = ", ".join(sorted({one.artifact.asset for one in explanation.superseded}))
        lines.append(f"newer bytes exist of {counted(len(explanation.superseded), 'artifact')}: {assets}")
    if explanation.n_deeper:
        lines.append(f"{counted(explanation.n_deeper, 'artifact')} deeper than asked for")
    if explanation.as_of is not None:
        lines.append(f"as known at {_time(explanation.as_of)}")
    return lines


def _totals(explanation: Explanation) -> str:
    runs = [one.run for artifact in explanation.artifacts for one in artifact.runs]
    counts = [
        counted(len(explanation.artifacts), "artifact"),
        counted(len(runs), "run"),
        counted(len({run.code.code_version for run in runs}), "version") + " of the code",
        counted(len({run.code.environment_digest for run in runs}), "environment"),
    ]
    return "in all " + ", ".join(counts)


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
