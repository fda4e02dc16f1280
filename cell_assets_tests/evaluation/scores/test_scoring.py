import numpy as np
import pandas as pd
import pytest

from cell_assets.errors import NotFoundError
from cell_assets.evaluation.scores.probe_splits import (
    ProbeSplit,
    half_of_test_tracks,
    lineage_folds,
    manifest_split,
)
from cell_assets.evaluation.scores.scoring import rescore
from cell_assets.evaluation.scores.task_scores import Baseline, TaskEvaluation, combined, evaluate_task
from cell_assets.evaluation.scores.tasks import Labels, column_labels
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.units import split_rows
from cell_assets_tests.evaluation.movies import informative_features, track_table


def spread(n_fovs: int) -> pd.DataFrame:
    """Tracks of `track_table` over so many FOVs of each split, so that the split keeps FOVs whole."""
    cells = track_table(n_tracks=120, n_times=4)
    number = cells["track_id"] // 5 % n_fovs
    return cells.assign(fov_name=cells["split"] + "/1/" + number.astype(str), lineage_root=cells["track_id"])


def task(cells: pd.DataFrame, split: ProbeSplit | None = None) -> TaskEvaluation:
    labels = infection(cells)
    features = informative_features(labels.label, gap=1.0)
    length = Baseline("length_alone", "cell length alone", cells["length_um"].to_numpy())
    return evaluate_task(
        features,
        cells,
        labels,
        [length, combined(features, length, "both", "embedding and cell length")],
        split or manifest_split(split_rows(cells, SplitUnit.FOV, ["train", "val"], "test")),
        seed=3,
        n_resamples=100,
        source_rows=np.arange(len(cells)),
    )


def infection(cells: pd.DataFrame) -> Labels:
    return column_labels(cells, "infection_state", "infected", "uninfected")


def assert_rescored(found: TaskEvaluation) -> None:
    """Every number that is of test labels comes out again from the published rows alone."""
    options = {"seed": 3, "n_resamples": 100, "units": found.n_units_name}
    n_rescored = 0
    for score in found.scores:
        if score.of == "majority":
            with pytest.raises(NotFoundError):
                rescore(found.predictions, score.name, **options)
            continue
        assert rescore(found.predictions, score.name, **options) == score.estimate, score.name
        n_rescored += 1
    assert n_rescored == 3 * 5 + 3 + 2 * 3


@pytest.mark.parametrize(("n_fovs", "unit", "n_units"), [(10, "FOVs", 10), (9, "tracks", 24)])
def test_fovs_are_resampled_from_ten_on_and_published_predictions_give_the_same(n_fovs, unit, n_units):
    found = task(spread(n_fovs))
    assert found.n_units_name == unit
    assert {score.estimate.n_units for score in found.scores} == {n_units}
    said = [note for note in found.notes if "10 are needed" in note]
    assert len(said) == (unit == "tracks")
    assert_rescored(found)


@pytest.mark.parametrize(("n_founders", "unit"), [(12, "lineages"), (9, "tracks")])
def test_folds_are_over_founders_and_published_predictions_give_the_same(n_founders, unit):
    cells = spread(1).assign(fov_name="A/1/000", lineage_root=lambda c: c["track_id"] % n_founders)
    used = np.ones(len(cells), dtype=bool)
    found = task(cells, lineage_folds(cells, infection(cells), used, 2))
    assert (found.n_units_name, found.split) == (unit, "2 folds by lineage")
    assert len(found.predictions) == found.n_test_rows == found.n_fit_rows == len(cells)
    assert_rescored(found)


def test_a_gain_is_the_difference_of_its_two_scores():
    found = task(spread(10))
    for metric in ("average_precision", "balanced_accuracy", "accuracy"):
        gain = found.score(f"{metric}_gain_over", "length_alone")
        expected = found.score(metric).value - found.score(metric, "length_alone").value
        assert gain.value == pytest.approx(expected) and gain.low < gain.value < gain.high
        both = found.score(f"{metric}_gain_of_both_over", "length_alone")
        assert both.value == pytest.approx(
            found.score(metric, "both").value - found.score(metric, "length_alone").value
        )
    names = {score.name for score in found.scores}
    assert "average_precision_gain_of_both_over_length_alone" in names
    assert "average_precision_gain_over_both" not in names


def test_an_embedding_that_adds_to_length_gains_and_one_of_noise_does_not():
    cells = track_table(n_tracks=120, n_times=4).assign(fov_name=lambda c: c["split"] + "/1/000")
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=len(cells))
    length = rng.normal(size=len(cells))
    answer = hidden + length > 0.8
    labels = Labels("q", "yes", "no", "r", answer, np.ones(len(cells), dtype=bool))
    split = manifest_split(split_rows(cells, SplitUnit.TRACK, ["train"], "test"))
    alone = Baseline("length_alone", "length", length)

    def gain(features):
        found = evaluate_task(
            features,
            cells,
            labels,
            [alone, combined(features, alone, "both", "both")],
            split,
            seed=0,
            n_resamples=200,
            source_rows=np.arange(len(cells)),
        )
        return found.score("average_precision_gain_of_both_over", "length_alone")

    noise = rng.normal(size=(len(cells), 3))
    assert gain(np.column_stack([hidden, noise])).low > 0.1
    useless = gain(noise)
    assert useless.low <= 0.02 and abs(useless.value) < 0.1


def test_half_of_the_test_tracks_scores_the_other_half():
    cells = spread(10)
    labels = infection(cells)
    found = task(cells, half_of_test_tracks(cells, labels, (cells["split"] == "test").to_numpy(), seed=0))
    assert (found.split, found.n_units_name) == ("half of test tracks", "tracks")
    assert found.n_fit_rows == found.n_test_rows == 12 * 4
    assert set(found.predictions["fov_name"].str.split("/").str[0]) == {"test"}
    assert_rescored(found)


def test_units_that_predictions_do_not_know_are_named():
    found = task(spread(10))
    with pytest.raises(NotFoundError, match="do not tell what furlongs are"):
        rescore(found.predictions, "f1", seed=0, n_resamples=100, units="furlongs")
