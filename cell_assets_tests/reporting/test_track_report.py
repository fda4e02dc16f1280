import io

import matplotlib.image
import numpy as np
import pytest

from cell_assets.evaluation.motion.disruption_study import TrackDisruptions, study_track_disruptions
from cell_assets.evaluation.motion.division_steps import study_division_steps
from cell_assets.evaluation.studies.study_parameters import DisruptionParameters
from cell_assets.reporting.division_figure import FamilyPatches, Highlight, pictured_rows
from cell_assets.reporting.embedding_figures import Projection
from cell_assets.reporting.suspicious_steps import suspicious_rows
from cell_assets.reporting.track_report import disruption_figures, division_figures
from cell_assets.reporting.wording import estimate_text, value_text
from cell_assets_tests.evaluation.motion.test_division_steps import families
from cell_assets_tests.evaluation.moving_tracks import looks, moving_cells, plain_evaluation


@pytest.fixture(scope="module")
def disruptions() -> TrackDisruptions:
    cells, position = moving_cells(n_fovs=12)
    features = looks(cells, identity=1.0)
    evaluation = plain_evaluation(cells, features)
    return study_track_disruptions(features, cells, position, evaluation, DisruptionParameters(), cells)


def is_drawn(png: bytes) -> bool:
    return bool(matplotlib.image.imread(io.BytesIO(png)).std() > 0.05)


def test_the_caption_of_disruptions_states_what_the_numbers_state(disruptions: TrackDisruptions) -> None:
    xy = np.random.default_rng(0).normal(size=(12 * 4 * 12, 2))
    pca, umap = (Projection(name, xy, (f"{name} 1", f"{name} 2")) for name in ("PCA", "UMAP"))
    no_patches = [None] * len(disruptions.kinds)
    figure, example = disruption_figures(disruptions, pca, 5.0, no_patches)
    for kind in disruptions.kinds:
        assert f"{kind.kind.capitalize()}, {kind.n_events_test} in test tracks" in figure.caption
        for metric, of in (("average_precision", "embedding"), ("average_precision", "motion")):
            assert estimate_text(kind.estimate(metric, of)) in figure.caption
        share = value_text(kind.estimate("share_that_looks_different").value)
        assert f"A share of {share} joins cells that look more different" in figure.caption
    assert is_drawn(figure.png)
    assert disruption_figures(disruptions, pca, 5.0, no_patches) == (figure, example)
    assert "PCA 1 solid, PCA 2 dashed" in example.caption and "There is no UMAP" in example.caption
    _, in_umap = disruption_figures(disruptions, umap, 5.0, no_patches)
    assert "UMAP 1 solid, UMAP 2 dashed" in in_umap.caption and "There is no" not in in_umap.caption


def test_without_any_disruption_there_is_no_figure(disruptions: TrackDisruptions) -> None:
    nothing = TrackDisruptions(
        disruptions.parameters, (), {}, disruptions.suspicious, disruptions.share_above
    )
    empty = Projection("PCA", np.zeros((0, 2)), ("PC 1", "PC 2"))
    assert disruption_figures(nothing, empty, 5.0, []) == ()
    assert disruption_figures(None, empty, 5.0, []) == ()


def test_suspicious_steps_are_read_as_words(disruptions: TrackDisruptions) -> None:
    steps = disruptions.suspicious.copy()
    steps.loc[0, "minutes_to_division"] = 15.0
    steps.loc[1, ["motion_score", "above_threshold"]] = [np.nan, None]
    rows = suspicious_rows(steps)
    assert len(rows) == len(steps) == 20
    assert rows[0].division == "15 min later" and rows[1].division == "–"
    assert rows[0].above_threshold in ("yes", "no") and rows[1].above_threshold == "–"
    assert rows[0].score == f"{steps['score'][0]:.1f}" and rows[1].motion_score == "–"
    assert suspicious_rows(None) == []


def test_a_division_is_drawn_with_or_without_patches_and_says_how_far_cells_move() -> None:
    cells = families()
    features = looks(cells, identity=1.0)
    found = study_division_steps(features, cells, plain_evaluation(cells, features), cells, horizon_min=5.0)
    views = [Projection("PCA", features[:, :2], ("PC 1", "PC 2"))]
    minutes = cells["t"].to_numpy(dtype=float) * 5
    highlights = [Highlight("about to divide", found.near_division)]
    rng = np.random.default_rng(0)
    patches = []
    for family in found.trajectories:
        rows, who = pictured_rows(family, cells["t"].to_numpy())
        assert who.tolist() == [0, 0, 0, 1, 1, 2, 2]
        assert cells["t"].iloc[rows].tolist() == [3, 4, 5, 6, 7, 6, 7]
        assert cells["track_id"].iloc[rows].tolist() == [1, 1, 1, 2, 2, 3, 3]
        patches.append(FamilyPatches(rng.normal(size=(7, 2, 16, 16)), minutes[rows] - 25, who))
    (bare,) = division_figures(found, views, highlights, minutes, [None] * 3)
    (full,) = division_figures(found, views, highlights, minutes, patches)
    assert is_drawn(bare.png) and is_drawn(full.png)
    heights = [int.from_bytes(figure.png[20:24], "big") for figure in (bare, full)]
    assert heights[1] > heights[0]
    for name in ("before_division", "other_steps", "across_division"):
        assert estimate_text(found.estimate(name)) in full.caption


def test_without_a_division_there_is_no_figure() -> None:
    cells = families().query("track_id == 4").reset_index(drop=True)
    features = looks(cells, identity=1.0)
    found = study_division_steps(features, cells, plain_evaluation(cells, features), cells, horizon_min=5.0)
    assert division_figures(found, [], [], np.zeros(len(cells)), []) == ()
