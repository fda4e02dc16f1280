"""What a plate reader is. One format is one file in this folder that states `READER`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.imaging.source_position import SourcePosition

WHOLE = slice(None)


class PlateSource(ABC):
    """A plate opened for reading. Opening reads metadata only; pixels come volume by volume.

    Every method raises BadInputError that names file, field and value when the source cannot be used as it
    is.
    """

    format: ClassVar[str]

    path: Path
    positions: tuple[SourcePosition, ...]
    """In the order in which the source lists them."""
    simulated: bool = False
    """Whether the source says that it is a simulation."""

    @abstractmethod
    def check(self) -> None:
        """Everything about completeness that can be known without decoding pixels."""

    @abstractmethod
    def read_volume(self, position: str, t: int, channel: int, z: slice = WHOLE) -> NDArray[np.generic]:
        """(z, Y, X) of one channel at one time point, native byte order; by default the whole depth."""

    @abstractmethod
    def files(self) -> Iterator[Path]:
        """Every file that the source consists of, in any order."""

    def read_frame(self, position: str, t: int) -> NDArray[np.generic]:
        """(C, Z, Y, X) of one time point."""
        n_channels = next(place.shape[1] for place in self.positions if place.name == position)
        return np.stack([self.read_volume(position, t, channel) for channel in range(n_channels)])

    def label_dtype(self, position: str) -> np.dtype | None:
        """dtype of the instance labels that come with a FOV; None when none do."""
        return None

    def given_labels(self, position: str, t: int, z: slice = WHOLE) -> NDArray[np.generic] | None:
        """Instance labels (z, Y, X), 0 = no cell; None when the source has none for this FOV."""
        return None

    def has_tracks(self, position: str) -> bool:
        """Whether track tables come with a FOV."""
        return False

    def given_tracks(self, position: str) -> pd.DataFrame | None:
        """The track table (TRACK_COLUMNS) that comes with a FOV; may read all its labels, frame by frame."""
        return None


@dataclass(frozen=True)
class Reader:
    """One format: its name for `--format`, what it looks like, and how it is opened."""

    format: str
    looks_for: str
    """What a folder of this format holds, completing the sentence `looked for …`."""
    recognises: Callable[[Path], bool]
    """Cheap: looks at names and root metadata only."""
    open: Callable[[Path], PlateSource]
    open_by_pattern: Callable[[Path, str], PlateSource] | None = None
    """For a format whose filenames say where each file belongs, see `file_pattern`."""
    open_with_labels: Callable[[Path, str], PlateSource] | None = None
    """For a format whose FOVs may have several label images: opened with the name of one."""
