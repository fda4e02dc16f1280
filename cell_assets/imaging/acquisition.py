"""The raw_acquisition artifact: what its folder holds and how it is read.

`plate.zarr` (OME-Zarr 0.5 HCS), `acquisition.json`, and what came with the plate below `annotations/`: label
images, track tables, per-cell states. Writing it is `ingest`; nothing here writes pixels.
"""

from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import tensorstore
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from cell_assets.errors import BadInputError, NotFoundError
from cell_assets.imaging.ome_zarr_plate import open_image
from cell_assets.imaging.pixel_digest import combined_digest
from cell_assets.imaging.track_files import read_track_csv
from cell_assets.imaging.track_tables import ImageExtent
from cell_assets.ledger.records import WellDraft

FORMAT_NAME, FORMAT_VERSION = "cell_assets.acquisition", "1"

INFO = "acquisition.json"
PLATE = "plate.zarr"
LABELS = Path("annotations") / "labels.zarr"
TRACKS = Path("annotations") / "tracks"
STATES = Path("annotations") / "states.parquet"

LABEL_CHANNEL = "labels"
"""Name of the only channel of the label plate."""

_OPEN_IMAGES = 64
"""Image handles kept open; each is a few kB of metadata."""


class VoxelSize(BaseModel):
    """Voxel size in µm. `z` is None for a single plane whose source states no depth."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    z: float | None
    y: float
    x: float


class PositionInfo(BaseModel):
    """One FOV."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """`row/column/fov`, for example `A/1/000`."""
    shape: tuple[int, int, int, int, int]
    """(T, C, Z, Y, X)."""
    dtype: str
    content_digest: str
    """BLAKE3 of the decoded pixels, independent of chunking (see `pixel_digest`)."""
    has_labels: bool
    has_tracks: bool

    @property
    def well(self) -> str:
        """`row/column`."""
        return self.name.rsplit("/", 1)[0]

    @property
    def extent(self) -> ImageExtent:
        return ImageExtent.of(self.shape)


class AcquisitionInfo(BaseModel):
    """What `acquisition.json` states. Lengths in µm, interval in minutes; no paths, no times of day."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["cell_assets.acquisition"] = "cell_assets.acquisition"
    version: Literal["1"] = "1"
    source_format: str
    source_digest: str
    """BLAKE3 over names and bytes of the source's files."""
    simulated: bool = False
    """Whether the source says that it is a simulation, not a microscope's."""
    channel_names: tuple[str, ...]
    voxel_size_um: VoxelSize
    interval_min: float | None
    """None when every FOV has one time point and the source states no interval."""
    positions: tuple[PositionInfo, ...]
    """In the source's order."""
    wells: tuple[WellDraft, ...]
    """Every well of the plate, in order; conditions are None where no plate map names the well."""

    @property
    def content_digest(self) -> str:
        """One digest of all decoded pixels of the plate."""
        return combined_digest((position.name, position.content_digest) for position in self.positions)

    def position(self, name: str) -> PositionInfo:
        """The FOV of that name; NotFoundError without it."""
        if name not in self._by_name:
            raise NotFoundError(f"the acquisition has no position {name!r}")
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, PositionInfo]:
        return {position.name: position for position in self.positions}

    def well_of(self, position: str) -> WellDraft:
        """The well that a FOV lies in; NotFoundError without it."""
        well = self.position(position).well
        return next(entry for entry in self.wells if entry.name == well)


class Acquisition:
    """A raw acquisition opened for reading. Not for pickling: a worker opens its own."""

    def __init__(self, path: Path, info: AcquisitionInfo) -> None:
        self.path = path
        self.info = info
        self._image = lru_cache(_OPEN_IMAGES)(open_image)

    @cached_property
    def positions(self) -> tuple[str, ...]:
        """FOV names in the source's order."""
        return tuple(position.name for position in self.info.positions)

    def image(self, position: str) -> tensorstore.TensorStore:
        """(T, C, Z, Y, X), read lazily; NotFoundError for an unknown FOV."""
        return self._image(self.path / PLATE, self.info.position(position).name)

    def read_frame(self, position: str, t: int) -> NDArray[np.generic]:
        """(C, Z, Y, X) of one time point."""
        return np.asarray(self.image(position)[t].read().result())

    def read_volume(self, position: str, t: int, channel: int) -> NDArray[np.generic]:
        """(Z, Y, X) of one channel at one time point."""
        return np.asarray(self.image(position)[t, channel].read().result())

    def has_labels(self, position: str) -> bool:
        """Whether instance labels came with the plate; reads none."""
        return self.info.position(position).has_labels

    def has_tracks(self, position: str) -> bool:
        """Whether a track table came with the plate; reads none."""
        return self.info.position(position).has_tracks

    def given_labels(self, position: str, t: int) -> NDArray[np.generic] | None:
        """Instance labels (Z, Y, X) that came with the plate, 0 = no cell; None when none did."""
        if not self.info.position(position).has_labels:
            return None
        return np.asarray(self.given_label_image(position)[t, 0].read().result())

    def given_label_image(self, position: str) -> tensorstore.TensorStore:
        """Those of a FOV that has some, (T, 1, Z, Y, X), read lazily."""
        return self._image(self.path / LABELS, position)

    def given_tracks(self, position: str) -> pd.DataFrame | None:
        """The track table (TRACK_COLUMNS) that came with the plate; None when none did."""
        info = self.info.position(position)
        if not info.has_tracks:
            return None
        return read_track_csv(tracks_file(self.path, position), position, info.extent)

    def given_states(self) -> pd.DataFrame | None:
        """Annotations of cells, `fov_name, track_id, t` and one column each; None when none came."""
        path = self.path / STATES
        return pd.read_parquet(path) if path.exists() else None


def open_acquisition(path: Path) -> Acquisition:
    """Open a raw acquisition's folder.

    Raises:
        BadInputError: there is no readable `acquisition.json` of this format, naming the file.
    """
    file = path / INFO
    try:
        info = AcquisitionInfo.model_validate_json(file.read_bytes())
    except OSError as error:
        raise BadInputError(
            f"{file}: cannot be read ({error.strerror}); give a raw_acquisition folder"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BadInputError(
            f"{file}: field {field or 'format'}: {first['msg']}; ingest the plate again"
        ) from error
    return Acquisition(path, info)


def tracks_file(acquisition: Path, position: str) -> Path:
    """Where the given tracks of a FOV lie: `annotations/tracks/A_1_000.csv`."""
    return acquisition / TRACKS / f"{position.replace('/', '_')}.csv"
