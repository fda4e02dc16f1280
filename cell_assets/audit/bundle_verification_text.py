"""What was found in a bundle, for people and for programs."""

import json
from collections.abc import Sequence

from cell_assets.audit.explanation_text import number_text
from cell_assets.audit.statement import Withdrawal
from cell_assets.audit.verify_bundle import VerifiedBundle
from cell_assets.ledger.records import JsonValue

FORMAT = "cell_assets.bundle_verification"
FORMAT_VERSION = 1

_NAMED_FAULTS = 20
"""So many faults of one check are named for a person; JSON names all."""


def to_text(found: VerifiedBundle) -> str:
    """The number, a line for each check, what is wrong below it, and the upshot."""
    lines = [] if found.number is None else [number_text(found.number)]
    if found.evidence is not None:
        lines += withdrawal_lines(found.evidence.withdrawn)
    for check in found.checks:
        lines.append(f"{check.state.value:11}  {check.name:9}  {check.why}")
        lines += [f"    {fault}" for fault in check.faults[:_NAMED_FAULTS]]
        if len(check.faults) > _NAMED_FAULTS:
            lines.append(f"    … and {len(check.faults) - _NAMED_FAULTS} more")
    lines.append(f"{found.path}: {'verified' if found.holds else 'NOT verified'}")
    return "\n".join(_printable(line) for line in lines)


def _printable(line: str) -> str:
    """The line with whatever could steer a terminal, or feign another line, spelled out."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode() for one in line
    )


def withdrawal_lines(withdrawn: Sequence[Withdrawal]) -> list[str]:
    """A line for everything behind a number that was withdrawn."""
    return [
        f"WITHDRAWN: {f'plate {one.plate}' if one.artifact is None else f'artifact {one.artifact}'}, "
        f"because {one.reason}"
        for one in withdrawn
    ]


def to_json(found: VerifiedBundle) -> str:
    """Every check with every fault, what the bundle states, and each artifact that was re-hashed."""
    document: dict[str, JsonValue] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "path": str(found.path),
        "verified": found.holds,
        "signature": None if found.signature is None else found.signature.value,
        "checks": [
            {"name": one.name, "state": one.state.value, "why": one.why, "faults": list(one.faults)}
            for one in found.checks
        ],
        "stated": None if found.evidence is None else found.evidence.model_dump(mode="json"),
        "data": None
        if found.data is None
        else {
            "root": str(found.data.root),
            "not_there": found.data.n_not_there,
            "bytes_read": found.data.n_bytes_read,
            "artifacts": [
                {
                    "id": one.artifact_id,
                    "asset": one.asset,
                    "partition": one.partition,
                    "verdict": one.state.value,
                    "why": one.why,
                    "changed": list(one.changed),
                    "missing": list(one.missing),
                    "extra": list(one.extra),
                }
                for one in found.data.verdicts
            ],
        },
    }
    # ASCII, so that no text of a bundle's maker can steer a terminal.
    return json.dumps(document, indent=1, ensure_ascii=True, allow_nan=False)
