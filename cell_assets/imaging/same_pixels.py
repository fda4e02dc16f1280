"""Whether two plates hold the same pixels, however each is chunked, sharded, compressed or versioned."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from cell_assets.imaging.pixel_digest import PixelDigest, combined_digest
from cell_assets.imaging.readers.base import PlateSource
from cell_assets.imaging.source_position import SourcePosition

Step = Callable[[int, int, str], None]
"""Called with frames done, frames in all, and the FOV."""


@dataclass(frozen=True)
class Comparison:
    """Two plates side by side."""

    differs: str
    """The first difference, in one sentence; empty when there is none."""
    content_digests: tuple[str, str] | None
    """Digests of all decoded pixels; None where the comparison ended at a difference."""

    @property
    def is_same(self) -> bool:
        """Whether every pixel of every FOV is equal."""
        return not self.differs


def compare_pixels(a: PlateSource, b: PlateSource, step: Step | None = None) -> Comparison:
    """Read both plates frame by frame, up to the first difference; memory is one channel of one frame of each.

    FOVs are matched by name. Raises BadInputError where a source cannot be read.
    """
    of_a, of_b = _by_name(a), _by_name(b)
    for names, here, there in ((of_a.keys() - of_b.keys(), "A", "B"), (of_b.keys() - of_a.keys(), "B", "A")):
        if names:
            return Comparison(f"FOV {min(names)} is in {here} only, not in {there}", None)
    total = sum(place.shape[0] for place in of_a.values())
    done = 0
    digests: dict[str, tuple[str, str]] = {}
    for name, place in of_a.items():
        other = of_b[name]
        if (place.shape, place.dtype) != (other.shape, other.dtype):
            said = f"{place.dtype} {place.shape} in A and {other.dtype} {other.shape} in B"
            return Comparison(f"FOV {name} is {said} (T, C, Z, Y, X)", None)
        pair = PixelDigest(place.shape, place.dtype), PixelDigest(place.shape, place.dtype)
        for t, channel in product(range(place.shape[0]), range(place.shape[1])):
            pixels = a.read_volume(name, t, channel), b.read_volume(name, t, channel)
            if differs := _first_difference(*pixels):
                return Comparison(f"FOV {name}, t {t}, c {channel}, {differs}", None)
            for digest, volume in zip(pair, pixels, strict=True):
                digest.update(volume)
            if step is not None and channel == place.shape[1] - 1:
                done += 1
                step(done, total, name)
        digests[name] = pair[0].hexdigest(), pair[1].hexdigest()
    first, second = (combined_digest((name, pair[k]) for name, pair in digests.items()) for k in (0, 1))
    return Comparison("", (first, second))


def _by_name(source: PlateSource) -> dict[str, SourcePosition]:
    return {place.name: place for place in source.positions}


def _first_difference(a: NDArray[np.generic], b: NDArray[np.generic]) -> str:
    # Bytes, not values: NaN equals itself here, and -0.0 is not 0.0, as in the digest.
    unlike = np.ascontiguousarray(a).view(np.uint8) != np.ascontiguousarray(b).view(np.uint8)
    if not unlike.any():
        return ""
    z, y, x = np.unravel_index(int(unlike.reshape(-1).argmax()) // a.dtype.itemsize, a.shape)
    return f"z {z}, y {y}, x {x}: {a[z, y, x]} in A and {b[z, y, x]} in B"
