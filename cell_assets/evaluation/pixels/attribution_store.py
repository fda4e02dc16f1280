"""Attribution maps on disk: `attributions.zarr`, Zarr v3, an array for each kind of map, one cell a chunk."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from cell_assets.evaluation.pixels.attribution_scores import MapKind

ATTRIBUTIONS_ZARR = "attributions.zarr"
_DIMENSIONS = ("cell", "head", "c", "z", "y", "x")


class AttributionWriter:
    """Writes the maps of cells one after the other, with one cell in memory; as a context, refuses to leave some out.

    The group holds `occlusion` and `integrated_gradients`, float32 (cells, heads, C, Z, Y, X), in logits; its
    attributes name heads and channels and say what the baseline was.

    Raises:
        RuntimeError: on leaving, when fewer cells were written than announced.
    """

    def __init__(
        self, folder: Path, n_cells: int, heads: Sequence[str], channels: Sequence[str], baseline: str
    ) -> None:
        self._path = folder / ATTRIBUTIONS_ZARR
        self._n_cells = n_cells
        self._attributes: dict[str, Any] = {
            "format": "cell_assets.attributions",
            "version": 1,
            "heads": list(heads),
            "channels": list(channels),
            "baseline": f"0 in normalised units: {baseline}",
            "unit": "logit",
        }
        self._arrays: dict[MapKind, zarr.Array] = {}
        self._written = 0

    def __enter__(self) -> "AttributionWriter":
        self._group = zarr.open_group(self._path, mode="w-", zarr_format=3, attributes=self._attributes)
        return self

    def write(self, maps: Mapping[MapKind, NDArray[np.float32]]) -> int:
        """Append one cell's maps (heads, C, Z, Y, X); gives its place along the first axis."""
        for kind, values in maps.items():
            if kind not in self._arrays:
                self._arrays[kind] = self._group.create_array(
                    kind.value,
                    shape=(self._n_cells, *values.shape),
                    chunks=(1, *values.shape),
                    dtype="float32",
                    dimension_names=_DIMENSIONS,
                )
            self._arrays[kind][self._written] = values
        self._written += 1
        return self._written - 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._written != self._n_cells:
            raise RuntimeError(f"{self._path}: {self._written} of {self._n_cells} cells were written")
