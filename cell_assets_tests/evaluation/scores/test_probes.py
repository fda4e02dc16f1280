import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cell_assets.errors import BadInputError
from cell_assets.evaluation.scores import probes
from cell_assets.evaluation.scores.probes import (
    STRENGTHS,
    Criterion,
    ProbeData,
    choose_strength,
    fit_joined,
    fit_probe,
    why_not_joined,
)
from cell_assets.evaluation.splits import SplitUnit
from cell_assets_tests.evaluation.movies import informative_features


def rows(prefix: str, n_units: int = 20, rows_each: int = 5, seed: int = 0) -> ProbeData:
    rng = np.random.default_rng(seed)
    label = rng.random(n_units * rows_each) < 0.3
    units = np.repeat([f"{prefix}{k}" for k in range(n_units)], rows_each)
    return ProbeData(informative_features(label, seed=seed), label, units)


def test_the_probe_is_a_balanced_logistic_regression_on_standardised_features():
    train, test = rows("train", seed=1), rows("test", seed=2)
    probe = fit_probe(train, test, split_unit=SplitUnit.TRACK, seed=0)
    expected = make_pipeline(
        StandardScaler(), LogisticRegression(C=probe.strength, class_weight="balanced", max_iter=2000)
    ).fit(train.features, train.label)
    np.testing.assert_allclose(probe.probability, expected.predict_proba(test.features)[:, 1])
    assert probe.converged
    assert "5-fold" in probe.how_chosen


def test_test_rows_do_not_reach_the_fit():
    train, test = rows("train", seed=1), rows("test", seed=2)
    shifted = ProbeData(test.features[:7] * 1000, ~test.label[:7], test.units[:7])
    whole = fit_probe(train, test, split_unit=SplitUnit.TRACK, seed=0)
    part = fit_probe(
        train,
        ProbeData(test.features[:7], test.label[:7], test.units[:7]),
        split_unit=SplitUnit.TRACK,
        seed=0,
    )
    assert fit_probe(train, shifted, split_unit=SplitUnit.TRACK, seed=0).strength == whole.strength
    np.testing.assert_allclose(whole.probability[:7], part.probability)


def test_a_unit_on_both_sides_is_refused_by_name():
    train, test = rows("a"), rows("b")
    test.units[3] = "a7"
    with pytest.raises(BadInputError, match=r"1 fov\(s\) are in both .* the first is a7"):
        fit_probe(train, test, split_unit=SplitUnit.FOV, seed=0)


def test_inner_folds_keep_units_whole(monkeypatch):
    train = rows("train", n_units=12, rows_each=6)
    folds = []

    def remember(data, inner, held, criterion):
        folds.append((set(data.units[inner]), set(data.units[held])))
        return [0.0] * len(probes.STRENGTHS)

    monkeypatch.setattr(probes, "_fold_scores", remember)
    choose_strength(train, seed=0)
    assert len(folds) == 5
    assert all(not inner & held for inner, held in folds)


def test_identity_of_a_track_does_not_read_as_skill():
    # Labels are random per track and features only tell tracks apart: a split by row would look perfect.
    rng = np.random.default_rng(0)
    label_of, place_of = rng.random(80) < 0.5, rng.normal(size=(80, 30))
    track = np.repeat(np.arange(80), 10)
    features = place_of[track] + rng.normal(0, 0.01, size=(800, 30))
    sides = [
        ProbeData(features[side], label_of[track[side]], np.array([f"T{k}" for k in track[side]]))
        for side in (track < 40, track >= 40)
    ]
    probe = fit_probe(*sides, split_unit=SplitUnit.TRACK, seed=0)
    assert abs((probe.predicted == sides[1].label).mean() - 0.5) < 0.2


def test_too_few_units_of_a_class_take_the_default_strength_and_say_so():
    train = rows("train")
    train.label[:] = False
    train.label[:5] = True
    _, how = choose_strength(train, seed=0)
    assert "by default" in how


@pytest.mark.parametrize("value", [True, False])
def test_one_class_cannot_be_learned(value):
    train = rows("train")
    train.label[:] = value
    with pytest.raises(BadInputError, match="so there is nothing to learn"):
        fit_probe(train, rows("test"), split_unit=SplitUnit.TRACK, seed=0)


def test_features_that_are_not_finite_are_refused_with_their_unit():
    train = rows("train")
    train.features[12, 3] = np.nan
    with pytest.raises(BadInputError, match=r"1 training row.*train2"):
        fit_probe(train, rows("test"), split_unit=SplitUnit.TRACK, seed=0)


def test_a_strength_chosen_by_log_loss_gives_probabilities_as_sure_as_they_say():
    """Classes that every strength ranks perfectly: by rank alone the weakest fit would do, and say one half of all."""
    rng = np.random.default_rng(0)
    label = np.arange(400) % 2 == 0
    units = np.array([f"u{k // 10}" for k in range(400)])
    train = ProbeData(rng.normal(size=(400, 3)) * 0.2 + 4 * label[:, None], label, units)
    test = ProbeData(train.features, label, np.char.add("t", units))
    by_rank = fit_probe(train, test, split_unit=SplitUnit.TRACK, seed=0)
    by_loss = fit_probe(train, test, split_unit=SplitUnit.TRACK, seed=0, criterion=Criterion.LOG_LOSS)
    assert by_rank.strength == STRENGTHS[0] and by_loss.strength == STRENGTHS[-1]
    assert by_rank.probability[label].mean() < 0.9 < 0.99 < by_loss.probability[label].mean()
    assert "by the log loss of 5-fold cross-validation" in by_loss.how_chosen


def test_what_a_simple_number_knows_is_not_lost_beside_many_features():
    """300 features of noise, and one number of which each unit needs to learn only its weight."""
    rng = np.random.default_rng(0)
    train, test = (
        ProbeData(
            rng.normal(size=(400, 300)),
            rng.random(400) < 0.3,
            np.repeat([f"{side}{k}" for k in range(40)], 10),
        )
        for side in ("train", "test")
    )
    known = [(one.label + rng.normal(scale=0.5, size=400))[:, None] for one in (train, test)]
    joined = fit_joined(train, test, *known, split_unit=SplitUnit.TRACK, seed=0)
    alone = [
        ProbeData(values, one.label, one.units) for values, one in zip(known, (train, test), strict=True)
    ]
    best = fit_probe(*alone, split_unit=SplitUnit.TRACK, seed=0)
    score = [average_precision_score(test.label, probe.probability) for probe in (joined, best)]
    assert score[0] > score[1] - 0.02
    side_by_side = [
        ProbeData(np.hstack([one.features, values]), one.label, one.units)
        for values, one in zip(known, (train, test), strict=True)
    ]
    probe = fit_probe(*side_by_side, split_unit=SplitUnit.TRACK, seed=0)
    assert average_precision_score(test.label, probe.probability) < score[1] - 0.05


def test_joined_rows_are_summed_up_by_probes_that_did_not_learn_from_them():
    """Features that only name their unit say nothing of other units; seen by their own probe they would say all."""
    units = np.repeat([f"u{k}" for k in range(30)], 6)
    label = np.repeat(np.arange(30) % 2 == 0, 6)
    train = ProbeData(np.repeat(np.eye(30), 6, axis=0), label, units)
    test = rows("test", n_units=30, rows_each=6)
    test = ProbeData(np.zeros((180, 30)), test.label, test.units)
    weak = label + np.random.default_rng(0).normal(scale=2.0, size=180)
    joined = fit_joined(train, test, weak[:, None], weak[:, None], split_unit=SplitUnit.TRACK, seed=0)
    assert joined.head.weight[1] > abs(joined.head.weight[0])


def test_why_rows_cannot_be_joined():
    one = rows("u", n_units=1)
    assert "too few training units" in why_not_joined(one)
    assert why_not_joined(rows("u")) is None
