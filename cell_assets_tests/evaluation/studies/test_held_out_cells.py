"""Where test cells lie and how far from where they began, and which cell trainings are compared by."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.studies.compared_track import compared_track
from cell_assets.evaluation.studies.embedding_study import EmbeddedCells, EmbeddingStudy, study_embeddings
from cell_assets.evaluation.studies.held_out_cells import held_out_cells
from cell_assets.evaluation.studies.published_report import PublishedReport
from cell_assets.evaluation.studies.study_parameters import StudyParameters
from cell_assets_tests.evaluation.movies import informative_features, track_table
from cell_assets_tests.evaluation.studies.test_training_comparison import training

KEYS = ["plate", "fov_name", "track_id", "t"]
COLUMN = "infection_state"


@pytest.fixture(scope="module")
def study() -> EmbeddingStudy:
    cells = track_table(n_tracks=60, n_times=4).sample(frac=1.0, random_state=0).reset_index(drop=True)
    features = informative_features((cells[COLUMN] == "infected").to_numpy(), 4, gap=2.0) + 0.5
    return study_embeddings(
        EmbeddedCells(
            features, cells.drop(columns=COLUMN).assign(condition="mock"), features[:, :2], features[:, 2:]
        ),
        cells[[*KEYS, COLUMN]],
        tracks=cells,
        method="dynaclr",
        split_unit=SplitUnit.TRACK,
        interval_min=30.0,
        simulated=False,
        parameters=StudyParameters(n_resamples=100),
    )


def test_every_test_row_is_as_far_from_its_first_as_by_hand(study: EmbeddingStudy) -> None:
    table, cells, features = held_out_cells(study), study.embedded.cells, study.embedded.features
    assert len(table) == (cells["split"] == "test").sum() > 20
    assert table[KEYS].equals(table[KEYS].sort_values(KEYS, ignore_index=True))
    for row in table.itertuples():
        of_track = cells.query("fov_name == @row.fov_name and track_id == @row.track_id")
        (own,) = of_track.index[of_track["t"] == row.t]
        first = of_track["t"].idxmin()
        for name, values in (("features", features), ("umap", features[:, 2:])):
            one, other = (values[at] / np.sqrt((values[at] ** 2).sum()) for at in (own, first))
            expected = np.sqrt(((one - other) ** 2).sum())
            assert getattr(row, f"from_first_{name}") == pytest.approx(expected, abs=1e-12)
        assert (row.pc_1, row.pc_2, row.umap_1, row.umap_2) == tuple(features[own])
        assert (
            row.hours == row.t / 2 and getattr(row, f"annotated_{COLUMN}") == study.annotations[COLUMN][own]
        )


def test_a_film_without_interval_has_no_hours_and_no_umap_no_place_in_one(study: EmbeddingStudy) -> None:
    timeless = replace(study.evaluation, settings=replace(study.evaluation.settings, interval_min=None))
    flat = replace(study.embedded, umap=None)
    table = held_out_cells(replace(study, evaluation=timeless, embedded=flat))
    assert table["hours"].isna().all()
    assert not [name for name in table if "umap" in name]


def report(tracks: list[tuple[int, str, str, float]], kept: set[int] | None = None) -> PublishedReport:
    """Tracks by number, split, course and length; cells of those in `kept`, or of all."""
    onsets = pd.DataFrame(
        [
            {"plate": "P1", "fov_name": "A/1/0", "track_id": track, "split": split, "annotated_course": course,
             "annotated_start_time": 3.0, "annotated_end_time": 3.0 + length, "annotated_onset_t": 4}
            for track, split, course, length in tracks
        ]
    )  # fmt: skip
    numbers = [one[0] for one in tracks if kept is None or one[0] in kept]
    cells = pd.DataFrame({"plate": "P1", "fov_name": "A/1/0", "track_id": numbers, "t": 0})
    return replace(training("A", set()).report, held_out_cells=cells, onsets={COLUMN: onsets})


def test_the_longest_test_track_that_turns_in_all_reports_is_compared() -> None:
    tracks = [
        (1, "train", "turns", 99.0),
        (2, "test", "never turns", 99.0),
        (3, "test", "turns", 7.0),
        (4, "test", "turns", 8.0),
        (5, "test", "turns", 8.0),
        (6, "test", "turns", 9.0),
    ]
    found = compared_track([report(tracks)])
    assert found is not None and (found.track_id, found.onset_t, found.column) == (6, 4, COLUMN)
    without = compared_track([report(tracks), report(tracks, kept={1, 2, 3, 4, 5})])
    assert without is not None and without.words() == "track 4 of P1 A/1/0"
    cells = pd.DataFrame({"plate": "P1", "fov_name": "A/1/0", "track_id": [3, 4, 4]})
    assert without.rows(cells).tolist() == [False, True, True]
    assert compared_track([report(tracks[:2])]) is None
    assert compared_track([report(tracks), replace(report(tracks), onsets={})]) is None
