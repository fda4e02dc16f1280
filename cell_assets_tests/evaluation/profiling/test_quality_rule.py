"""Rules: distilled from relevance whose cause is known, applied to other cells, and read back."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.profile_parameters import RuleParameters
from cell_assets.evaluation.profiling.quality_rule import (
    Condition,
    QualityRule,
    read_quality_rule,
    write_quality_rule,
)
from cell_assets.evaluation.profiling.rule_distilling import distil_rule

NAMES = ("Cells_A", "Cells_B", "Nuclei_C", "Nuclei_D")
STARTS = np.arange(21) * 200


def cells(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(4000, 4)).astype(np.float32)


def distilled(relevance: np.ndarray, features: np.ndarray, **changes: float) -> QualityRule:
    return distil_rule(relevance, features, NAMES, STARTS, RuleParameters.model_validate(changes))


def test_one_cause_is_found_with_its_threshold() -> None:
    features = cells(1)
    rule = distilled(-features[:, 1].astype(np.float64), features)
    assert rule.features == ("Cells_B",) and len(rule.clauses) == 1
    (condition,) = rule.clauses[0]
    # The upper fifth of a normal feature begins at .84 standard deviations.
    assert condition.side == ">" and condition.threshold == pytest.approx(0.84, abs=0.1)
    assert rule.sentence.startswith(f"Leave out cells with Cells_B > {condition.threshold:.3g} (standard dev")
    other = cells(2)
    left_out = rule.leaves_out(other, NAMES)
    assert np.array_equal(left_out, other[:, 1] > np.float64(condition.threshold))
    assert left_out.mean() == pytest.approx(0.2, abs=0.04)


def test_two_causes_must_meet() -> None:
    features = cells(1)
    features[:, 0] += 0.3
    both = (features[:, 0] > 0.5) & (features[:, 3] <= -0.3)
    assert 0.1 < both.mean() < 0.2
    # The rest of the least relevant fifth has no cause.
    relevance = np.where(both, 0.0, 1.0) + 0.1 * np.random.default_rng(0).random(4000)
    rule = distilled(relevance, features, least_relevant=0.15)
    assert set(rule.features) == {"Cells_A", "Nuclei_D"} and [len(one) for one in rule.clauses] == [2]
    other = cells(2)
    expected = (other[:, 0] > 0.5) & (other[:, 3] <= -0.3)
    assert (rule.leaves_out(other, NAMES) == expected).mean() > 0.99


def test_a_band_of_one_feature_keeps_both_of_its_bounds() -> None:
    features = cells(1)
    rule = distilled(np.abs(features[:, 2]).astype(np.float64), features)
    left_out = rule.leaves_out(features, NAMES)
    assert rule.features == ("Nuclei_C",)
    assert sorted(one.side for one in rule.clauses[0]) == ["<=", ">"]
    assert np.abs(features[left_out, 2]).max() < 0.4 and left_out.mean() > 0.15


def test_of_two_bounds_on_one_side_the_tighter_is_stated() -> None:
    features = cells(1)
    probability = np.select([features[:, 0] > 0.7, features[:, 0] > 0], [0.6, 0.3], 0.0)
    relevance = 1.0 * (np.random.default_rng(0).random(4000) >= probability)
    rule = distilled(relevance, features)
    (clause,) = rule.clauses
    assert [(one.feature, one.side) for one in clause] == [("Cells_A", ">")]
    assert clause[0].threshold == pytest.approx(0.7, abs=0.1)


def test_relevance_without_a_cause_gives_no_rule() -> None:
    rule = distilled(np.random.default_rng(5).random(4000), cells(1))
    assert rule.clauses == () and rule.sentence.startswith("Every cell stays")
    assert not rule.leaves_out(cells(2), NAMES).any()


def test_few_cells_are_drawn_alike_for_equal_seeds() -> None:
    features = cells(1)
    relevance = -features[:, 1].astype(np.float64)
    one, again, other = (distilled(relevance, features, max_cells=200, seed=seed) for seed in (0, 0, 1))
    assert one == again != other


def test_a_rule_by_hand_looks_up_its_features_by_name() -> None:
    rule = QualityRule(
        clauses=(
            (Condition(feature="B", side=">", threshold=1), Condition(feature="A", side="<=", threshold=0)),
            (Condition(feature="A", side=">", threshold=5),),
        )
    )
    table = np.array([[2, 0], [2, 1], [1, -1], [0, 6], [np.nan, -1], [2, np.nan]])
    assert rule.leaves_out(table, ("B", "A")).tolist() == [True, False, False, True, False, False]
    assert rule.leaves_out(table[:, ::-1], ("A", "B")).tolist() == [True, False, False, True, False, False]
    assert rule.sentence == (
        "Leave out cells with B > 1 and A <= 0, and cells with A > 5 (standard deviations from the mean of all cells "
        "of the plate)."
    )
    with pytest.raises(BadInputError, match="the rule looks at A, which these cells do not have"):
        rule.leaves_out(table, ("B", "C"))


def test_a_rule_comes_back_as_it_was(tmp_path: Path) -> None:
    rule = distilled(cells(1)[:, 1].astype(np.float64), cells(1))
    file = tmp_path / "rule.json"
    write_quality_rule(rule, file)
    assert read_quality_rule(file) == rule
    file.write_text("{}")
    with pytest.raises(BadInputError, match=r"rule.json: is no record of a rule"):
        read_quality_rule(file)


def test_what_gives_no_rule_is_named() -> None:
    with pytest.raises(BadInputError, match="of 4 cells none is among the least relevant 20% of its well"):
        distil_rule(np.arange(4.0), cells(1)[:4], NAMES, np.array([0, 4]), RuleParameters())
    with pytest.raises(ValidationError, match=r"min_precision=0.2 is no more than least_relevant=0.2"):
        RuleParameters(min_precision=0.2)
