"""A verification for people and for programs."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from cell_assets.audit.verified_numbers import VerifiedNumber
from cell_assets.audit.verify import Verification, VerifiedArtifact
from cell_assets.ledger.records import JsonValue
from cell_assets.store.verdict import VerdictState

FORMAT = "cell_assets.verification"
FORMAT_VERSION = 1

_NAMED_FILES = 10
"""So many files of one artifact are named for a person; JSON names all."""


def to_text(found: Verification, numbers: Sequence[VerifiedNumber] = ()) -> str:
    """What is wrong by artifact, file and pixels, then the counts of verdicts, bytes read, and the upshot.

    Args:
        numbers: what that means for each number, where it was about all of them.
    """
    lines: list[str] = []
    for node in found.nodes:
        if not node.verdict.is_verified:
            lines.extend(_wrong(node))
    faults = () if found.chain is None else found.chain.faults
    lines.extend(f"history: {fault.why}" for fault in faults)
    lines.extend(_wrong_number(one) for one in numbers if not one.is_clean)
    counts = Counter(node.verdict.state for node in found.nodes)
    said = ", ".join(f"{counts[state]} {state.value}" for state in VerdictState if counts[state])
    if not found.certifies:
        said = said.replace(VerdictState.VERIFIED.value, "untouched by names, sizes and times")
    taken_over = sum(node.earlier is not None for node in found.nodes)
    lines.append(f"{found.title}, artifacts: {said}")
    if found.certifies:
        lines.append(f"{found.n_bytes_read / 1e6:.1f} MB read and hashed")
    else:
        lines.append("no byte was read: this certifies nothing; leave out --quick to verify")
    if taken_over:
        lines.append(f"{taken_over} verdicts were taken over from an earlier run")
    if found.chain is not None:
        fits = "fits" if not faults else "does not fit"
        lines.append(f"history {fits} its {found.chain.n_entries} entries, newest {found.chain.head[:12]}")
    if numbers:
        n_clean = sum(one.is_clean for one in numbers)
        how = "clean" if found.certifies else "untouched as far as a quick look tells"
        lines.append(f"{n_clean} of {len(numbers)} numbers are {how}")
    return "\n".join(lines)


def _wrong(node: VerifiedArtifact) -> list[str]:
    artifact, verdict = node.artifact, node.verdict
    lines = [
        f"{verdict.state.value}: {artifact.asset} {artifact.partition} (artifact {artifact.id}): {verdict.why}"
    ]
    region_of = {region.file: region.text() for region in node.regions}
    kinds = (("changed", verdict.changed), ("missing", verdict.missing), ("extra", verdict.extra))
    named = [(kind, file) for kind, files in kinds for file in files]
    for kind, file in named[:_NAMED_FILES]:
        lines.append(f"  {kind} {file}" + (f" = {region_of[file]}" if file in region_of else ""))
    if len(named) > _NAMED_FILES:
        lines.append(f"  … and {len(named) - _NAMED_FILES} more files")
    return lines


def _wrong_number(one: VerifiedNumber) -> str:
    number, draft = one.number, one.number.draft
    reasons = [f"artifact {artifact.id} is not what was published" for artifact in one.damaged]
    if one.was_edited:
        reasons.append("it was changed after it was recorded")
    experiment = "" if number.experiment is None else f"{number.experiment} "
    title = f"number {number.id} ({experiment}{draft.report} {draft.name}, {draft.split})"
    return f"{title}: {', '.join(reasons)}"


def to_json(
    found: Verification,
    recomputed: JsonValue = None,
    numbers: Sequence[VerifiedNumber] | None = None,
) -> str:
    """The verification as one JSON document, every artifact with its verdict and every file that differs.

    Args:
        recomputed: the number computed anew, `recompute.as_json`.
        numbers: what that means for each number, where it was about all of them.
    """
    document: dict[str, JsonValue] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "subject": found.title,
        "certifies": found.certifies,
        "verified": found.is_verified,
        "bytes_read": found.n_bytes_read,
        "artifacts": [
            {
                "id": node.artifact.id,
                "asset": node.artifact.asset,
                "partition": node.artifact.partition,
                "digest": node.artifact.digest,
                "verdict": node.verdict.state.value,
                "why": node.verdict.why,
                "changed": list(node.verdict.changed),
                "missing": list(node.verdict.missing),
                "extra": list(node.verdict.extra),
                "pixels": [asdict(region) for region in node.regions],
                "bytes_read": node.verdict.n_bytes_read,
                "verified_earlier": None if node.earlier is None else node.earlier.isoformat(),
            }
            for node in found.nodes
        ],
        "history": None
        if found.chain is None
        else {
            "entries": found.chain.n_entries,
            "newest": found.chain.head,
            "faults": [
                {"kind": fault.kind.value, "table": fault.table, "key": fault.key, "why": fault.why}
                for fault in found.chain.faults
            ],
        },
        "recomputed": recomputed,
        "numbers": None
        if numbers is None
        else [
            {
                "id": one.number.id,
                "experiment": one.number.experiment,
                "report": one.number.draft.report,
                "name": one.number.draft.name,
                "split": one.number.draft.split,
                "clean": one.is_clean,
                "damaged": [artifact.id for artifact in one.damaged],
                "edited": one.was_edited,
            }
            for one in numbers
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
