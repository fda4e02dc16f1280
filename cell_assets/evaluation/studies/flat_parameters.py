"""Recorded parameters as one list of names and texts."""

import json
from collections.abc import Iterable, Mapping

from cell_assets.ledger.records import JsonValue


def flat_parameters(prefix: str, parameters: Mapping[str, JsonValue]) -> Iterable[tuple[str, str]]:
    """Parameters as dotted names in sorted order."""
    for name in sorted(parameters):
        value = parameters[name]
        if isinstance(value, Mapping):
            yield from flat_parameters(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)
