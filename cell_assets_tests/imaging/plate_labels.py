"""Label images in OME-Zarr plates, written with zarr alone from the OME-NGFF text."""

from pathlib import Path
from typing import Literal

import numpy as np
import zarr
from numpy.typing import NDArray

TYPES = {"t": "time", "c": "channel"}


def write_labels(
    plate: Path,
    position: str,
    name: str,
    labels: NDArray[np.generic],
    version: Literal["0.4", "0.5"] = "0.5",
    axes: str = "tczyx",
    chunks: tuple[int, ...] | None = None,
) -> Path:
    """Add a label image to a FOV, after those that it has; every chunk is stored. Returns the array's folder."""

    def stated(content: dict[str, object]) -> dict[str, object]:
        return content if version == "0.4" else {"ome": {"version": version, **content}}

    group = zarr.open_group(plate / position, mode="r+").require_group("labels")
    attributes = group.attrs.asdict()
    names = attributes.get("ome", attributes).get("labels", [])
    group.attrs.update(stated({"labels": [*names, name]}))
    multiscale = {
        "version": version,
        "axes": [{"name": axis, "type": TYPES.get(axis, "space")} for axis in axes],
        "datasets": [
            {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0] * len(axes)}]}
        ],
    }
    image = group.create_group(name, attributes=stated({"multiscales": [multiscale], "image-label": {}}))
    array = image.create_array(
        "0",
        shape=labels.shape,
        dtype=labels.dtype,
        chunks=chunks or labels.shape,
        chunk_key_encoding={"name": "v2" if version == "0.4" else "default", "separator": "/"},
        config={"write_empty_chunks": True},
    )
    array[:] = labels
    return plate / position / "labels" / name / "0"
