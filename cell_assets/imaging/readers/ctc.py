"""Cell Tracking Challenge folders: `01/t000.tif …`, with `01_GT/TRA/man_track000.tif …` and `man_track.txt`.

Every sequence is one movie of one channel. Sequence `01` becomes FOV `A/1/000`, `02` becomes `A/2/000`: each
is a well of its own, so that a plate map can give it a condition. The format states no size, interval or
channel name. Source: Ulman et al., Nature Methods 14, 1141 (2017), and the challenge's naming conventions.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.imaging.readers.base import WHOLE, PlateSource, Reader
from cell_assets.imaging.source_position import SourcePosition
from cell_assets.imaging.tiff_volumes import TiffVolume, inspect_tiff, read_tiff
from cell_assets.imaging.track_files import read_ctc_tracks
from cell_assets.imaging.track_tables import NO_PARENT, TRACK_COLUMNS, Column

IDS_PER_FRAME = 1_000_000
"""Row ids are (t + 1) * 1,000,000 + label, the pattern of Ultrack's ids; labels beyond it are refused."""

_SEQUENCE = re.compile(r"[0-9]{2}")
_FRAME = re.compile(r"t([0-9]{3,})\.tiff?", re.IGNORECASE)
_MASK = re.compile(r"man_track([0-9]{3,})\.tiff?", re.IGNORECASE)
_TRACKS = "man_track.txt"


@dataclass(frozen=True)
class _Sequence:
    """One movie: its frames in time order and, when given, one mask per frame and the track list."""

    frames: tuple[Path, ...]
    masks: tuple[Path, ...]
    tracks: Path | None
    first: TiffVolume


class CtcSource(PlateSource):
    format = "ctc"

    def __init__(self, path: Path) -> None:
        self.path = path
        folders = _sequence_folders(path)
        if not folders:
            raise BadInputError(
                f"{path}: has no Cell Tracking Challenge sequence (a folder 01 with t000.tif …)"
            )
        self._sequences = {f"A/{int(folder.name)}/000": _open_sequence(folder) for folder in folders}
        self.positions = tuple(
            SourcePosition(
                name=name,
                shape=(len(sequence.frames), 1, *sequence.first.shape),
                dtype=sequence.first.dtype,
                channel_names=None,
                z_um=None,
                y_um=None,
                x_um=None,
                interval_min=None,
            )
            for name, sequence in self._sequences.items()
        )

    def check(self) -> None:
        for sequence in self._sequences.values():
            for frame in sequence.frames:
                _check_like(frame, inspect_tiff(frame), sequence.frames[0], sequence.first)
            if sequence.tracks is not None:
                read_ctc_tracks(sequence.tracks)
            masks = [inspect_tiff(mask) for mask in sequence.masks]
            for mask, volume in zip(sequence.masks, masks, strict=True):
                if volume.dtype.kind not in "ui":
                    raise BadInputError(
                        f"{mask}: has pixels of type {volume.dtype}; labels are whole numbers"
                    )
                _check_like(mask, volume, sequence.masks[0], masks[0])
                if volume.shape != sequence.first.shape:
                    raise BadInputError(
                        f"{mask}: has shape {volume.shape}, but its frames have {sequence.first.shape}"
                    )

    def read_volume(self, position: str, t: int, channel: int, z: slice = WHOLE) -> NDArray[np.generic]:
        return read_tiff(self._sequences[position].frames[t], z)

    def files(self) -> Iterator[Path]:
        for sequence in self._sequences.values():
            yield from sequence.frames
            yield from sequence.masks
            if sequence.tracks is not None:
                yield sequence.tracks

    def label_dtype(self, position: str) -> np.dtype | None:
        masks = self._sequences[position].masks
        return inspect_tiff(masks[0]).dtype if masks else None

    def given_labels(self, position: str, t: int, z: slice = WHOLE) -> NDArray[np.generic] | None:
        masks = self._sequences[position].masks
        return read_tiff(masks[t], z) if masks else None

    def has_tracks(self, position: str) -> bool:
        return self._sequences[position].tracks is not None

    def given_tracks(self, position: str) -> pd.DataFrame | None:
        """One row per label and frame; the centroid is the mean of the label's voxel centres.

        Raises BadInputError naming the mask when a label is not in `man_track.txt`, or a track has no pixels
        in a frame of its life.
        """
        sequence = self._sequences[position]
        if sequence.tracks is None:
            return None
        tracks = read_ctc_tracks(sequence.tracks)
        if len(tracks) and int(tracks["end"].max()) >= len(sequence.masks):
            late = tracks.loc[tracks["end"].idxmax()]
            raise BadInputError(
                f"{sequence.tracks}: track {late['label']} ends at t={late['end']}, but the last mask is "
                f"t={len(sequence.masks) - 1}"
            )
        if len(tracks) and int(tracks["label"].max()) >= IDS_PER_FRAME:
            raise BadInputError(
                f"{sequence.tracks}: label {tracks['label'].max()} is too large; labels go to "
                f"{IDS_PER_FRAME - 1}"
            )
        frames = [_frame_rows(mask, t, tracks) for t, mask in enumerate(sequence.masks)]
        return _with_parents(pd.concat(frames, ignore_index=True), tracks, position)


def _frame_rows(mask: Path, t: int, tracks: pd.DataFrame) -> pd.DataFrame:
    """Label and centroid of every cell in one mask, checked against who must be alive at `t`."""
    highest = max(tracks["label"].max() if len(tracks) else 0, 0)
    n_voxels = np.zeros(highest + 1, np.int64)
    sums = np.zeros((3, highest + 1))
    for z in range(inspect_tiff(mask).shape[0]):  # by plane: coordinates of a whole stack outweigh the stack
        plane = read_tiff(mask, slice(z, z + 1))[0]
        y, x = np.nonzero(plane)
        values = plane[y, x].astype(np.int64)
        if len(values) and values.max() > highest:
            raise BadInputError(
                f"{mask}: label {values.max()} is in the mask, but not in {_TRACKS}; correct one"
            )
        counts = np.bincount(values, minlength=highest + 1)
        n_voxels += counts
        sums[0] += counts * z
        sums[1] += np.bincount(values, weights=y, minlength=highest + 1)
        sums[2] += np.bincount(values, weights=x, minlength=highest + 1)
    seen = np.flatnonzero(n_voxels)
    alive = tracks.loc[(tracks["begin"] <= t) & (tracks["end"] >= t), "label"].to_numpy()
    if unknown := sorted(set(seen.tolist()) - set(alive.tolist())):
        raise BadInputError(
            f"{mask}: label {unknown[0]} is in the mask, but {_TRACKS} has no such track at "
            f"t={t}; correct one"
        )
    if absent := sorted(set(alive.tolist()) - set(seen.tolist())):
        raise BadInputError(
            f"{mask}: track {absent[0]} lives at t={t} by {_TRACKS}, but has no pixels in the "
            "mask; correct one"
        )
    z_mean, y_mean, x_mean = sums[:, seen] / n_voxels[seen]
    return pd.DataFrame({"track_id": seen, "t": t, "z": z_mean, "y": y_mean, "x": x_mean})


def _with_parents(rows: pd.DataFrame, tracks: pd.DataFrame, position: str) -> pd.DataFrame:
    """Add ids and parents: a row continues the one before in its track, a first row its parent's last."""
    rows = rows.sort_values([Column.TRACK_ID, Column.T], ignore_index=True)
    by_label = tracks.set_index("label")
    track, t = rows[Column.TRACK_ID].to_numpy(), rows[Column.T].to_numpy()
    parent = by_label["parent"].reindex(track).to_numpy()
    has_parent = parent > 0
    parent_end = by_label["end"].reindex(np.where(has_parent, parent, track)).to_numpy()
    first = np.r_[True, track[1:] != track[:-1]] if len(track) else np.zeros(0, bool)
    before = np.where(first, NO_PARENT, t * IDS_PER_FRAME + track)
    from_parent = (parent_end + 1) * IDS_PER_FRAME + parent
    return rows.assign(
        fov_name=position,
        id=(t + 1) * IDS_PER_FRAME + track,
        parent_track_id=np.where(has_parent, parent, NO_PARENT).astype(np.int64),
        parent_id=np.where(first & has_parent, from_parent, before).astype(np.int64),
    )[list(TRACK_COLUMNS)]


def _sequence_folders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(
        folder
        for folder in path.iterdir()
        if folder.is_dir()
        and _SEQUENCE.fullmatch(folder.name)
        and any(_FRAME.fullmatch(file.name) for file in folder.iterdir())
    )


def _open_sequence(folder: Path) -> _Sequence:
    frames = _numbered(folder, _FRAME, "frame")
    truth = folder.with_name(f"{folder.name}_GT") / "TRA"
    tracks = truth / _TRACKS
    masks: tuple[Path, ...] = ()
    if truth.is_dir():
        masks = _numbered(truth, _MASK, "mask")
        if not tracks.exists():
            raise BadInputError(
                f"{tracks}: is missing beside {len(masks)} masks; restore it or remove {truth}"
            )
        if len(masks) != len(frames):
            raise BadInputError(
                f"{truth}: has {len(masks)} masks for {len(frames)} frames; there must be one for each"
            )
    return _Sequence(frames, masks, tracks if masks else None, inspect_tiff(frames[0]))


def _numbered(folder: Path, pattern: re.Pattern[str], what: str) -> tuple[Path, ...]:
    """Files in time order; refuses a gap, a time given twice, and a start other than 0."""
    found: dict[int, Path] = {}
    for file in sorted(folder.iterdir()):
        match = pattern.fullmatch(file.name)
        if match is None:
            continue
        t = int(match.group(1))
        if t in found:
            raise BadInputError(f"{file}: t={t} is also in {found[t].name}; keep one {what} per time point")
        found[t] = file
    if not found:
        raise BadInputError(f"{folder}: has no {what}s")
    for t in range(max(found) + 1):
        if t not in found:
            width = len(re.findall(r"[0-9]+", found[max(found)].name)[-1])
            raise BadInputError(
                f"{folder}: the {what} of time point t{t:0{width}d} is missing, though the files go to "
                f"{found[max(found)].name}; restore it"
            )
    return tuple(found[t] for t in sorted(found))


def _check_like(file: Path, volume: TiffVolume, first_file: Path, first: TiffVolume) -> None:
    if volume.shape != first.shape:
        raise BadInputError(
            f"{file}: has shape {volume.shape} (Z, Y, X), but {first_file.name} has {first.shape}; "
            "frames of one movie have one shape"
        )
    if volume.dtype != first.dtype:
        raise BadInputError(f"{file}: has pixels of type {volume.dtype}, but {first_file.name} {first.dtype}")


READER = Reader(
    format=CtcSource.format,
    looks_for="a folder 01 with t000.tif",
    recognises=lambda path: bool(_sequence_folders(path)),
    open=CtcSource,
)
