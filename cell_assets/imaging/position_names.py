"""FOV names for sources that label their positions in their own way."""

import re
from collections.abc import Sequence

_WELL_LABEL = re.compile(r"([A-Pa-p])0*([0-9]{1,2})(?:[-_ ]?(?:Site|site|fov|f|s)?[-_ ]?([0-9]+))?")
"""`A1`, `A01_003`, and `A1-Site_0` as Micro-Manager's plate dialogue writes it."""

_ONLY_WELL = "A/1"


def fov_names(*labellings: Sequence[str]) -> tuple[str, ...]:
    """`row/column/fov` for the positions of a source, in their order.

    The first labelling in which every label names a well, and no two the same place, says where they are. If
    none does, the positions are the FOVs of one well: `A/1/000`, `A/1/001` …
    """
    for labels in labellings:
        matches = [_WELL_LABEL.fullmatch(label) for label in labels]
        placed = tuple(
            f"{match[1].upper()}/{int(match[2])}/{int(match[3] or 0):03d}"
            for match in matches
            if match is not None
        )
        if len(set(placed)) == len(labels):
            return placed
    return tuple(f"{_ONLY_WELL}/{number:03d}" for number in range(len(labellings[0])))
