"""The patch table of one position: a crop of every tracked cell at every time point, and a row that
describes it.

Crops are whole pixels: a side of S px starts at `floor(centroid - (S - 1) / 2 + 1/2)`, so that the crop's
centre is at most half a pixel from the float centroid (half a pixel off upwards where S is even and the
centroid whole); nothing is interpolated, and the centroid itself stays in the row. A crop that leaves the
image repeats its edge pixels and is flagged `at_border`; no cell is dropped. How patches lie on disk is in
`patch_store`, how they are read in `patch_reading`.
"""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from cell_assets.errors import BadInputError
from cell_assets.imaging.channels import ChannelKind, infer_channel_kind
from cell_assets.imaging.fields_of_view import FieldOfView, FrameSource
from cell_assets.imaging.normalisation import (
    SCHEMES,
    ChannelStatistics,
    ChannelTally,
    NormalisationScheme,
    Scaling,
)
from cell_assets.imaging.parquet_tables import write_parquet
from cell_assets.imaging.patch_store import PatchLayout, PatchWriter
from cell_assets.imaging.track_tables import Column
from cell_assets.imaging.tracking import read_tracks

CELLS_PARQUET = "cells.parquet"
PATCHES_ZARR = "patches.zarr"
PATCH_TABLE_JSON = "patch_table.json"
KEPT_ROWS_PARQUET = "rows.parquet"
"""Which rows of a patch table its kept patches are of, in their order."""

ROW = "row"
"""Index into the patches."""
AT_BORDER = "at_border"
"""The crop leaves the image and holds repeated edge pixels."""
HOURS = "hours_post_perturbation"
"""Null unless the time of the perturbation is known."""
CONDITION_COLUMNS = (
    "perturbation_type",
    "perturbation",
    "dose",
    "dose_unit",
    "moa",
    "is_control",
    "well",
    HOURS,
)

DEFAULT_SIDE_PX = 120
"""Side of a stored patch: a network that sees 64 pixels is trained on views turned, sheared and widened to 1.86 times
that."""
_ROW_BYTES = 300
"""A row of `cells.parquet` without its scalings: indices, centroid, condition."""
_SCALING_BYTES = 9
_FILE_BYTES = 2**16
"""Footer and pages of `cells.parquet`, `patch_table.json` and the array's metadata."""
_DEFAULT_MAX_BYTES = 64 * 2**30


class PatchPolicy(StrEnum):
    """Which cells get a patch on disk."""

    ALL = "all"
    """Every cell image's, in the patch table itself."""
    MANIFEST = "manifest"
    """Of the cell images that the experiment's manifest does not leave out, in an artifact made after it
    (`kept_patches`)."""
    NONE = "none"
    """Patches are cut from the raw acquisition whenever they are read, to the same values: no byte of pixels is
    stored twice, and reading is bound by decoding whole frames."""


class NormalisationLevel(StrEnum):
    """Over what a scaling was measured."""

    FOV = "fov"
    TIME = "time"


class ChannelChoice(BaseModel):
    """A channel of the patches and its kind, which decides its normalisation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    """As the plate names it."""
    kind: ChannelKind
    """How it was imaged."""


class PatchRequest(BaseModel):
    """What a person may ask for; None is filled in by `resolve_patches` from the position."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    policy: PatchPolicy = PatchPolicy.ALL
    """Which cells get a patch on disk."""
    side_px: int | None = Field(default=None, ge=1)
    """Side of the square patch: at least what a network sees, and more for views that are turned (DynaCLR's preset
    quick sees 64 and turns within 120, paper sees 128 and turns within 239). Default: what the training chosen for the
    experiment needs, where that is more than 120; else 120, or the image's shorter side where that is less."""
    z_range: tuple[int, int] | None = None
    """First plane and the one after the last. Default: all planes."""
    channels: tuple[ChannelChoice, ...] | None = None
    """Default: all channels, of the kinds that their names say."""
    max_bytes: int = Field(default=_DEFAULT_MAX_BYTES, ge=0)
    """A larger table is refused before anything is written."""
    hours_post_perturbation_at_start: float | None = None
    """Hours between the perturbation and the first time point, where known."""


class ResolvedPatches(BaseModel):
    """Every parameter of a patch table: what is recorded and what runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: PatchPolicy
    side_px: int
    z_range: tuple[int, int]
    channels: tuple[ChannelChoice, ...]
    max_bytes: int
    hours_post_perturbation_at_start: float | None


class ChannelRecord(BaseModel):
    """How one channel of the patches is normalised; per-cell numbers are in `cells.parquet`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: ChannelKind
    scheme: NormalisationScheme
    shift: float | None
    """At FOV level; None where no frame has contrast."""
    scale: float | None
    constant_frames: tuple[int, ...]
    """Time points without any contrast, left out of the FOV's numbers."""


class PatchTableRecord(BaseModel):
    """Content of `patch_table.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["cell_assets.patch_table"] = "cell_assets.patch_table"
    version: Literal[1] = 1
    position: str
    parameters: ResolvedPatches
    n_cells: int
    n_at_border: int
    patch_shape: tuple[int, int, int, int]
    """`(C, Z, Y, X)`."""
    dtype: str
    voxel_size_um: tuple[float | None, float, float]
    """`(z, y, x)`."""
    interval_min: float | None
    channels: tuple[ChannelRecord, ...]

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names along the patches' C."""
        return tuple(channel.name for channel in self.channels)


def resolve_patches(fov: FieldOfView, request: PatchRequest) -> ResolvedPatches:
    """Fill in what `request` leaves open.

    Raises:
        BadInputError: a channel or plane that the position does not have.
    """
    choices = request.channels
    if choices is None:
        names = fov.channel_names
        choices = tuple(ChannelChoice(name=name, kind=infer_channel_kind(name)) for name in names)
    for choice in choices:
        fov.channel_index(choice.name)
    depth = fov.shape[2]
    start, stop = request.z_range if request.z_range is not None else (0, depth)
    if not 0 <= start < stop <= depth:
        raise BadInputError(
            f"{fov.position}: z_range {start}..{stop} is not within the image's planes 0..{depth}"
        )
    return ResolvedPatches(
        policy=request.policy,
        side_px=request.side_px or min(DEFAULT_SIDE_PX, *fov.shape[3:]),
        z_range=(start, stop),
        channels=choices,
        max_bytes=request.max_bytes,
        hours_post_perturbation_at_start=request.hours_post_perturbation_at_start,
    )


def patch_layout(fov: FieldOfView, parameters: ResolvedPatches, n_cells: int) -> PatchLayout:
    """Layout of the patches of `n_cells` rows; `.total_bytes` is what they will weigh on disk."""
    start, stop = parameters.z_range
    side = parameters.side_px
    return PatchLayout(n_cells, (len(parameters.channels), stop - start, side, side), fov.dtype)


def table_bytes(fov: FieldOfView, parameters: ResolvedPatches, n_cells: int) -> int:
    """What the patch table of `n_cells` rows weighs at most, by its policy."""
    rows = _FILE_BYTES + n_cells * (_ROW_BYTES + 4 * _SCALING_BYTES * len(parameters.channels))
    if parameters.policy is not PatchPolicy.ALL:
        return rows
    return rows + patch_layout(fov, parameters, n_cells).total_bytes


def refuse_too_large(position: str, layout: PatchLayout, max_bytes: int) -> None:
    """Refuse to store patches that weigh more than somebody allowed.

    Raises:
        BadInputError: they do.
    """
    if layout.total_bytes > max_bytes:
        raise BadInputError(
            f"{position}: {layout.n_rows} patches of {layout.patch_bytes:,} bytes need {layout.total_bytes:,} bytes, "
            f"more than max_bytes={max_bytes:,}; raise it, use a smaller side_px, z_range or fewer channels, or the "
            "policy none"
        )


def cell_times(folder: Path) -> "pd.Series[int]":
    """Time point of every row of the patch table in `folder`."""
    return pd.read_parquet(folder / CELLS_PARQUET, columns=[Column.T])[Column.T]


def write_patch_table(
    source: FrameSource, fov: FieldOfView, tracks: Path, parameters: ResolvedPatches, folder: Path
) -> PatchTableRecord:
    """Write the patch table of a position, whose tracks are in folder `tracks`, into `folder` (exists,
    empty).

    Memory: up to two frames, since choosing channels copies, and one patch.

    Raises:
        BadInputError: the table would be larger than `max_bytes` or than the disk's free space; nothing is
        written.
    """
    cells = read_tracks(tracks)
    layout = patch_layout(fov, parameters, len(cells))
    stores_patches = parameters.policy is PatchPolicy.ALL
    if stores_patches:
        refuse_too_large(fov.position, layout, parameters.max_bytes)
    starts = crop_starts(cells[["y", "x"]].to_numpy(np.float64), parameters.side_px)
    times = cells[Column.T].to_numpy()
    if stores_patches:
        with PatchWriter(folder / PATCHES_ZARR, layout) as writer:
            statistics = _stream(source, fov, times, starts, parameters, writer.write)
    else:
        statistics = _stream(source, fov, times, starts, parameters, None)
    _add_condition(cells, fov, parameters)
    cells[ROW] = np.arange(len(cells))
    cells[AT_BORDER] = _leaves(starts, parameters.side_px, fov)
    _add_scalings(cells, statistics)
    write_parquet(cells, folder / CELLS_PARQUET)
    record = PatchTableRecord(
        position=fov.position,
        parameters=parameters,
        n_cells=len(cells),
        n_at_border=int(cells[AT_BORDER].sum()),
        patch_shape=layout.patch_shape,
        dtype=layout.dtype.name,
        voxel_size_um=fov.voxel_size_um,
        interval_min=fov.interval_min,
        channels=tuple(map(_channel_record, parameters.channels, statistics)),
    )
    (folder / PATCH_TABLE_JSON).write_text(record.model_dump_json(indent=1), encoding="utf-8")
    return record


def crop_starts(centroids: NDArray[np.float64], side: int) -> NDArray[np.int64]:
    """First pixel of each crop `(n, 2)` around float centroids `(n, 2)` (y, x): see the module's text."""
    return np.floor(centroids - (side - 1) / 2 + 0.5).astype(np.int64)


def crop(volume: NDArray[np.generic], start: NDArray[np.int64], side: int) -> NDArray[np.generic]:
    """`(C, Z, side, side)` of a `(C, Z, Y, X)` frame from pixel `start` (y, x), edge pixels repeated
    outside.
    """
    (y, x), (height, width) = start, volume.shape[2:]
    if 0 <= y <= height - side and 0 <= x <= width - side:
        return volume[:, :, y : y + side, x : x + side]
    rows = np.clip(np.arange(y, y + side), 0, height - 1)
    columns = np.clip(np.arange(x, x + side), 0, width - 1)
    return volume[:, :, rows[:, None], columns]


def scaling_columns(level: NormalisationLevel, channel: int) -> tuple[str, str]:
    """Names of the shift and scale columns of a patch channel in `cells.parquet`."""
    return f"shift_{level.value}_{channel}", f"scale_{level.value}_{channel}"


def _stream(
    source: FrameSource,
    fov: FieldOfView,
    times: NDArray[np.int64],
    starts: NDArray[np.int64],
    parameters: ResolvedPatches,
    write: Callable[[int, NDArray[np.generic]], None] | None,
) -> tuple[ChannelStatistics, ...]:
    """Gather the channels' statistics and, with `write`, hand it the crop of every row; reads each frame once."""
    channels = [fov.channel_index(choice.name) for choice in parameters.channels]
    tallies = [ChannelTally(choice.kind, fov.dtype) for choice in parameters.channels]
    planes = slice(*parameters.z_range)
    for t in range(fov.shape[0]):
        frame = source.read_frame(fov.position, t)[channels]
        for tally, volume in zip(tallies, frame, strict=True):
            tally.add(volume)
        if write is not None:
            for row in np.flatnonzero(times == t):
                write(int(row), crop(frame[:, planes], starts[row], parameters.side_px))
    return tuple(tally.statistics() for tally in tallies)


def _leaves(starts: NDArray[np.int64], side: int, fov: FieldOfView) -> NDArray[np.bool_]:
    ends = np.array(fov.shape[3:]) - side
    outside: NDArray[np.bool_] = (starts < 0) | (starts > ends)
    return outside[:, 0] | outside[:, 1]


def _add_condition(cells: pd.DataFrame, fov: FieldOfView, parameters: ResolvedPatches) -> None:
    well, n = fov.well, len(cells)
    start = parameters.hours_post_perturbation_at_start
    hours: NDArray[np.float64] = np.full(n, np.nan)
    if start is not None:
        hours = start + cells[Column.T].to_numpy() * (fov.interval_min or 0.0) / 60
    columns = (
        pd.array([well.perturbation_type] * n, dtype="string"),
        pd.array([well.perturbation] * n, dtype="string"),
        pd.array([well.dose] * n, dtype="Float64"),
        pd.array([well.dose_unit] * n, dtype="string"),
        pd.array([well.moa] * n, dtype="string"),
        pd.array([well.is_control] * n, dtype="boolean"),
        pd.array([well.name] * n, dtype="string"),
        hours,
    )
    for name, column in zip(CONDITION_COLUMNS, columns, strict=True):
        cells[name] = pd.Series(column)


def _add_scalings(cells: pd.DataFrame, statistics: tuple[ChannelStatistics, ...]) -> None:
    times = cells[Column.T].to_numpy()
    for channel, found in enumerate(statistics):
        fov = np.tile(_pair(found.fov), (len(cells), 1))
        time = np.array([_pair(scaling) for scaling in found.time]).reshape(-1, 2)[times]
        for level, values in ((NormalisationLevel.FOV, fov), (NormalisationLevel.TIME, time)):
            shift, scale = scaling_columns(level, channel)
            cells[shift], cells[scale] = values[:, 0], values[:, 1]


def _pair(scaling: Scaling) -> tuple[float, float]:
    """NaN, which Parquet keeps as null, where there is nothing to scale by."""
    if scaling.shift is None or scaling.scale is None:
        return np.nan, np.nan
    return scaling.shift, scaling.scale


def _channel_record(choice: ChannelChoice, statistics: ChannelStatistics) -> ChannelRecord:
    return ChannelRecord(
        name=choice.name,
        kind=choice.kind,
        scheme=SCHEMES[choice.kind],
        shift=statistics.fov.shift,
        scale=statistics.fov.scale,
        constant_frames=statistics.constant_frames,
    )
