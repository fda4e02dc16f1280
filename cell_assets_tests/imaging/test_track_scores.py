import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from ctc_metrics import evaluate_sequence

from cell_assets.errors import BadInputError
from cell_assets.imaging.track_scores import LabelledTracks, score_tracks
from cell_assets_tests.imaging.array_source import dividing_movie
from cell_assets_tests.shared_data import shared_data


def frames(folder: Path, stem: str) -> Iterator[np.ndarray]:
    for path in sorted(folder.glob(f"{stem}*.tif")):
        yield tifffile.imread(path)[None]


def ctc_tracks(path: Path) -> pd.DataFrame:
    rows = [
        (label, t, parent or -1)
        for label, begin, end, parent in np.loadtxt(path, dtype=int, ndmin=2)
        for t in range(begin, end + 1)
    ]
    return pd.DataFrame(rows, columns=["track_id", "t", "parent_track_id"])


def test_the_truth_scores_one() -> None:
    _, labels, tracks = dividing_movie()
    scores = score_tracks(LabelledTracks(labels, tracks), LabelledTracks(labels, tracks))
    assert (scores.tra, scores.det, scores.lnk, scores.seg) == (1, 1, 1, 1)
    assert (scores.divisions[0].found, scores.divisions[0].f1) == (1, 1.0)
    assert scores.n_given == scores.n_predicted == 12


def test_a_missed_division_and_a_missed_cell_cost_what_the_paper_says() -> None:
    _, labels, tracks = dividing_movie()
    found = labels.copy()
    found[found == 4] = 0
    predicted = tracks[tracks["track_id"] != 4]
    scores = score_tracks(LabelledTracks(found, predicted), LabelledTracks(labels, tracks))
    # 12 cells and 10 links are given; 2 cells, 1 link within track 4 and 1 from its parent are missing.
    # Weights of Matula et al. 2015: missed cell 10, missed link 1.5.
    assert scores.det == pytest.approx(1 - 20 / 120)
    assert scores.lnk == pytest.approx(1 - 3 / 15)
    assert scores.tra == pytest.approx(1 - 23 / 135)
    assert scores.seg == pytest.approx(10 / 12)
    assert [d.found for d in scores.divisions] == [0, 0, 0, 0]


def test_agrees_with_the_scorer_run_on_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(shared_data("track_fixtures/ctcmetrics_test") / "test_data.zip") as archive:
        archive.extractall(tmp_path)
    expected = evaluate_sequence(
        str(tmp_path / "res"), str(tmp_path / "GT"), ["TRA", "DET", "LNK"], threads=1
    )
    predicted = LabelledTracks(
        frames(tmp_path / "res", "mask"), ctc_tracks(tmp_path / "res" / "res_track.txt")
    )
    true = tmp_path / "GT" / "TRA"
    scores = score_tracks(
        predicted, LabelledTracks(frames(true, "man_track"), ctc_tracks(true / "man_track.txt"))
    )
    assert scores.tra == pytest.approx(expected["TRA"])
    assert scores.det == pytest.approx(expected["DET"])
    assert scores.lnk == pytest.approx(expected["LNK"])


def test_what_cannot_be_scored_says_why() -> None:
    _, labels, tracks = dividing_movie()
    given = LabelledTracks(labels, tracks)
    with pytest.raises(BadInputError, match="12 are given and 0 predicted"):
        score_tracks(LabelledTracks(np.zeros_like(labels), tracks.iloc[:0]), given)
    with pytest.raises(BadInputError, match="differ in length or shape"):
        score_tracks(LabelledTracks(labels[:3], tracks), given)
