"""Independent random streams that depend on what is drawn, never on the order of drawing."""

from enum import IntEnum

import numpy as np


class Draw(IntEnum):
    """What a stream is for; the number is part of the seed and must not change."""

    STAGE = 0
    LIFE = 1
    LOOKS = 2
    CAMERA = 3
    ORGANELLE_CAMERA = 4


def plate_stream(seed: int, draw: Draw) -> np.random.Generator:
    """Stream shared by all fields of view of a plate."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(draw),)))


def fov_stream(seed: int, key: tuple[int, int, int], draw: Draw, t: int = 0) -> np.random.Generator:
    """Stream of the field at `key` (row, column, field index); camera noise has one stream per frame `t`.

    The spawn key holds the field's place on the plate, so that adding wells, fields or frames leaves the
    others as they were, and any process may draw them in any order.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(*key, int(draw), t)))
