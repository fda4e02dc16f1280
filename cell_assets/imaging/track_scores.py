"""Scores of predicted labels and tracks against given ones.

Cell Tracking Challenge measures by py-ctcmetrics: chosen over traccuracy because its matching and its
division F1 follow the challenge's own definitions and it needs the label overlaps only, so frames stream
from our Zarr where traccuracy wants the whole movie and its graph in memory.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from ctc_metrics.metrics import bc, det, lnk, raw_division_metrics, tra
from ctc_metrics.utils.representations import count_acyclic_graph_correction_operations
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.imaging.track_tables import NO_PARENT, Column


@dataclass(frozen=True)
class DivisionScore:
    """Divisions found within `tolerance_frames` of the given ones; BC(i) of Ulicna et al. 2021."""

    tolerance_frames: int
    found: int
    false: int
    missed: int
    f1: float


@dataclass(frozen=True)
class TrackScores:
    """Each measure is in 0..1, higher is better (Matula et al. 2015; Ulman et al. 2017)."""

    tra: float
    """Tracking: 1 - weighted edits that turn the predicted graph into the given one."""
    det: float
    """Detection: the same for cells alone."""
    lnk: float
    """Linking: the same for links alone."""
    seg: float
    """Mean intersection over union of given cells with their matches (0 where unmatched)."""
    divisions: tuple[DivisionScore, ...]
    """For tolerances of 0 to 3 frames."""
    n_given: int
    n_predicted: int


@dataclass(frozen=True)
class LabelledTracks:
    """Labels of a movie, frame by frame in order, and the tracks whose `track_id` are their values."""

    frames: Iterable[NDArray[np.generic]]
    """T volumes `(Z, Y, X)`; each label is a track_id."""
    tracks: pd.DataFrame


@dataclass(frozen=True)
class _FrameMatch:
    given: list[int]
    predicted: list[int]
    matched_given: list[int]
    matched_predicted: list[int]
    overlap_sum: float


def score_tracks(predicted: LabelledTracks, given: LabelledTracks) -> TrackScores:
    """Score `predicted` against `given`.

    A given cell is matched by the predicted one that covers more than half of it.

    Raises:
        BadInputError: the movies differ in length or shape, nothing was given, nothing was predicted, or no
        given
            track has a link (LNK then has no meaning).
    """
    pairs = zip(predicted.frames, given.frames, strict=True)
    try:
        matches = [_match(found, true) for found, true in pairs]
    except ValueError as error:
        raise BadInputError(f"predicted and given labels differ in length or shape ({error})") from error
    found, true = _ctc_table(predicted.tracks), _ctc_table(given.tracks)
    n_given = sum(len(match.given) for match in matches)
    n_predicted = sum(len(match.predicted) for match in matches)
    if not n_given or not n_predicted:
        raise BadInputError(
            f"tracking scores need cells on both sides; {n_given} are given and {n_predicted} predicted"
        )
    matched_given = [match.matched_given for match in matches]
    matched_predicted = [match.matched_predicted for match in matches]
    operations = count_acyclic_graph_correction_operations(
        true,
        found,
        [match.given for match in matches],
        [match.predicted for match in matches],
        matched_given,
        matched_predicted,
    )
    if not operations["num_edges"]:
        raise BadInputError("tracking scores need a given track of two frames; every given track has one")
    divisions = []
    for tolerance in range(4):
        hits, false, missed = raw_division_metrics(found, true, matched_given, matched_predicted, i=tolerance)
        f1 = float(bc(hits, false, missed) or 0.0)
        divisions.append(DivisionScore(tolerance, int(hits), int(false), int(missed), f1))
    return TrackScores(
        tra=float(tra(**operations)[0]),
        det=float(det(**operations)),
        lnk=float(lnk(**operations)),
        seg=sum(match.overlap_sum for match in matches) / n_given,
        divisions=tuple(divisions),
        n_given=n_given,
        n_predicted=n_predicted,
    )


def _match(found: NDArray[np.generic], true: NDArray[np.generic]) -> _FrameMatch:
    if found.shape != true.shape:
        raise ValueError(f"{found.shape} and {true.shape}")
    found_ids, found_at = np.unique(found, return_inverse=True)
    true_ids, true_at = np.unique(true, return_inverse=True)
    pairs = true_at.ravel() * len(found_ids) + found_at.ravel()
    overlap = np.bincount(pairs, minlength=len(true_ids) * len(found_ids))
    overlap = overlap.reshape(len(true_ids), len(found_ids))
    true_size, found_size = overlap.sum(1), overlap.sum(0)
    inside = overlap[true_ids != 0][:, found_ids != 0]
    true_size, found_size = true_size[true_ids != 0], found_size[found_ids != 0]
    row, column = np.nonzero(2 * inside > true_size[:, None])
    shared = inside[row, column]
    iou = shared / (true_size[row] + found_size[column] - shared)
    true_ids, found_ids = true_ids[true_ids != 0], found_ids[found_ids != 0]
    return _FrameMatch(
        true_ids.tolist(),
        found_ids.tolist(),
        true_ids[row].tolist(),
        found_ids[column].tolist(),
        float(iou.sum()),
    )


def _ctc_table(tracks: pd.DataFrame) -> NDArray[np.int64]:
    """Rows label, begin, end, parent (0 = none), as in `man_track.txt`."""
    lives = tracks.groupby(Column.TRACK_ID)
    parent = lives[Column.PARENT_TRACK_ID].first().replace(NO_PARENT, 0)
    return np.stack(
        [parent.index.to_numpy(), lives[Column.T].min(), lives[Column.T].max(), parent.to_numpy()], axis=1
    ).astype(np.int64)
