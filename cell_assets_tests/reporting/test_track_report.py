import numpy as np
import pandas as pd
import pytest

from cell_assets.evaluation.motion.disruption_study import TrackDisruptions, study_track_disruptions
from cell_assets.evaluation.motion.division_steps import study_division_steps
from cell_assets.evaluation.motion.dynamics import LagCurve
from cell_assets.evaluation.studies.study_parameters import DisruptionParameters
from cell_assets.reporting.division_figure import FamilyPatches, Highlight, pictured_rows, trajectory_table
from cell_assets.reporting.embedding_figures import Projection
from cell_assets.reporting.suspicious_steps import suspicious_rows
from cell_assets.reporting.track_report import disruption_figures, division_figures, turning_figures
from cell_assets.reporting.turning_figure import TurningTrack
from cell_assets.reporting.wording import estimate_text, value_text
from cell_assets_tests.evaluation.motion.test_division_steps import families
from cell_assets_tests.evaluation.moving_tracks import looks, moving_cells, plain_evaluation
from cell_assets_tests.reporting.drawings import (
    band,
    drawn_figures,
    labels_of,
    legend_of,
    line,
    points,
    upright_lines,
)


@pytest.fixture(scope="module")
def disruptions() -> TrackDisruptions:
    cells, position = moving_cells(n_fovs=12)
    features = looks(cells, identity=1.0)
    evaluation = plain_evaluation(cells, features)
    return study_track_disruptions(features, cells, position, evaluation, DisruptionParameters(), cells)


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
    assert disruption_figures(disruptions, pca, 5.0, no_patches) == (figure, example)
    assert "PCA 1 solid, PCA 2 dashed" in example.caption and "There is no UMAP" in example.caption
    _, in_umap = disruption_figures(disruptions, umap, 5.0, no_patches)
    assert "UMAP 1 solid, UMAP 2 dashed" in in_umap.caption and "There is no" not in in_umap.caption


def test_scores_curves_and_an_example_of_each_disruption_are_drawn(disruptions: TrackDisruptions) -> None:
    xy = np.random.default_rng(0).normal(size=(12 * 4 * 12, 2))
    pca = Projection("PCA", xy, ("PC 1", "PC 2"))
    with drawn_figures() as figures:
        disruption_figures(disruptions, pca, 5.0, [None] * len(disruptions.kinds))
    scores, examples = figures
    panels = np.array(scores.axes).reshape(-1, 2)
    assert len(panels) == len(disruptions.kinds) == 2
    for (left, middle), right, study in zip(panels, examples.axes, disruptions.kinds, strict=True):
        n_disrupted, n_steps = int(study.disrupted.sum()), len(study.score)
        assert legend_of(left)[:2] == [
            f"same cell, {n_steps - n_disrupted} steps",
            f"across a {study.kind}, {n_disrupted} steps",
        ]
        low, high = np.quantile(study.score, [0.001, 0.999])
        for bars, chosen in zip(left.containers, (~study.disrupted, study.disrupted), strict=True):
            # The mean of a histogram is that of what it counts, to half a bar's width.
            width = bars[0].get_width()
            mean = sum((bar.get_x() + width / 2) * bar.get_height() * width for bar in bars)
            assert mean == pytest.approx(np.clip(study.score[chosen], low, high).mean(), abs=width / 2)
        assert upright_lines(left) == [study.threshold]
        for curve in study.curves:
            said = f"{curve.title}, AP {value_text(curve.average_precision.value)}"
            shown = line(middle, said)
            assert (
                shown[1:].tolist() == np.column_stack([curve.points.recall, curve.points.precision]).tolist()
            )
        assert labels_of(middle) == (f"Finding a {study.kind}, test tracks", "recall", "precision")
        event, rows = study.example.event, study.example.rows
        for name in (event.track, event.partner):
            own = rows[rows["track"] == name]
            for k in (0, 1):
                shown = line(right, f"track {name.rpartition('|')[2]}, PC {k + 1}")
                assert shown.tolist() == np.column_stack([own["t"] * 5.0, xy[own["row"], k]]).tolist()
        assert (event.start - 0.5) * 5.0 in upright_lines(right)
        assert labels_of(right)[1:] == ("time since the first frame (min)", "PCA")


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
    table = trajectory_table(cells, views, highlights, found.trajectories, minutes)
    with drawn_figures() as figures:
        (bare,) = division_figures(found, table, views, [None] * 3)
        (full,) = division_figures(found, table, views, patches)
    heights = [int.from_bytes(figure.png[20:24], "big") for figure in (bare, full)]
    assert heights[1] > heights[0]
    without, drawn = figures
    assert [len(axes.images) for axes in without.axes] == [0] * 3
    assert [len(axes.images) for axes in drawn.axes] == [0] * 3 + [1] * 3
    for k, family in enumerate(found.trajectories):
        above, below = drawn.axes[k], drawn.axes[3 + k]
        assert labels_of(above) == (f"PCA, division {k + 1}", "PC 1", "PC 2")
        assert len(points(above.collections[0])) == len(cells)
        near = views[0].xy[found.near_division]
        assert points(above.collections[1]).tolist() == near.tolist() and len(near) > 0
        parent, (one, other) = family.parent, family.daughters
        for label, rows in (
            ("parent", parent),
            ("daughter", [parent[-1], *one]),
            ("other daughter", [parent[-1], *other]),
            ("division", [parent[-1]]),
        ):
            assert line(above, label).tolist() == views[0].xy[rows].tolist()
        # Three frames of the parent and two of each daughter, of two channels, all that is not the gaps between them.
        canvas = np.ma.filled(below.images[0].get_array(), np.nan)
        assert np.isfinite(canvas).sum() == 7 * 2 * 16 * 16
        low, high = np.percentile(patches[k].images, [1, 99.5], axis=(0, 2, 3))
        first = np.clip((patches[k].images[0, 0] - low[0]) / (high[0] - low[0]), 0, 1)
        top = 2 * (16 + 2) // 2
        assert canvas[top : top + 16, :16] == pytest.approx(first)
        assert [text.get_text() for text in below.texts] == [
            f"{5 * after:+d} min" if after else "0 min" for after in (-2, -1, 0, 1, 2, 1, 2)
        ]
    assert legend_of(drawn) == ["about to divide", "daughter", "other daughter", "parent", "division"]
    for name in ("before_division", "other_steps", "across_division"):
        assert estimate_text(found.estimate(name)) in full.caption


def test_without_a_division_there_is_no_figure() -> None:
    cells = families().query("track_id == 4").reset_index(drop=True)
    features = looks(cells, identity=1.0)
    found = study_division_steps(features, cells, plain_evaluation(cells, features), cells, horizon_min=5.0)
    table = trajectory_table(cells, [], [Highlight("any", cells["t"] == 0)], (), np.zeros(len(cells)))
    assert table.empty and division_figures(found, table, [], []) == ()


def test_a_table_of_trajectories_holds_every_point_that_is_drawn() -> None:
    cells = families(n_fovs=2).sample(frac=1, random_state=0).reset_index(drop=True)
    cells["parent_track_id"] = cells["parent_track_id"].astype("Int64").replace(-1, pd.NA)
    xy = np.random.default_rng(0).normal(size=(len(cells), 2))
    features = np.column_stack([xy, np.ones(len(cells))])
    found = study_division_steps(features, cells, plain_evaluation(cells, features), cells, horizon_min=5.0)
    views = [
        Projection(name, shift + xy, ("first", "second")) for name, shift in (("PCA", 0.0), ("UMAP", 9.0))
    ]
    highlights = [Highlight("about to divide", found.near_division)]
    minutes = cells["t"].to_numpy(dtype=float) * 5
    table = trajectory_table(cells, views, highlights, found.trajectories, minutes)
    pca, umap = (table[table["projection"] == name].reset_index(drop=True) for name in ("PCA", "UMAP"))
    pd.testing.assert_frame_equal(pca.drop(columns=["projection", "x", "y"]), umap.iloc[:, 1:-2])
    assert (umap[["x", "y"]] - pca[["x", "y"]]).to_numpy() == pytest.approx(9.0)
    keys = cells[["fov_name", "track_id", "t"]].itertuples(index=False)
    where = dict(zip(keys, xy.tolist(), strict=True))
    for row in pca.itertuples():
        assert [row.x, row.y] == where[row.fov_name, row.track_id, row.t]
    # Of the one test FOV: a parent of t 0 to 5, whose daughters are seen from 6 to 9.
    members = pca[pca["division"].notna()]
    assert set(members["fov_name"]) == {"A/1/001"} and set(members["division"]) == {1}
    columns = ["track_id", "parent_track_id", "t", "minutes"]
    assert members.groupby("drawn_as", sort=False)[columns].agg(list).to_dict("index") == {
        "parent": {
            "track_id": [1] * 6,
            "parent_track_id": [-1] * 6,
            "t": [*range(6)],
            "minutes": [-25.0, -20.0, -15.0, -10.0, -5.0, 0.0],
        },
        **{
            name: {
                "track_id": [track] * 4,
                "parent_track_id": [1] * 4,
                "t": [6, 7, 8, 9],
                "minutes": [5.0, 10.0, 15.0, 20.0],
            }
            for name, track in (("daughter", 2), ("other daughter", 3))
        },
    }
    others = pca[pca["division"].isna()]
    assert others["minutes"].isna().all()
    assert others["drawn_as"].value_counts().to_dict() == {
        "cell": len(cells),
        "about to divide": found.near_division.sum(),
    }


def test_the_way_of_a_cell_that_turns_and_its_distance_are_drawn() -> None:
    rng = np.random.default_rng(0)
    views = [
        Projection(name, rng.normal(size=(50, 2)), (f"{name} 1", f"{name} 2")) for name in ("PC", "UMAP")
    ]
    in_state = np.arange(50) % 5 == 0
    track = TurningTrack(
        column="infection_state",
        state="infected",
        rows=np.array([7, 3, 40, 12]),
        minutes=np.array([0.0, 30, 60, 90]),
        onset=60.0,
        distance=np.array([0.0, 0.2, 0.9, 1.1]),
    )
    lags, counts = np.array([0.0, 30, 60]), np.ones(3, dtype=np.int64)
    mean = LagCurve(
        counts, lags, np.array([0.0, 0.3, 0.4]), np.full(3, 0.1), lags * np.nan, lags * np.nan, counts, counts
    )
    with drawn_figures() as figures:
        (figure,) = turning_figures([track], [in_state], views, mean)
        turning_figures([track], [in_state], views, None)
    assert (figure.name, figure.title) == ("infection_state_course", "One cell turns infected")
    assert "first frame that is annotated infected" in figure.caption
    *ways, distance = figures[0].axes
    for axes, view in zip(ways, views, strict=True):
        others, infected, way = axes.collections
        assert sorted(points(others).tolist()) == sorted(view.xy[~in_state].tolist())
        assert sorted(points(infected).tolist()) == sorted(view.xy[in_state].tolist())
        assert points(way).tolist() == view.xy[track.rows].tolist()
        assert np.asarray(way.get_array()).tolist() == track.minutes.tolist()
        assert line(axes, "turns").tolist() == [view.xy[40].tolist()]
        assert labels_of(axes) == (view.name, f"{view.name} 1", f"{view.name} 2")
    assert line(distance, "this track").tolist() == [[0, 0], [30, 0.2], [60, 0.9], [90, 1.1]]
    assert line(distance, "all test tracks, mean ± sd").tolist() == [[0, 0], [30, 0.3], [60, 0.4]]
    assert band(distance.collections[0]) == pytest.approx(
        np.array([[0, -0.1, 0.1], [30, 0.2, 0.4], [60, 0.3, 0.5]])
    )
    assert upright_lines(distance) == [60]
    assert labels_of(distance)[1:] == ("minutes since the first frame", "distance from the first frame")
    assert legend_of(distance) == ["all test tracks, mean ± sd", "this track", "annotated infected"]
    assert legend_of(figures[1].axes[-1]) == ["this track", "annotated infected"]
