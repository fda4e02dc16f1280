"""What a plate on disk states about one of its positions, before anything is filled in."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SourcePosition:
    """One FOV of a source."""

    name: str
    """`row/column/fov`, alphanumeric parts."""
    shape: tuple[int, int, int, int, int]
    """(T, C, Z, Y, X)."""
    dtype: np.dtype
    channel_names: tuple[str, ...] | None
    z_um: float | None
    y_um: float | None
    x_um: float | None
    interval_min: float | None
    """None wherever the source does not state it."""

    @property
    def well(self) -> str:
        """`row/column`."""
        return self.name.rsplit("/", 1)[0]
