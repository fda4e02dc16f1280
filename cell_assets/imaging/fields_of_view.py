"""One field of view as the FOV chain sees it: where its frames come from and what is known about it.

No files here: `Acquisition` gives the frames, tests may give arrays.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.imaging.label_geometry import Spacing
from cell_assets.ledger.records import WellDraft


class FrameSource(Protocol):
    """The part of an acquisition that segmentation, tracking and patches read, frame by frame."""

    def read_frame(self, position: str, t: int) -> NDArray[np.generic]:
        """Pixels `(C, Z, Y, X)` of one time point."""

    def has_labels(self, position: str) -> bool:
        """Whether instance labels came with the acquisition; reads none."""

    def has_tracks(self, position: str) -> bool:
        """Whether a track table came with the acquisition; reads none."""

    def given_labels(self, position: str, t: int) -> NDArray[np.generic] | None:
        """Instance labels `(Z, Y, X)` that came with the acquisition; None where there are none."""

    def given_tracks(self, position: str) -> pd.DataFrame | None:
        """Track table (`TRACK_COLUMNS`) that came with the acquisition; None where there is none."""


@dataclass(frozen=True)
class FieldOfView:
    """What the chain must know of a position before it reads a frame."""

    position: str
    """Such as `A/1/000`."""
    shape: tuple[int, int, int, int, int]
    """`(T, C, Z, Y, X)`."""
    dtype: np.dtype
    channel_names: tuple[str, ...]
    voxel_size_um: tuple[float | None, float, float]
    """`(z, y, x)`; z is None for a single plane whose source states no depth."""
    interval_min: float | None
    """Minutes between time points; None for a single one."""
    well: WellDraft
    """Condition of the well; None where the plate map does not say."""

    @property
    def spacing(self) -> Spacing:
        """Voxel size `(z, y, x)`, µm, with z = 1 where none is stated: such a plane has nothing measured
        along z.
        """
        z, y, x = self.voxel_size_um
        return 1.0 if z is None else z, y, x

    def channel_index(self, name: str) -> int:
        """Index of channel `name`.

        Raises:
            BadInputError: the position has no such channel.
        """
        if name not in self.channel_names:
            known = ", ".join(self.channel_names)
            raise BadInputError(f"{self.position}: channel {name!r} does not exist; choose one of {known}")
        return self.channel_names.index(name)


def frame_shape(fov: FieldOfView) -> tuple[int, int, int]:
    """`(Z, Y, X)` of one frame."""
    _, _, z, y, x = fov.shape
    return z, y, x
