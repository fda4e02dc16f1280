"""Figures of scores, spectra and losses: the lines and dots that are drawn."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from cell_assets.evaluation.motion.rank import FeatureSpectrum
from cell_assets.evaluation.studies.evaluate import EmbeddingEvaluation
from cell_assets.reporting.embedding_figures import loss_figure
from cell_assets.reporting.score_figures import (
    forest_figure,
    precision_recall_figure,
    smoothness_figure,
    spectrum_figure,
)
from cell_assets.reporting.style import ACCENT, MUTED, RIVAL
from cell_assets.reporting.wording import value_text
from cell_assets_tests.reporting.contents import small_evaluation
from cell_assets_tests.reporting.drawings import (
    band,
    bars,
    dots,
    drawn_figures,
    labels_of,
    legend_of,
    line,
    points,
    upright_lines,
)


@pytest.fixture(scope="module")
def evaluation() -> EmbeddingEvaluation:
    return small_evaluation()


def level_lines(figure: Figure) -> list[float]:
    """Heights of `axhline` in the first panel."""
    return [float(xy[0, 1]) for xy in map(points, figure.axes[0].lines) if xy[:, 0].tolist() == [0, 1]]


def test_precision_against_recall_of_every_rival_with_chance(evaluation: EmbeddingEvaluation) -> None:
    task = evaluation.tasks[0]
    with drawn_figures() as figures:
        precision_recall_figure(task)
    (axes,) = figures[0].axes
    assert [curve.of for curve in task.curves][:2] == ["embedding", "length_alone"]
    titles = [f"{curve.title}, AP {value_text(curve.average_precision.value)}" for curve in task.curves]
    for title, curve in zip(titles, task.curves, strict=True):
        shown = line(axes, title)
        assert shown[0].tolist() == [0, curve.points.precision[0]]
        assert shown[1:].tolist() == np.column_stack([curve.points.recall, curve.points.precision]).tolist()
    chance = task.prevalence.value
    assert level_lines(figures[0]) == [chance]
    assert legend_of(figures[0]) == [*titles, f"chance, AP {value_text(chance)}"]
    assert labels_of(axes) == ("Infection state", "recall", "precision")


def test_every_score_that_has_a_value_is_a_dot_on_its_interval(evaluation: EmbeddingEvaluation) -> None:
    task = evaluation.tasks[0]
    with drawn_figures() as figures:
        forest_figure([task])
    (axes,) = figures[0].axes
    rows = [tick.get_text() for tick in axes.get_yticklabels()]
    metrics = {
        "average precision": "average_precision", "AUROC": "auroc", "balanced accuracy": "balanced_accuracy",
        "accuracy": "accuracy", "F1": "f1",
    }  # fmt: skip
    assert [row for row in rows if row in metrics] == list(metrics)
    expected, intervals, metric = [], [], ""
    for place, row in enumerate(rows):
        if row in metrics:
            metric = metrics[row]
            continue
        score = task.score(metric, row.replace(" ", "_"))
        expected.append([score.value, place])
        if score.low is not None:
            intervals.append([score.low, score.high, place])
    known = [one for one in task.scores if one.metric in metrics.values() and one.estimate.value is not None]
    assert len(expected) == len(known) > 10
    assert dots(axes).tolist() == expected and bars(axes).tolist() == intervals
    of_embedding = [rows[int(place)] for _, place in dots(axes, ACCENT)]
    assert of_embedding == ["embedding"] * 5
    assert {rows[int(place)] for _, place in dots(axes, RIVAL)} == {"length alone"}
    assert "chance" in {rows[int(place)] for _, place in dots(axes, MUTED)}
    assert labels_of(axes)[:2] == ("Infection state", "score with 95 % interval")


def test_distance_by_lag_and_from_the_first_frame_with_strangers(evaluation: EmbeddingEvaluation) -> None:
    found = evaluation.dynamics[0].dynamics
    assert found is not None
    with drawn_figures() as figures:
        smoothness_figure(found)
    for axes, curve in zip(figures[0].axes, (found.displacement, found.from_first), strict=True):
        shown = line(axes, "mean over cells")
        assert shown.tolist() == np.column_stack([curve.lag_min, curve.mean]).tolist()
        spread, interval = axes.collections
        bounds = [curve.lag_min, curve.mean - curve.sd, curve.mean + curve.sd]
        assert band(spread) == pytest.approx(np.column_stack(bounds))
        assert band(interval) == pytest.approx(np.column_stack([curve.lag_min, curve.low, curve.high]))
    assert level_lines(figures[0]) == [found.random_pairs.value]
    assert [axes.get_xlabel() for axes in figures[0].axes] == ["τ (min)", "time since first seen (min)"]


def test_variance_by_direction_of_features_and_of_projections() -> None:
    features = FeatureSpectrum(np.array([0.6, 0.3, 0.06, 0.04]), 4, 2.6, 3, 90, 4)
    projections = FeatureSpectrum(np.array([0.7, 0.3]), 2, 1.8, 2, 90, 2)
    with drawn_figures() as figures:
        spectrum_figure(features, projections)
        spectrum_figure(features)
    both, alone = figures[0].axes[0], figures[1].axes[0]
    assert line(both, "features").tolist() == [[1, 0.6], [2, 0.3], [3, 0.06], [4, 0.04]]
    assert line(both, "projections").tolist() == [[1, 0.7], [2, 0.3]]
    assert legend_of(both) == ["features", "projections"]
    assert len(alone.lines) == 2 and alone.get_legend() is None
    assert upright_lines(alone) == [3] and [text.get_text() for text in alone.texts] == ["3 hold 95 %"]
    assert (alone.get_xscale(), alone.get_yscale()) == ("log", "log")
    assert labels_of(alone) == ("Explained variance", "principal component", "share of variance")


def test_each_loss_is_a_line_over_the_epochs_that_have_it() -> None:
    history = pd.DataFrame(
        {
            "epoch": [0, 1, 2],
            "loss/train": [0.5, 0.3, 0.2],
            "loss/val": [0.6, None, 0.4],
            "rate": [1.0, 1.0, 1.0],
        }
    )
    with drawn_figures() as figures:
        loss_figure(history)
    (axes,) = figures[0].axes
    assert line(axes, "loss train").tolist() == [[0, 0.5], [1, 0.3], [2, 0.2]]
    assert line(axes, "loss val").tolist() == [[0, 0.6], [2, 0.4]]
    assert legend_of(axes) == ["loss train", "loss val"] and len(axes.lines) == 2
    assert labels_of(axes) == ("Training", "epoch", "loss")
