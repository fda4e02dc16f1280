"""Small plates on disk, as sources for ingest: Cell Tracking Challenge folders and OME-Zarr plates."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import tifffile
from iohub.ngff import open_ome_zarr
from iohub.ngff.models import ChannelAxisMeta, SpaceAxisMeta, TimeAxisMeta, TransformationMeta
from numpy.typing import NDArray

from cell_assets.imaging.ingest_checks import IngestOptions

CTC_OPTIONS = IngestOptions(channel_names=("phase",), pixel_size_um=(0.25, 0.25), interval_min=5.0)
"""What a 2-D Cell Tracking Challenge folder lacks."""

MAN_TRACK = "1 0 1 0\n2 2 3 1\n3 2 3 1\n"
"""One cell that divides between t=1 and t=2."""


def masks() -> list[NDArray[np.uint16]]:
    """Four frames (32, 40) that agree with MAN_TRACK; centroids are halves of a pixel."""
    frames = []
    for t in range(4):
        mask = np.zeros((32, 40), np.uint16)
        if t < 2:
            mask[10:14, 10 + t : 15 + t] = 1
        else:
            mask[4:8, 6:9] = 2
            mask[20:23, 20 : 22 + t] = 3
        frames.append(mask)
    return frames


def write_ctc(
    folder: Path,
    frames: Sequence[NDArray[np.generic]],
    sequence: str = "01",
    truth: Sequence[NDArray[np.uint16]] | None = None,
    man_track: str = MAN_TRACK,
) -> Path:
    """A Cell Tracking Challenge folder; returns `folder`."""
    (folder / sequence).mkdir(parents=True)
    for t, frame in enumerate(frames):
        tifffile.imwrite(folder / sequence / f"t{t:03d}.tif", frame, photometric="minisblack")
    if truth is not None:
        tra = folder / f"{sequence}_GT" / "TRA"
        tra.mkdir(parents=True)
        for t, mask in enumerate(truth):
            tifffile.imwrite(
                tra / f"man_track{t:03d}.tif", mask, photometric="minisblack", compression="zlib"
            )
        (tra / "man_track.txt").write_text(man_track)
    return folder


def noise(shape: tuple[int, ...], dtype: str = "uint16", seed: int = 0) -> NDArray[np.generic]:
    """Pixels that use every bit of 12, like a camera's."""
    return np.random.default_rng(seed).integers(0, 4096, shape).astype(dtype)


def write_zarr(
    path: Path,
    images: Mapping[str, NDArray[np.generic]],
    version: Literal["0.4", "0.5"] = "0.5",
    channel_names: Sequence[str] = ("DNA", "sensor"),
    scale: Sequence[float] = (600.0, 1.0, 2.0, 0.5, 0.25),
    time_unit: str | None = "second",
    space_unit: str | None = "micrometer",
    chunks: tuple[int, ...] | None = None,
    shards_ratio: tuple[int, ...] | None = None,
) -> Path:
    """An HCS plate written by iohub alone, every chunk stored; returns `path`. Intervals in seconds by default."""
    axes = [
        TimeAxisMeta(name="T", unit=time_unit),
        ChannelAxisMeta(name="C"),
        *(SpaceAxisMeta(name=name, unit=space_unit) for name in "ZYX"),
    ]
    with open_ome_zarr(
        path, layout="hcs", mode="w-", channel_names=list(channel_names), axes=axes, version=version
    ) as plate:
        for name, pixels in images.items():
            position = plate.create_position(*name.split("/"))
            position.create_image(
                "0",
                pixels,
                chunks=chunks,
                shards_ratio=shards_ratio,
                transform=[TransformationMeta(type="scale", scale=list(scale))],
            )
    return path
