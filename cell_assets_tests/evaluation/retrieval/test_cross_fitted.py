"""Profiles that depend on who asks: by hand, by scikit-learn in the asker's own space, and what cannot be."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from cell_assets.errors import BadInputError
from cell_assets.evaluation.retrieval.cross_fitted import CrossFittedProfiles
from cell_assets.evaluation.retrieval.profiles import Profiles, treatment_profiles
from cell_assets.evaluation.retrieval.retrieval import Question, ranked_queries, retrieve

QUESTION = Question("Metadata_MoA", ("Metadata_Compound",))


def of(angles: list[float], compounds: str = "abcd") -> Profiles:
    """Of mechanism x compounds a and b, of mechanism y compounds c and d; one direction in degrees for each."""
    radians = np.radians(angles)
    known = pd.DataFrame(
        {
            "Metadata_Compound": list(compounds),
            "Metadata_MoA": ["x" if one in "ab" else "y" for one in compounds],
        }
    )
    return Profiles(known, np.stack([np.cos(radians), np.sin(radians)], 1), ("F0", "F1"))


def test_each_asks_in_the_space_of_its_own_model() -> None:
    # In the first model's space a's nearest is b, in the second's c; c and d ask in the second alone.
    first, second = of([0, 10, 50, 90]), of([0, 40, 10, 90])
    folds = CrossFittedProfiles((first, second), "Metadata_Compound", {"a": 0, "b": 0, "c": 1, "d": 1})
    found = ranked_queries(folds, QUESTION)
    assert found["Metadata_Compound"].tolist() == list("abcd")
    # a: b before c and d; b: a (10°) before c (40°). In the second space c: a 10°, b 30°, d 80°; d: b 50°, c 80°.
    assert found["average_precision"].tolist() == pytest.approx([1, 1, 1 / 3, 1 / 2])
    assert found["nearest_is_right"].tolist() == [1, 1, 0, 0]
    assert retrieve(folds, QUESTION).mean_average_precision.value == pytest.approx(
        (1 + 1 + 1 / 3 + 1 / 2) / 4
    )


def test_a_profile_by_one_model_is_never_compared_with_one_by_another() -> None:
    random = np.random.default_rng(0)
    known = pd.DataFrame(
        {
            "Metadata_Compound": [f"c{n // 2}" for n in range(24)],
            "Metadata_MoA": [f"m{n // 8}" for n in range(24)],
        }
    )
    models = tuple(Profiles(known, random.normal(size=(24, 5)), tuple("abcde")) for _ in range(3))
    folds = CrossFittedProfiles(models, "Metadata_Compound", {f"c{n}": n % 3 for n in range(12)})
    found = ranked_queries(folds, QUESTION)
    compound, moa = (known[name].to_numpy(str) for name in ("Metadata_Compound", "Metadata_MoA"))
    expected = []
    for row in range(24):
        features = models[row // 2 % 3].features
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        others = compound != compound[row]
        expected.append(average_precision_score(moa[others] == moa[row], (unit @ unit[row])[others]))
    assert found["average_precision"].to_numpy() == pytest.approx(expected)
    own = np.stack([models[fold].features[row] for row, fold in enumerate(folds.asking_fold)])
    mixed = ranked_queries(Profiles(known, own, tuple("abcde")), QUESTION)
    assert not np.allclose(mixed["average_precision"], expected)


def test_what_is_held_out_by_no_model_asks_with_the_first() -> None:
    folds = CrossFittedProfiles(
        (of([0, 10, 20, 30]), of([0, 10, 20, 30])), "Metadata_Compound", {"b": 1, "c": 0}
    )
    assert folds.asking_fold.tolist() == [0, 1, 0, 0]


def test_medians_and_choices_are_of_every_model() -> None:
    first, second = of([0, 20, 50, 90], "aabc"), of([0, 40, 10, 90], "aabc")
    folds = CrossFittedProfiles((first, second), "Metadata_Compound", {"a": 0, "b": 1, "c": 1})
    treatments = folds.each(lambda one: treatment_profiles(one, ["Metadata_Compound"]))
    assert len(treatments) == 3 and treatments.asking_fold.tolist() == [0, 1, 1]
    np.testing.assert_allclose(treatments.by_fold[1].features[0], second.features[:2].mean(0))
    chosen = treatments.select([False, True, True])
    assert chosen.metadata["Metadata_Compound"].tolist() == ["b", "c"] and chosen.asking_fold.tolist() == [
        1,
        1,
    ]


def test_models_of_other_wells_and_folds_that_are_none_are_named() -> None:
    one = of([0, 10, 20, 30])
    with pytest.raises(BadInputError, match="2 models did not profile the same wells"):
        CrossFittedProfiles((one, one.select([True, True, True, False])), "Metadata_Compound", {})
    with pytest.raises(BadInputError, match="fold 2 is none of 0 to 1"):
        CrossFittedProfiles((one, one), "Metadata_Compound", {"a": 2})
