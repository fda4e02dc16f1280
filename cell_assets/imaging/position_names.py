"""FOV names for sources that label their positions in their own way."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cell_assets.errors import BadInputError

_WELL_LABEL = re.compile(r"([A-Pa-p])0*([0-9]{1,2})(?:[-_ ]?(?:Site|site|fov|f|s)?[-_ ]?([0-9]+))?")
"""`A1`, `A01_003`, and `A1-Site_0` as Micro-Manager's plate dialogue writes it."""

_ONLY_WELL = "A/1"


def fov_names(source: Path, *labellings: Sequence[str]) -> tuple[str, ...]:
    """`row/column/fov` for the positions of a source, in their order.

    The first labelling in which every label names a well, and no two the same place, says where they are; labels
    that name wells but no sites are numbered within their well. If no label of any labelling names a well, the
    positions are the FOVs of one: `A/1/000`, `A/1/001` …

    Raises:
        BadInputError: some labels name a well and others do not, or two name the same site of one.
    """
    for labels in labellings:
        placed = _placed(labels)
        if len(set(placed)) == len(labels):
            return placed
    for labels in labellings:
        named = [label for label in labels if _WELL_LABEL.fullmatch(label)]
        if 0 < len(named) < len(labels):
            other = next(label for label in labels if label not in named)
            raise BadInputError(
                f"{source}: position {other!r} names no well, though {named[0]!r} does; name all for their wells, or "
                "none"
            )
        if named:
            places = _placed(labels)
            twice = next(
                label for label, place in zip(labels, places, strict=True) if places.count(place) > 1
            )
            raise BadInputError(
                f"{source}: two positions are called {twice!r} or the like; ingest each acquisition as its own plate"
            )
    return tuple(f"{_ONLY_WELL}/{number:03d}" for number in range(len(labellings[0])))


def _placed(labels: Sequence[str]) -> tuple[str, ...]:
    """Places of labels that all name wells; none where one does not."""
    matches = [match for label in labels if (match := _WELL_LABEL.fullmatch(label)) is not None]
    if len(matches) < len(labels):
        return ()
    has_sites = any(match[3] is not None for match in matches)
    seen: Counter[str] = Counter()
    placed = []
    for match in matches:
        well = f"{match[1].upper()}/{int(match[2])}"
        placed.append(f"{well}/{int(match[3] or 0) if has_sites else seen[well]:03d}")
        seen[well] += 1
    return tuple(placed)
