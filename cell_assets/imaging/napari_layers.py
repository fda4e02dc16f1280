"""One FOV as layers for napari: channels, labels, tracks, annotations and embeddings, all in the same pixels.

Layers are napari's own tuples (data, attributes, type), made without napari, so that no window is needed to test
them. A single plane loses its z: layers are (T, Y, X), or (T, Z, Y, X). Whatever is drawn on them is saved by
napari in pixels, and is what `cell-assets annotate` reads.
"""

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
from dask import delayed
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.imaging.annotation_files import PROJECTIONS
from cell_assets.imaging.annotation_history import AnnotationHistory
from cell_assets.imaging.fields_of_view import FieldOfView, FrameSource
from cell_assets.imaging.label_store import LabelImage
from cell_assets.imaging.track_tables import NO_PARENT, Column
from cell_assets.imaging.tracking import LINEAGE_ROOT, track_frame

Layer = tuple[Any, dict[str, Any], str]
"""Data, attributes and type, as napari's `Layer.create` takes them."""

_COLOURS = ("gray", "green", "magenta", "cyan", "yellow", "red", "blue")
_LIMIT_PERCENTILES = (0.5, 99.8)
"""Of the middle frame: what is shown black and what fully bright."""
_POINT_PX = 6


def image_layers(source: FrameSource, fov: FieldOfView) -> list[Layer]:
    """One image a channel, read frame by frame when it is looked at; the first is in grey.

    All channels share the frames, which napari keeps for a while, so that each is read once.
    """
    n_frames = fov.shape[0]
    frames = _lazy(
        [delayed(source.read_frame)(fov.position, t) for t in range(n_frames)], fov.shape[1:], fov.dtype
    )
    middle = source.read_frame(fov.position, n_frames // 2)
    layers: list[Layer] = []
    for number, name in enumerate(fov.channel_names):
        low, high = (float(at) for at in np.percentile(middle[number], _LIMIT_PERCENTILES))
        attributes = {
            "name": name,
            "colormap": _COLOURS[number % len(_COLOURS)],
            "blending": "additive",
            "contrast_limits": (low, high if high > low else low + 1),
            "scale": _scale(fov),
        }
        layers.append((_without_plane(frames[:, number], fov), attributes, "image"))
    return layers


def label_layer(fov: FieldOfView, labels: LabelImage, tracks: pd.DataFrame) -> Layer:
    """Masks whose values are track ids, read frame by frame."""
    frames = _lazy(
        [delayed(track_frame)(labels, tracks, t) for t in range(fov.shape[0])],
        fov.shape[2:],
        np.dtype(np.int64),
    )
    return _without_plane(frames, fov), {"name": "cells", "opacity": 0.4, "scale": _scale(fov)}, "labels"


def track_layer(fov: FieldOfView, tracks: pd.DataFrame) -> Layer:
    """Tracks with their divisions: a graph from each daughter to its mother."""
    ordered = tracks.sort_values([Column.TRACK_ID, Column.T], ignore_index=True)
    per_track = ordered.drop_duplicates(Column.TRACK_ID)
    born = per_track[per_track[Column.PARENT_TRACK_ID] != NO_PARENT]
    graph = {
        int(child): [int(mother)]
        for child, mother in zip(born[Column.TRACK_ID], born[Column.PARENT_TRACK_ID], strict=True)
    }
    features = ordered[[Column.TRACK_ID, Column.PARENT_TRACK_ID, LINEAGE_ROOT]].reset_index(drop=True)
    data = np.column_stack([ordered[Column.TRACK_ID].to_numpy(np.float64), _places(ordered, fov)])
    attributes = {
        "name": "tracks",
        "graph": graph,
        "features": features,
        "color_by": LINEAGE_ROOT,
        "scale": _scale(fov),
    }
    return data, attributes, "tracks"


def embedding_layer(fov: FieldOfView, embedded: pd.DataFrame, tracks: pd.DataFrame, name: str) -> Layer:
    """A point for every embedded cell, at its place, coloured by its first principal component.

    Args:
        embedded: `track_id, t`, those of `PROJECTIONS` that there are, and whatever else the features table shall
            show of a cell.

    Raises:
        BadInputError: no embedded cell is a cell of the tracks.
    """
    placed = tracks[["track_id", "t", "z", "y", "x"]].merge(embedded, on=["track_id", "t"])
    if placed.empty:
        raise BadInputError(
            f"{name}: none of its {len(embedded)} cells of {fov.position} is in the tracks that stand; make it again"
        )
    features = placed.drop(columns=["z", "y", "x"])
    attributes = {
        "name": name,
        "features": features,
        "face_color": PROJECTIONS[0],
        "face_colormap": "viridis",
        "border_width": 0,
        "size": _POINT_PX,
        "scale": _scale(fov),
    }
    return _places(placed, fov), attributes, "points"


def annotation_layer(fov: FieldOfView, history: AnnotationHistory) -> Layer:
    """A point for every annotated cell with its states, to be edited and saved as CSV; coloured by the first."""
    states = list(history.record.states)
    features = history.cells[["track_id", "t", *states]].copy()
    features[states] = features[states].astype(object).where(features[states].notna(), "")
    attributes = {
        "name": "annotations",
        "features": features,
        "face_color": states[0],
        "symbol": "ring",
        "size": 2 * _POINT_PX,
        "scale": _scale(fov),
    }
    return _places(history.cells, fov), attributes, "points"


def _lazy(frames: Sequence[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> da.Array:
    """(T, *shape) of delayed frames."""
    return da.stack([da.from_delayed(frame, shape, dtype) for frame in frames])


def _without_plane(frames: da.Array, fov: FieldOfView) -> da.Array:
    """(T, Z, Y, X), or (T, Y, X) of a single plane."""
    return frames[:, 0] if _is_plane(fov) else frames


def _is_plane(fov: FieldOfView) -> bool:
    return fov.shape[2] == 1


def _places(table: pd.DataFrame, fov: FieldOfView) -> NDArray[np.float64]:
    """(N, 3) of t, y, x, or (N, 4) of t, z, y, x; in pixels."""
    axes = ["t", "y", "x"] if _is_plane(fov) else ["t", "z", "y", "x"]
    return table[axes].to_numpy(np.float64)


def _scale(fov: FieldOfView) -> tuple[float, ...]:
    """µm along every axis of space; a frame is 1, so that time stays a number of frames."""
    z, y, x = fov.spacing
    return (1.0, y, x) if _is_plane(fov) else (1.0, z, y, x)
