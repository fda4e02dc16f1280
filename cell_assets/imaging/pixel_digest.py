"""Digest of decoded pixels, whatever their chunking, sharding, compression or byte order on disk."""

from collections.abc import Iterable, Sequence

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

_HEADER = "cell_assets.pixels 1"


class PixelDigest:
    """BLAKE3 over a header (dtype, shape) and the pixels in C order, little-endian, fed piece by piece."""

    def __init__(self, shape: Sequence[int], dtype: np.dtype) -> None:
        little = np.dtype(dtype).newbyteorder("<")
        self._dtype = little
        self._left = int(np.prod(shape, dtype=np.int64))
        self._hash = blake3(f"{_HEADER}\n{little.str}\n{','.join(map(str, shape))}\n".encode())

    def update(self, pixels: NDArray[np.generic]) -> None:
        """Feed the next pixels in C order of the whole array."""
        self._left -= pixels.size
        self._hash.update(np.ascontiguousarray(pixels, dtype=self._dtype).data.cast("B"))

    def hexdigest(self) -> str:
        """The digest; ValueError when fewer or more pixels were fed than the shape holds."""
        if self._left != 0:
            raise ValueError(f"{self._left} pixels of the declared shape were not fed (negative: too many)")
        return self._hash.hexdigest()


def combined_digest(named: Iterable[tuple[str, str]]) -> str:
    """One digest of several (name, digest) pairs, in the order of their names."""
    total = blake3(f"{_HEADER}\n".encode())
    for name, digest in sorted(named):
        total.update(f"{len(name.encode())}:{name}{digest}\n".encode())
    return total.hexdigest()
