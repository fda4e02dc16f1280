"""Tracking by Ultrack (Bragantini et al., Nature Methods 2025): segments are chosen jointly over time.

Each frame gives nested candidate segments (a watershed hierarchy of its boundary map); an integer programme
picks the disjoint ones and the links that overlap best from frame to frame. Solved by CBC on one thread, so
that the same input gives the same tracks. Importing this module imports Ultrack, which takes seconds: only
do so to track.
"""

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mip
import numpy as np
import pandas as pd
import sqlalchemy as sqla
from numpy.typing import NDArray
from ultrack import add_flow, link, segment, to_tracks_layer
from ultrack.config import MainConfig
from ultrack.core.database import LinkDB
from ultrack.core.export.utils import export_segmentation_generic
from ultrack.core.solve.sqltracking import SQLTracking

from cell_assets.errors import BadInputError
from cell_assets.imaging.fields_of_view import FieldOfView, frame_shape
from cell_assets.imaging.motion import backward_motion, coarsen
from cell_assets.imaging.threshold_segmentation import ForegroundMaps
from cell_assets.imaging.ultrack_parameters import UltrackParameters


@dataclass(frozen=True)
class UltrackResult:
    """Links between chosen segments, and the segments themselves."""

    links: pd.DataFrame
    """One row per segment: `track_id, t, id, parent_track_id, parent_id`, -1 for none."""
    labels: NDArray[np.int32]
    """`(T, Z, Y, X)`, on disk in a temporary folder: the track_id of every voxel, 0 for ground."""


@contextlib.contextmanager
def ultrack_tracks(
    fov: FieldOfView, maps: Iterable[ForegroundMaps], parameters: UltrackParameters
) -> Iterator[UltrackResult | None]:
    """Track a position from the maps of its frames, in order; None where no two frames have linkable
    segments.

    Memory: one frame's maps and candidates, and the programme of the whole movie; maps and labels are kept
    in a temporary folder that lives as long as the context.

    Raises:
        BadInputError: the solver did not finish within the time limit.
    """
    with tempfile.TemporaryDirectory(prefix="cell-assets-ultrack-") as name:
        folder = Path(name)
        foreground, boundary, motion = _store_maps(folder, fov, maps, parameters)
        window = _used_window(foreground)
        if window is None:
            yield None
            return
        config = _config(folder, fov, parameters)
        with _quiet():
            segment(_squeeze(foreground[window]), _squeeze(boundary[window]), config)
            if motion is not None:
                add_flow(config, _relative_motion(motion, window, foreground.shape, fov, parameters))
            link(config, scale=fov.spacing if fov.shape[2] > 1 else fov.spacing[1:])
            result = _solve(folder, fov, config, window) if _has_links(config) else None
        yield result


def _solve(folder: Path, fov: FieldOfView, config: MainConfig, window: tuple[slice, ...]) -> UltrackResult:
    tracker = SQLTracking(config)
    for batch in range(tracker.num_batches):
        tracker.construct_model(batch)
        model = tracker.solver._model
        # Ultrack has no switch for the solver's own log, nor does it tell a stopped solver from a finished
        # one.
        model.verbose = 0
        tracker.solve()
        if model.status is not mip.OptimizationStatus.OPTIMAL:
            raise BadInputError(
                f"{fov.position}: Ultrack's solver stopped with {model.status.name} after "
                f"{config.tracking_config.time_limit} s; raise time_limit_s or min_size"
            )
        tracker.add_solution(batch)
    table, _ = to_tracks_layer(config)
    labels = _memory_map(folder / "labels.npy", np.int32, (fov.shape[0], *frame_shape(fov)))

    def paint(t: int, mask: NDArray[np.integer]) -> None:
        inside = labels[t][window[1:]]
        inside[...] = mask.reshape(inside.shape)

    export_segmentation_generic(config.data_config, table, paint)
    columns = ["track_id", "t", "id", "parent_track_id", "parent_id"]
    links = table[columns].astype(np.int64).reset_index(drop=True)
    return UltrackResult(links=links, labels=labels)


def _store_maps(
    folder: Path, fov: FieldOfView, maps: Iterable[ForegroundMaps], parameters: UltrackParameters
) -> tuple[NDArray[np.uint8], NDArray[np.float16], NDArray[np.float32] | None]:
    shape = (fov.shape[0], *frame_shape(fov))
    foreground = _memory_map(folder / "foreground.npy", np.uint8, shape)
    boundary = _memory_map(folder / "boundary.npy", np.float16, shape)
    motion: list[NDArray[np.float32]] = []
    before: NDArray[np.float32] | None = None
    for t, frame in enumerate(maps):
        foreground[t], boundary[t] = frame.foreground, frame.boundary
        if parameters.motion_um is None:
            continue
        sigma, step = _motion_scale(fov, parameters.motion_um)
        inside = np.where(frame.foreground, 1 - frame.boundary, np.float32(0))
        coarse = coarsen(_squeeze(inside[None])[0], sigma, step)
        still = np.zeros((coarse.ndim, *coarse.shape), np.float32)
        motion.append(still if before is None else backward_motion(coarse, before))
        before = coarse
    return foreground, boundary, np.stack(motion) if motion else None


def _motion_scale(fov: FieldOfView, motion_um: float) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Smoothing in pixels, and the step that this smoothing allows, per axis of a squeezed frame."""
    spacing = fov.spacing if fov.shape[2] > 1 else fov.spacing[1:]
    sigma = tuple(motion_um / side for side in spacing)
    return sigma, tuple(max(1, round(s)) for s in sigma)


def _relative_motion(
    motion: NDArray[np.float32],
    window: tuple[slice, ...],
    shape: tuple[int, ...],
    fov: FieldOfView,
    parameters: UltrackParameters,
) -> NDArray[np.float32]:
    """`(T, D, …)` of the window as fractions of its extent, as `add_flow` wants it."""
    _, step = _motion_scale(fov, parameters.motion_um or 1.0)
    axes = window[1:] if shape[1] > 1 else window[2:]
    cut = tuple(
        slice(axis.start // s, max(axis.start // s + 1, -(-axis.stop // s)))
        for axis, s in zip(axes, step, strict=True)
    )
    extent = np.array([axis.stop - axis.start for axis in axes], np.float32)
    pixels = np.array(step, np.float32)
    factor = (pixels / extent).reshape(-1, *([1] * len(axes)))
    return np.clip(motion[(slice(None), slice(None), *cut)] * factor, -1, 1)


def _used_window(foreground: NDArray[np.uint8]) -> tuple[slice, ...] | None:
    """All of time and the box around everything that is ever foreground; None unless two frames have any."""
    used = np.zeros(foreground.shape[1:], bool)
    frames = 0
    for frame in foreground:
        used |= frame > 0
        frames += bool(frame.any())
    if frames < 2:
        return None
    window: list[slice] = [slice(0, len(foreground))]
    for axis in range(used.ndim):
        at = np.flatnonzero(used.any(axis=tuple(other for other in range(used.ndim) if other != axis)))
        window.append(slice(max(int(at[0]) - 2, 0), min(int(at[-1]) + 3, used.shape[axis])))
    return tuple(window)


def _config(folder: Path, fov: FieldOfView, parameters: UltrackParameters) -> MainConfig:
    config = MainConfig()
    config.data_config.working_dir = folder
    config.segmentation_config.min_area = parameters.min_size
    config.segmentation_config.max_area = parameters.max_size
    config.segmentation_config.min_frontier = parameters.min_frontier
    config.linking_config.max_distance = parameters.max_distance_um
    config.linking_config.max_neighbors = parameters.max_neighbors
    tracking = config.tracking_config
    # CBC is the solver that comes without a licence; one thread makes its answer repeatable.
    tracking.solver_name = "CBC"
    tracking.n_threads = 1
    tracking.appear_weight = parameters.appear_weight
    tracking.disappear_weight = parameters.disappear_weight
    tracking.division_weight = parameters.division_weight
    tracking.power = parameters.power
    tracking.time_limit = parameters.time_limit_s
    return config


def _has_links(config: MainConfig) -> bool:
    engine = sqla.create_engine(config.data_config.database_path)
    with engine.connect() as connection:
        found = connection.execute(sqla.select(sqla.func.count()).select_from(LinkDB)).scalar_one()
    engine.dispose()
    return found > 0


def _squeeze(movie: NDArray[np.generic]) -> NDArray[np.generic]:
    """`(T, Y, X)` for a movie of single planes, else `(T, Z, Y, X)`: Ultrack tells 2-D from 3-D by the
    axes.
    """
    return movie[:, 0] if movie.shape[1] == 1 else movie


def _memory_map(path: Path, dtype: type, shape: tuple[int, ...]) -> NDArray:
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ultrack's prints and progress bars out of the program's own output."""
    logger = logging.getLogger("ultrack")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
