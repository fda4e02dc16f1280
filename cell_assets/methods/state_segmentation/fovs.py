"""FOVs as the network sees them: planes seen along z, normalised as for DynaCLR, with their cells and labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.evaluation.manifest import EXCLUDED, FrozenCells
from cell_assets.evaluation.scores.predicted_states import INDEPENDENT_SPLIT
from cell_assets.evaluation.scores.tasks import joined_annotation
from cell_assets.evaluation.splits import Split
from cell_assets.imaging.acquisition import open_acquisition
from cell_assets.imaging.patches import PATCH_TABLE_JSON, ChannelRecord, PatchTableRecord
from cell_assets.imaging.tracking import open_track_labels, read_tracks
from cell_assets.methods.state_segmentation.folders import FovFolders
from cell_assets.methods.state_segmentation.parameters import ZRule
from cell_assets.methods.state_segmentation.targets import IGNORED, STATE_A, STATE_B, Footprints, nuclei

FloatArray = NDArray[np.float32]
LEARNED_FROM = (Split.TRAIN.value, Split.VAL.value)


@dataclass(frozen=True)
class SegmentedFov:
    """One FOV, read frame by frame."""

    cells: pd.DataFrame
    """`plate, fov_name, track_id, t, y, x, label` (null without one), `split`; one row per cell and time point that is
    not left out."""
    shift: FloatArray
    """(C,)"""
    scale: FloatArray
    """(C,)"""
    radius_px: float
    """Half the median length of its nuclei: of the disk that stands for one without label."""
    read_image: Callable[[int], NDArray[np.generic]]
    """t → grey values (C, Y, X), seen along z."""
    read_labels: Callable[[int], NDArray[np.integer]]
    """t → labels (Z, Y, X) of the planes that the image is of."""

    def nuclei(self, t: int) -> tuple[Footprints, pd.DataFrame]:
        """What every label and every cell covers at time point `t`; see `targets.nuclei`."""
        return nuclei(self.read_labels(t), self.cells[self.cells["t"] == t], self.radius_px)

    def image(self, t: int) -> FloatArray:
        """(C, Y, X), `(x - shift) / scale`."""
        grey = self.read_image(t).astype(np.float32)
        return np.asarray((grey - self.shift[:, None, None]) / self.scale[:, None, None], np.float32)


@dataclass(frozen=True)
class States:
    """The two states of an annotation column."""

    column: str
    a: str
    b: str


@dataclass(frozen=True)
class SegmentedFovs:
    """All FOVs of an experiment that hold a cell which is not left out."""

    fovs: tuple[SegmentedFov, ...]
    channel_names: tuple[str, ...]

    def cells(self) -> pd.DataFrame:
        """Of all FOVs, in their order."""
        return pd.concat([fov.cells for fov in self.fovs], ignore_index=True)


def open_fovs(
    folders: Sequence[FovFolders], manifest: FrozenCells, channels: Sequence[str], z_rule: ZRule
) -> SegmentedFovs:
    """Open FOVs for reading.

    Args:
        manifest: gives every cell its split, and says which are left out.
        channels: names of those to read, in this order; all that the patch tables hold by default.

    Raises:
        BadInputError: no FOV holds a cell, or one lacks a channel or has a channel without contrast.
    """
    opened: list[SegmentedFov] = []
    names = tuple(channels)
    for one in folders:
        cells = _tracked(one)
        cells = cells.assign(split=manifest.split_of(cells))
        cells = cells[cells["split"] != EXCLUDED].reset_index(drop=True)
        if cells.empty:
            continue
        record = _record(one)
        names = names or record.channel_names
        opened.append(_open(one, cells, record, names, z_rule))
    if not opened:
        raise BadInputError("no FOV holds a cell that is not left out, so there is nothing to segment")
    return SegmentedFovs(tuple(opened), names)


def open_independent(
    folders: Sequence[FovFolders], channels: Sequence[str], z_rule: ZRule
) -> tuple[SegmentedFov, ...]:
    """Open FOVs of plates that nothing is learned from: all of their cells have `INDEPENDENT_SPLIT`.

    Args:
        channels: that the network sees.

    Raises:
        BadInputError: a FOV lacks a channel or has a channel without contrast.
    """
    tracked = [(one, _tracked(one).assign(split=INDEPENDENT_SPLIT)) for one in folders]
    return tuple(_open(one, cells, _record(one), channels, z_rule) for one, cells in tracked if len(cells))


def two_states(values: pd.Series, column: str, is_learned_from: NDArray[np.bool_]) -> States:
    """The states of an annotation column; B is the rarer among the cells learned from.

    Args:
        values: (N,) state of each cell, missing where nobody annotated it.
        is_learned_from: (N,)

    Raises:
        BadInputError: there are not exactly two, or one is of no cell that can be learned from.
    """
    found = sorted(values.dropna().unique()) if not pd.api.types.is_numeric_dtype(values) else []
    if len(found) != 2:
        kind = ", ".join(map(str, found)) or "none or measurements"
        raise BadInputError(
            f"annotation column {column} has the states {kind}; state segmentation needs a column of two"
        )
    counts = values[is_learned_from].value_counts()
    for state in found:
        if not counts.get(state, 0):
            raise BadInputError(
                f"no cell of a train or val track has {column} {state}, so that it cannot be learned; annotate some"
            )
    b, a = sorted(map(str, found), key=lambda state: (counts[state], state))
    return States(column, a, b)


def with_states(
    opened: SegmentedFovs, annotations: pd.DataFrame, column: str
) -> tuple[SegmentedFovs, States]:
    """The same FOVs whose cells have a column `state`: `STATE_A`, `STATE_B`, or `IGNORED` where nobody annotated it.

    Args:
        annotations: `plate, fov_name, track_id, t` and `column`.

    Raises:
        BadInputError: see `two_states`.
    """
    cells = opened.cells()
    values = joined_annotation(cells, annotations, column)
    states = two_states(values, column, cells["split"].isin(LEARNED_FROM).to_numpy())
    code = values.map({states.a: STATE_A, states.b: STATE_B}).fillna(IGNORED).to_numpy(np.int64)
    parts = np.split(code, np.cumsum([len(fov.cells) for fov in opened.fovs])[:-1])
    fovs = tuple(
        replace(fov, cells=fov.cells.assign(state=part)) for fov, part in zip(opened.fovs, parts, strict=True)
    )
    return SegmentedFovs(fovs, opened.channel_names), states


def _tracked(one: FovFolders) -> pd.DataFrame:
    cells = read_tracks(one.tracks)[["track_id", "t", "y", "x", "label", "length_um"]]
    return cells.assign(plate=one.plate, fov_name=one.fov_name)


def _record(one: FovFolders) -> PatchTableRecord:
    return PatchTableRecord.model_validate_json((one.patch_table / PATCH_TABLE_JSON).read_text())


def _open(
    one: FovFolders, cells: pd.DataFrame, record: PatchTableRecord, names: Sequence[str], z_rule: ZRule
) -> SegmentedFov:
    acquisition = open_acquisition(one.acquisition)
    channels = [_channel(one, record, name) for name in names]
    places = [acquisition.info.channel_names.index(channel.name) for channel in channels]
    labels = open_track_labels(one.tracks, one.segmentation)
    length_um = float(cells["length_um"].median()) if cells["length_um"].notna().any() else 0.0
    planes = _planes(record.parameters.z_range, z_rule)

    def read_image(t: int) -> NDArray[np.generic]:
        return _seen_along_z(acquisition.read_frame(one.fov_name, t)[places][:, planes], z_rule)

    def read_labels(t: int) -> NDArray[np.integer]:
        return labels.frame(t)[planes]

    return SegmentedFov(
        cells.drop(columns="length_um"),
        np.array([channel.shift for channel in channels], np.float32),
        np.array([channel.scale for channel in channels], np.float32),
        length_um / 2 / record.voxel_size_um[2],
        read_image,
        read_labels,
    )


def _channel(one: FovFolders, record: PatchTableRecord, name: str) -> ChannelRecord:
    for channel in record.channels:
        if channel.name == name:
            if channel.shift is None or channel.scale is None:
                raise BadInputError(
                    f"{one.plate} {one.fov_name}: channel {name!r} has no contrast in any frame, so that it cannot be "
                    "normalised; leave the channel or the position out"
                )
            return channel
    raise BadInputError(
        f"{one.plate} {one.fov_name} stores the channels {', '.join(record.channel_names)} and not {name}; choose "
        "channels that every patch table holds"
    )


def _planes(z_range: tuple[int, int], z_rule: ZRule) -> slice:
    start, stop = z_range
    if z_rule is ZRule.MIDDLE:
        middle = (start + stop) // 2
        return slice(middle, middle + 1)
    return slice(start, stop)


def _seen_along_z(stack: NDArray[np.generic], z_rule: ZRule) -> NDArray[np.generic]:
    """(C, Z, Y, X) → (C, Y, X)."""
    if z_rule is ZRule.MAX:
        return np.asarray(stack.max(axis=1))
    return np.asarray(stack.mean(axis=1, dtype=np.float32))
