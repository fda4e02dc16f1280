import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score

from cell_assets.errors import BadInputError
from cell_assets.evaluation.scores.probes import ProbeData, fit_probe
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.studies.embedding_study import EmbeddedCells, EmbeddingStudy, study_embeddings
from cell_assets.evaluation.studies.study_parameters import Confounder, StudyParameters
from cell_assets.evaluation.units import unit_ids
from cell_assets_tests.evaluation.movies import informative_features, track_table

KEYS = ["plate", "fov_name", "track_id", "t"]


def movie() -> pd.DataFrame:
    """Four tracks to a founder; every fifth frame of a cell is in mitosis."""
    cells = track_table(n_tracks=60, n_times=6)
    stage = np.where(cells["t"] % 5 == 0, "mitosis", "interphase")
    return cells.assign(lineage_root=1 + cells["track_id"] // 4, division_state=stage)


def features_of(cells: pd.DataFrame) -> np.ndarray:
    return informative_features((cells["infection_state"] == "infected").to_numpy(), 4, gap=2.0) + 0.5


def study(cells: pd.DataFrame, features: np.ndarray | None = None, **parameters) -> EmbeddingStudy:
    """What a report states of them; by default their features half tell the infection."""
    features = features_of(cells) if features is None else features
    annotated = [column for column in ("infection_state", "division_state") if column in cells]
    unannotated = cells.drop(columns=annotated).assign(condition="mock")
    return study_embeddings(
        EmbeddedCells(features, unannotated, features[:, :2], None),
        cells[[*KEYS, *annotated]],
        tracks=cells,
        method="dynaclr",
        split_unit=SplitUnit.TRACK,
        interval_min=30.0,
        simulated=False,
        parameters=StudyParameters(n_resamples=100, **parameters),
    )


@pytest.fixture(scope="module")
def whole() -> EmbeddingStudy:
    return study(movie(), folds=2)


def numbers(found: EmbeddingStudy, report: str) -> dict:
    return {n.name: n for n in found.evaluation.numbers if n.report == f"dynaclr/{report}"}


def test_numbers_of_other_splits_carry_their_names(whole):
    folds = numbers(whole, "infection_state_by_lineage_folds")
    assert {n.split for n in folds.values()} == {"2 folds by lineage"}
    assert folds["average_precision"].unit == "lineages" and folds["average_precision"].n == 31
    assert {"average_precision_both", "average_precision_gain_of_both_over_length_alone"} <= folds.keys()
    half = numbers(whole, "infection_state_half_of_test")
    assert {n.split for n in half.values()} == {"half of test tracks"}
    assert {"accuracy", "f1", "balanced_accuracy", "accuracy_majority"} <= half.keys()
    assert "average_precision" not in half
    assert not numbers(whole, "about_to_divide_half_of_test")  # nobody annotated it
    assert any("The embedding itself may have been trained" in note for note in whole.evaluation.notes)
    assert any("leaks" in note for note in whole.evaluation.notes)


def test_cross_fitted_predictions_are_those_of_a_probe_without_the_cells_relatives(whole):
    cells = movie()
    (task,) = [one for one in whole.evaluation.further if one.name == "infection_state_by_lineage_folds"]
    said = task.predictions.merge(cells.reset_index(), on=KEYS, validate="1:1")
    assert len(said) == len(cells)
    features, infected = features_of(cells), (cells["infection_state"] == "infected").to_numpy()
    lineages = unit_ids(cells, SplitUnit.LINEAGE)
    names = np.unique(lineages)
    positives = {name: int(infected[lineages == name].sum()) for name in names}
    sizes = {name: int((lineages == name).sum()) for name in names}
    held: list[list[str]] = [[], []]
    n_positive, n_rows = sum(positives.values()), sum(sizes.values())
    for name in sorted(names, key=lambda one: (-positives[one], -sizes[one], one)):
        load = [sum(positives[n] * n_rows + sizes[n] * n_positive for n in fold) for fold in held]
        held[0 if load[0] <= load[1] else 1].append(name)
    for fold in held:
        inside = np.isin(lineages, fold)
        probe = fit_probe(
            ProbeData(features[~inside], infected[~inside], lineages[~inside]),
            ProbeData(features[inside], infected[inside], lineages[inside]),
            split_unit=SplitUnit.LINEAGE,
            seed=0,
        )
        expected = pd.Series(probe.probability, index=np.flatnonzero(inside))
        mine = said.set_index("index")["probability"].loc[expected.index]
        np.testing.assert_allclose(mine, expected, atol=1e-6)


def test_balanced_accuracy_of_the_folds_is_scikit_learns(whole):
    (task,) = [one for one in whole.evaluation.further if one.name == "infection_state_by_lineage_folds"]
    rows = task.predictions
    expected = balanced_accuracy_score(rows["label"].astype(bool), rows["probability"] >= 0.5)
    assert numbers(whole, task.name)["balanced_accuracy"].value == pytest.approx(expected)


def test_without_folds_there_are_none_and_one_founder_cannot_be_shared_out():
    assert not numbers(study(movie()), "infection_state_by_lineage_folds")
    one = study(movie().assign(lineage_root=1, fov_name="A/1/000"), folds=2)
    missing = numbers(one, "infection_state_by_lineage_folds")["average_precision"]
    assert (
        missing.why_missing == "the labelled cells descend from 1 founder(s), which 2 folds cannot share out"
    )


def test_smoothness_and_identity_are_numbers_of_the_study(whole):
    found = numbers(whole, "smoothness_and_identity")
    assert {
        "same_cell",
        "same_cell_chance",
        "same_cell_gain_over_chance",
        "smoothness_identity_removed",
        "variance_between_tracks",
        "state_in_other_fovs_infection_state",
        "state_given_track_division_state",
    } <= found.keys()
    assert found["state_in_other_fovs_infection_state"].value > 0.6
    assert "displacement_ratio_1_to_5" in numbers(whole, "temporal_smoothness")


def test_false_calls_in_mitosis_by_hand(whole):
    task = next(one for one in whole.evaluation.tasks if one.name == "infection_state")
    said = task.predictions.merge(movie(), on=KEYS, validate="1:1")
    negative = said[~said["label"].astype(bool)]
    rates = negative.assign(called=negative["probability"] >= 0.5).groupby("division_state")["called"].mean()
    found = numbers(whole, "infection_state_confounded")
    assert found["false_infected_in_mitosis"].value == pytest.approx(rates["mitosis"])
    assert found["false_infected_not_in_mitosis"].value == pytest.approx(rates["interphase"])
    excess = found["false_infected_excess_in_mitosis"]
    assert excess.value == pytest.approx(rates["mitosis"] - rates["interphase"])
    assert excess.ci_low < excess.value < excess.ci_high
    assert (excess.unit, excess.n) == ("tracks", negative.groupby("track_id").ngroups)
    infected = said[said["label"].astype(bool)]
    missed = infected.assign(called=infected["probability"] < 0.5).groupby("division_state")["called"].mean()
    assert found["false_uninfected_in_mitosis"].value == pytest.approx(missed["mitosis"])
    assert found["false_uninfected_not_in_mitosis"].value == pytest.approx(missed["interphase"])
    assert "false_infected_in_mitosis_length_alone" in found
    assert not numbers(whole, "division_state_confounded")


def test_a_probe_that_mitosis_fools_is_seen_to_be_fooled():
    cells = movie()
    # Mitotic cells look infected: the sign that the probe learns is theirs as well.
    looks = ((cells["infection_state"] == "infected") | (cells["division_state"] == "mitosis")).to_numpy()
    found = study(cells, informative_features(looks, 4, gap=8.0) + 0.5)
    rates = numbers(found, "infection_state_confounded")
    assert rates["false_infected_in_mitosis"].value > 0.9
    assert rates["false_infected_not_in_mitosis"].value < 0.1
    assert rates["false_infected_excess_in_mitosis"].ci_low > 0.5


def test_a_confounder_that_nobody_annotated_is_refused_when_named_and_passed_over_when_not():
    cells = movie().drop(columns="division_state")
    assert not numbers(study(cells), "infection_state_confounded")
    with pytest.raises(BadInputError, match="stage = dead names a column that is not annotated"):
        study(cells, confounder=Confounder(column="stage", value="dead"))
    none = numbers(
        study(movie(), confounder=Confounder(column="division_state", value="metaphase")),
        "infection_state_confounded",
    )
    missing = none["false_infected_in_metaphase"]
    assert missing.why_missing == "no test cell that is uninfected is annotated as metaphase"
    assert none["false_infected_not_in_metaphase"].value is not None


def test_the_order_of_rows_changes_no_number(whole):
    cells = movie()
    order = np.random.default_rng(0).permutation(len(cells))
    again = study(cells.iloc[order].reset_index(drop=True), features_of(cells)[order], folds=2)
    assert again.evaluation.numbers == whole.evaluation.numbers
