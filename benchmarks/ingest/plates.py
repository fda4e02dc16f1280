"""Plates for the benchmark: folders of TIFFs and NDTiff acquisitions with noise like a camera's."""

import contextlib
import io
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import tifffile
from ndtiff import NDTiffDataset
from numpy.typing import NDArray

from cell_assets.imaging.ingest_checks import IngestOptions

CHANNELS = ("DNA", "sensor")
N_TIMES = 2
SIDE = 1024
FOVS_PER_COLUMN = 8

PLANE_BYTES = SIDE * SIDE * 2
FOV_BYTES = N_TIMES * len(CHANNELS) * PLANE_BYTES

PATTERN = "{well}_{channel}_t{t}.tif"

OPTIONS = {
    "TIFF": IngestOptions(pattern=PATTERN, pixel_size_um=(0.325, 0.325), interval_min=10.0),
    "NDTiff": IngestOptions(format="ndtiff", pixel_size_um=(0.325, 0.325), interval_min=10.0),
}

_OFFSET, _GAIN, _READ_NOISE = 100.0, 2.0, 1.6
"""Of a scientific CMOS camera: counts at no light, counts per photon's electron, electrons."""
_DISTINCT = 16
"""Different planes; the same is written again and again, shifted, since drawing noise takes longer than reading."""


@cache
def planes() -> list[NDArray[np.uint16]]:
    """Dim background with some bright round cells, photon and read noise, as (Y, X)."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    found = []
    for _ in range(_DISTINCT):
        electrons = np.full((SIDE, SIDE), 20.0)
        for _ in range(60):
            at_y, at_x, radius = *random.uniform(0, SIDE, 2), random.uniform(8, 25)
            electrons += random.uniform(50, 600) * np.exp(-((y - at_y) ** 2 + (x - at_x) ** 2) / radius**2)
        noisy = random.poisson(electrons) + random.normal(0, _READ_NOISE, electrons.shape)
        found.append(np.clip(_OFFSET + _GAIN * noisy, 0, 2**16 - 1).astype(np.uint16))
    return found


def write_tiffs(folder: Path, n_fovs: int) -> Path:
    """One uncompressed TIFF per plane, as most microscopes write them."""
    folder.mkdir(parents=True)
    for well, t, channel, plane in _frames(n_fovs):
        tifffile.imwrite(
            folder / f"{well}_{channel}_t{t}.tif", plane, photometric="minisblack", metadata=None
        )
    return folder


def write_ndtiff(folder: Path, n_fovs: int) -> Path:
    """One acquisition by the package `ndtiff`, which is Micro-Manager's own format in Python."""
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = NDTiffDataset(str(folder), summary_metadata={"PixelSize_um": 0.325}, writable=True)
        for well, t, channel, plane in _frames(n_fovs):
            axes = {"position": well, "time": t, "channel": channel}
            dataset.put_image(axes, plane, {"PositionName": well})
        dataset.finish()
        dataset.close()
    return folder


WRITERS = {"TIFF": write_tiffs, "NDTiff": write_ndtiff}


def _frames(n_fovs: int) -> Iterator[tuple[str, int, str, NDArray[np.uint16]]]:
    """(well, t, channel, plane) in the order of time."""
    drawn = planes()
    wells = [f"{'ABCDEFGH'[n % FOVS_PER_COLUMN]}{n // FOVS_PER_COLUMN + 1:02d}" for n in range(n_fovs)]
    for number, (t, well, channel) in enumerate(product(range(N_TIMES), wells, CHANNELS)):
        yield well, t, channel, np.roll(drawn[number % _DISTINCT], number, axis=1)
