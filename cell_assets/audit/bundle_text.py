"""A bundle that was made, for people and for programs."""

import json

from cell_assets.audit.bundle import MadeBundle
from cell_assets.audit.bundle_verification_text import withdrawal_lines
from cell_assets.audit.counting import counted
from cell_assets.audit.explanation_text import number_text
from cell_assets.ledger.records import JsonValue

FORMAT = "cell_assets.bundle"
FORMAT_VERSION = 1


def to_text(made: MadeBundle) -> str:
    """The number, what of it was withdrawn, what could not go along, and the file."""
    lines = [number_text(made.number), *withdrawal_lines(made.withdrawn)]
    lines += [
        f"environment {digest[:12]} has no text: its runs recorded only a digest"
        for digest in made.environments_without_text
    ]
    signed = "not signed" if made.keyid is None else f"signed with key {made.keyid[:12]}"
    lines.append(
        f"{made.path}: {counted(made.n_members, 'member')}, {made.n_bytes / 1e6:.1f} MB, "
        f"on {counted(made.n_artifacts, 'artifact')}, {signed}"
    )
    return "\n".join(lines)


def to_json(made: MadeBundle) -> str:
    """The same as one JSON document."""
    document: dict[str, JsonValue] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "number": made.number.id,
        "path": str(made.path),
        "members": made.n_members,
        "bytes": made.n_bytes,
        "artifacts": made.n_artifacts,
        "withdrawn": [one.model_dump() for one in made.withdrawn],
        "environments_without_text": list(made.environments_without_text),
        "keyid": made.keyid,
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
