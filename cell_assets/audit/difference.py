"""Why two numbers differ: what their histories have in common, and where code, parameters or inputs part."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from cell_assets.audit.explain import explain
from cell_assets.audit.explanation import ExplainedArtifact, Explanation
from cell_assets.audit.explanation_text import number_text
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import JsonValue, Number

FORMAT = "cell_assets.difference"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Changed:
    """One setting that is not the same; None where one side does not have it."""

    name: str
    """`code`, `environment`, or `parameters.` and the dotted path to the value."""
    a: JsonValue
    b: JsonValue


@dataclass(frozen=True)
class DifferingArtifact:
    """An asset's artifact that stands in both histories with other bytes."""

    asset: str
    partitions: tuple[str, str]
    artifact_ids: tuple[int, int]
    changed: tuple[Changed, ...]
    differing_inputs: tuple[str, ...]
    """Assets among its inputs that differ or stand on one side only."""

    @property
    def is_cause(self) -> bool:
        """Whether something was done differently here, rather than the same to other inputs."""
        return bool(self.changed) or not self.differing_inputs


@dataclass(frozen=True)
class Difference:
    """Two numbers' histories side by side, sources first."""

    a: Number
    b: Number
    n_same: int
    differing: tuple[DifferingArtifact, ...]
    only_a: tuple[str, ...]
    """`asset partition` of what only number A rests on."""
    only_b: tuple[str, ...]


_Role = tuple[str, str]
"""Asset, and partition where a history holds several of the asset."""


def difference(ledger: Ledger, a: int, b: int) -> Difference:
    """Hold the histories of two numbers side by side.

    Artifacts are matched by asset and partition; where each history holds one of an asset, by asset alone, so
    that two experiments or plates can be compared. Raises NotFoundError for an unknown number.
    """
    first, second = explain(ledger, a), explain(ledger, b)
    single = _single_assets(first) & _single_assets(second)
    of_a, of_b = _by_role(first, single), _by_role(second, single)
    shared = [role for role in of_a if role in of_b]
    differing = {r for r in shared if of_a[r].artifact.digest != of_b[r].artifact.digest}
    one_sided = (of_a.keys() | of_b.keys()) - set(shared)
    unlike = {
        node.artifact.id
        for side in (of_a, of_b)
        for role, node in side.items()
        if role in differing or role in one_sided
    }
    # In the order in which they were made, so that a cause stands before what follows from it.
    differing_roles = sorted(differing, key=lambda role: of_a[role].artifact.id)
    found = [_differing(of_a[role], of_b[role], first, second, unlike) for role in differing_roles]
    return Difference(
        first.number,
        second.number,
        len(shared) - len(differing),
        tuple(found),
        tuple(_title(of_a[role]) for role in of_a if role not in of_b),
        tuple(_title(of_b[role]) for role in of_b if role not in of_a),
    )


def _single_assets(explanation: Explanation) -> set[str]:
    counts = Counter(one.artifact.asset for one in explanation.artifacts)
    return {asset for asset, count in counts.items() if count == 1}


def _by_role(explanation: Explanation, single: set[str]) -> dict[_Role, ExplainedArtifact]:
    return {
        (one.artifact.asset, "" if one.artifact.asset in single else one.artifact.partition): one
        for one in explanation.artifacts
    }


def _differing(
    a: ExplainedArtifact, b: ExplainedArtifact, first: Explanation, second: Explanation, unlike: set[int]
) -> DifferingArtifact:
    assets = {one.artifact.id: one.artifact.asset for side in (first, second) for one in side.artifacts}
    inputs = {assets[one] for one in (*a.input_ids, *b.input_ids) if one in unlike}
    return DifferingArtifact(
        a.artifact.asset,
        (a.artifact.partition, b.artifact.partition),
        (a.artifact.id, b.artifact.id),
        tuple(_changed(a, b)),
        tuple(sorted(inputs)),
    )


def _changed(a: ExplainedArtifact, b: ExplainedArtifact) -> Iterator[Changed]:
    run_a, run_b = a.runs[-1].run, b.runs[-1].run
    if run_a.code.code_version != run_b.code.code_version:
        yield Changed("code", run_a.code.code_version, run_b.code.code_version)
    if run_a.code.environment_digest != run_b.code.environment_digest:
        yield Changed("environment", run_a.code.environment_digest, run_b.code.environment_digest)
    flat_a, flat_b = (
        dict(_flat("parameters", dict(run_a.parameters))),
        dict(_flat("parameters", dict(run_b.parameters))),
    )
    for name in sorted(flat_a.keys() | flat_b.keys()):
        if flat_a.get(name) != flat_b.get(name):
            yield Changed(name, flat_a.get(name), flat_b.get(name))


def _flat(name: str, value: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    if isinstance(value, Mapping) and value:
        for key in value:
            yield from _flat(f"{name}.{key}", value[key])
    else:
        yield name, value


def _title(node: ExplainedArtifact) -> str:
    return f"{node.artifact.asset} {node.artifact.partition}"


def to_text(found: Difference) -> str:
    """The numbers, what was done differently, what merely follows from it, and what stands on one side only."""
    lines = [number_text(found.a), number_text(found.b), "", f"the same: {_artifacts(found.n_same)}"]
    causes = [one for one in found.differing if one.is_cause]
    follows = [one for one in found.differing if not one.is_cause]
    for one in causes:
        lines.append(f"differs: {one.asset} {_both(one.partitions)}")
        lines.extend(f"  {change.name}: {_short(change.a)} → {_short(change.b)}" for change in one.changed)
        if one.differing_inputs:
            lines.append(f"  made from other {', '.join(one.differing_inputs)}")
        elif not one.changed:
            lines.append("  the same code, parameters and inputs gave other bytes")
    lines.extend(
        f"follows: {one.asset} {_both(one.partitions)}, from other {', '.join(one.differing_inputs)}"
        for one in follows
    )
    for number, titles in ((found.a, found.only_a), (found.b, found.only_b)):
        if titles:
            more = f" and {len(titles) - 5} more" if len(titles) > 5 else ""
            lines.append(f"only number {number.id} rests on: {', '.join(titles[:5])}{more}")
    return "\n".join(lines)


def to_json(found: Difference) -> str:
    """The whole of it as one JSON document."""
    document: dict[str, JsonValue] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "a": {"id": found.a.id, **asdict(found.a.draft)},
        "b": {"id": found.b.id, **asdict(found.b.draft)},
        "same": found.n_same,
        "differing": [{**asdict(one), "is_cause": one.is_cause} for one in found.differing],
        "only_a": list(found.only_a),
        "only_b": list(found.only_b),
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)


def _artifacts(n: int) -> str:
    return f"{n} artifact" if n == 1 else f"{n} artifacts"


def _both(partitions: Sequence[str]) -> str:
    a, b = partitions
    return a if a == b else f"{a} / {b}"


def _short(value: JsonValue) -> str:
    said = json.dumps(value, ensure_ascii=False)
    return said if len(said) <= 60 else f"{said[:57]}…"
