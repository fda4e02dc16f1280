"""The study of profiles: real mechanisms as published, made-up screens by hand and scikit-learn, and what lacks."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student
from sklearn.metrics import average_precision_score

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.batch_effect import Among
from cell_assets.evaluation.profiling.mean_profiles import read_plate_profiles, write_given_profiles
from cell_assets.evaluation.profiling.profile_numbers import profile_numbers
from cell_assets.evaluation.profiling.profile_selection import ProfileSelectionParameters, selected
from cell_assets.evaluation.profiling.profile_study import (
    ProfileStudy,
    ProfileStudyParameters,
    study_profiles,
)
from cell_assets.evaluation.profiling.profile_tasks import TREATMENT, Task, rank, treated_only
from cell_assets.evaluation.profiling.well_manifest import (
    COMPOUND,
    COMPOUND_SPLIT,
    DOSE,
    IS_CONTROL,
    MOA,
    is_treated,
    wells_table,
)
from cell_assets.evaluation.profiling.well_representations import Representation
from cell_assets.evaluation.retrieval.cross_fitted import CrossFittedProfiles
from cell_assets.evaluation.retrieval.profiles import Profiles
from cell_assets.imaging.feature_tables.columns import PLATE, WELL
from cell_assets.ledger.records import WellDraft
from cell_assets_tests.evaluation.profiling.screens import N_COMPOUNDS, QUICK, dose_series, profiles, screen
from cell_assets_tests.shared_data import shared_data


@pytest.fixture(scope="module")
def study() -> ProfileStudy:
    """Of means without, and of a rival with an effect of mechanisms."""
    wells = screen()
    return study_profiles({"mean": profiles(wells, 0), "rival": profiles(wells, 1, mechanism=3)}, QUICK)


def test_real_mechanisms_come_out_as_published(tmp_path: Path) -> None:
    path = shared_data("bbbc021_profiles") / "BBBC021_feature_selected_mad_robustize.csv"
    by_plate, batch = {}, {}
    for plate, table in pd.read_csv(path).groupby(PLATE):
        drafts = [
            WellDraft(
                row["Metadata_Well"],
                "compound",
                row["Metadata_Compound"],
                row["Metadata_Concentration"],
                "µM",
                None if row["Metadata_Compound"] == "DMSO" else row["Metadata_moa"],
                row["Metadata_Compound"] == "DMSO",
            )
            for _, row in table.iterrows()
        ]
        folder = tmp_path / str(plate)
        folder.mkdir()
        write_given_profiles(table, str(plate), wells_table(str(plate), drafts, {}, {}), folder)
        by_plate[str(plate)] = read_plate_profiles(folder, Representation.MEAN)
        batch[str(plate)] = str(plate).partition("_")[0]
    wells = selected(by_plate, ProfileSelectionParameters(steps=())).profiles
    assert len(wells) == 632 and len(wells.names) == 189
    found = study_profiles(
        {"mean": wells}, ProfileStudyParameters(batch_of_plate=batch, n_resamples=100, umap=False)
    )
    mechanism = found.score(Task.MECHANISM, "mean")
    assert mechanism.n_queries == 103
    assert mechanism.nearest.value == pytest.approx(94 / 103)
    assert mechanism.mean_average_precision.value == pytest.approx(0.8187, abs=5e-5)
    assert mechanism.prevalence.value == pytest.approx(0.060, abs=5e-4)
    other_week = found.score(Task.MECHANISM_OTHER_BATCH, "mean")
    assert other_week.n_queries == 92
    assert other_week.nearest.value == pytest.approx(68 / 92)
    assert other_week.mean_average_precision.value == pytest.approx(0.731, abs=5e-4)
    assert len(found.without_sister) == 0 and found.without_mechanism == ()
    # No plate has a treatment twice.
    assert found.score(Task.REPLICATE_ON_PLATE, "mean").mean_average_precision.why_missing is not None
    weeks = {(one.among, one.of_what): one for one in found.batch}
    # The weeks are far apart: nine of ten wells are nearest to a well of another treatment of their own week.
    assert weeks[Among.TREATED, "batch"].same.value == pytest.approx(0.90, abs=0.01)


def test_within_a_plate_against_scikit_learn() -> None:
    wells = profiles(screen(), 0, mechanism=1)
    treated = treated_only(wells, is_treated(wells.metadata))
    found = rank(Task.REPLICATE_ON_PLATE, [treated])
    assert len(found.known) == 60
    on_plate = treated.select(treated.metadata[PLATE] == "P1")
    unit = on_plate.features / np.linalg.norm(on_plate.features, axis=1, keepdims=True)
    label = on_plate.metadata[TREATMENT].to_numpy()
    expected = []
    for row in range(len(on_plate)):
        others = np.arange(len(on_plate)) != row
        expected.append(average_precision_score(label[others] == label[row], (unit @ unit[row])[others]))
    own = (found.known[PLATE] == "P1").to_numpy()
    assert found.average_precision[own, 0] == pytest.approx(expected)
    assert set(label[:2]) <= {f"c{n} 1 µM" for n in range(10)}


def test_a_rival_that_shows_mechanisms_gains(study: ProfileStudy) -> None:
    reference, rival = (study.score(Task.MECHANISM, name) for name in ("mean", "rival"))
    assert reference.gain is None and rival.gain is not None
    assert rival.mean_average_precision.value > 0.9
    gain = rival.gain.absolute
    assert gain.value == pytest.approx(
        rival.mean_average_precision.value - reference.mean_average_precision.value
    )
    assert gain.low is not None and gain.low > 0
    assert rival.gain.relative.value == pytest.approx(gain.value / reference.mean_average_precision.value)
    assert reference.prevalence.value == pytest.approx(1 / 9)
    assert all(test.p_value is not None and test.p_value < 0.01 for test in rival.gain.welch)
    found = {one.representation: one for one in study.found}
    assert found["rival"].share.value == pytest.approx(
        (found["rival"].table["corrected_p_value"] < 0.05).mean()
    )


def test_profiles_that_depend_on_who_asks_are_asked_everything_and_laid_out_nowhere() -> None:
    wells = screen()
    rival, other = profiles(wells, 1, mechanism=3), profiles(wells, 2)
    asks_rival = {f"c{n}": 0 for n in range(N_COMPOUNDS)}
    folds = CrossFittedProfiles((rival, other), COMPOUND, asks_rival)
    found = study_profiles(
        {"mean": profiles(wells, 0), "rival": rival, "folds": folds}, QUICK.model_copy(update={"umap": True})
    )
    by_name = {
        name: [one for one in found.scores if one.representation == name] for name in ("rival", "folds")
    }
    for one, same in zip(by_name["rival"], by_name["folds"], strict=True):
        assert (one.mean_average_precision, one.gain) == (same.mean_average_precision, same.gain)
    shares = {one.representation: one.share for one in found.found}
    assert shares["rival"] == shares["folds"] != shares["mean"]
    assert (
        len([one for one in found.batch if one.representation == "folds" and one.same.value is not None]) == 2
    )
    laid_out = {one.representation: one for one in found.umaps}
    assert laid_out["rival"].xy is not None and laid_out["folds"].xy is None
    assert "2 models each lay wells out in a space of their own" in laid_out["folds"].why_missing
    asks_noise = CrossFittedProfiles((rival, other), COMPOUND, dict.fromkeys(asks_rival, 1))
    lost = study_profiles({"mean": profiles(wells, 0), "folds": asks_noise}, QUICK).score(
        Task.MECHANISM, "folds"
    )
    assert lost.mean_average_precision.value < 0.5 < by_name["rival"][0].mean_average_precision.value


def test_welch_by_its_formula(study: ProfileStudy) -> None:
    treated = [
        treated_only(one, is_treated(one.metadata))
        for one in (profiles(screen(), 0), profiles(screen(), 1, mechanism=3))
    ]
    ranked = rank(Task.REPLICATE_OTHER_PLATE, treated)
    means = pd.DataFrame(ranked.average_precision).groupby(ranked.known[COMPOUND].to_numpy(str)).mean()
    share = means.var(ddof=1) / N_COMPOUNDS
    statistic = (means[1].mean() - means[0].mean()) / np.sqrt(share.sum())
    freedom = share.sum() ** 2 / (share**2 / (N_COMPOUNDS - 1)).sum()
    gain = study.score(Task.REPLICATE_OTHER_PLATE, "rival").gain
    assert gain is not None
    test = {one.over: one for one in gain.welch}["compounds"]
    assert test.n == N_COMPOUNDS
    assert test.p_value == pytest.approx(2 * student.sf(abs(statistic), freedom))


def test_splits_restrict_who_asks_and_not_who_is_ranked(study: ProfileStudy) -> None:
    wells = profiles(screen(), 1, mechanism=3)
    ranked = rank(Task.MECHANISM_OF_PLATES, [treated_only(wells, is_treated(wells.metadata))])
    ask = (ranked.known[COMPOUND_SPLIT] == "test") & (ranked.known[PLATE] == "P2")
    by_name = {
        one.stratum.name: one
        for one in study.scores
        if one.task is Task.MECHANISM_OF_PLATES and one.representation == "rival"
    }
    found = by_name["test compounds on held out plates"]
    assert found.n_queries == int(ask.sum()) == 4
    assert found.mean_average_precision.value == pytest.approx(ranked.average_precision[ask, 0].mean())
    # 9 compounds of 3 plates may be compared, 3 of these profiles are of the own mechanism.
    assert found.prevalence.value == pytest.approx(3 / 27)
    assert by_name["learned plates"].n_queries == 20
    assert by_name["val compounds on learned plates"].mean_average_precision.why_missing == (
        "no profile of val compounds on learned plates has a partner"
    )
    assert {one.stratum.name for one in study.scores if one.task is Task.MECHANISM} == {
        "all compounds",
        "train compounds",
        "val compounds",
        "test compounds",
    }


def test_learned_and_held_out_doses_are_scored_apart() -> None:
    wells = dose_series()
    mean, strong = profiles(wells, 0), profiles(wells, 1, mechanism=6)
    # A rival that shows mechanisms at the higher dose alone.
    low = (wells[DOSE] == 0.1).to_numpy()[:, None]
    rival = Profiles(wells, np.where(low, mean.features, strong.features), mean.names)
    found = study_profiles({"mean": mean, "rival": rival}, QUICK)
    assert found.holds_doses_out
    own = {
        (one.task, one.stratum.name): one
        for one in found.scores
        if one.representation == "rival" and one.stratum.doses is not None
    }
    assert {task for task, _ in own} == {
        Task.MECHANISM, Task.MECHANISM_WITHIN_DOSES, Task.REPLICATE_ON_PLATE, Task.REPLICATE_OTHER_PLATE,
    }  # fmt: skip
    learned, held = (own[Task.MECHANISM_WITHIN_DOSES, f"{which} doses"] for which in ("learned", "held out"))
    assert learned.n_queries == held.n_queries == N_COMPOUNDS
    # Of ten treatments of its dose nine are of another compound, and one is right.
    assert learned.prevalence.value == held.prevalence.value == pytest.approx(1 / 9)
    assert learned.mean_average_precision.value > 0.95
    assert learned.gain is not None and held.gain is not None
    assert learned.gain.absolute.low is not None and learned.gain.absolute.low > 0.1
    assert held.gain.absolute.value == 0
    against_all = own[Task.MECHANISM, "held out doses"]
    assert against_all.prevalence.value == pytest.approx(2 / 18)
    # Profiles at the lower dose are the same, and so any gain is of those that they are ranked against.
    ranked = rank(Task.MECHANISM, [treated_only(one, is_treated(wells)) for one in (mean, rival)])
    lower = (ranked.known[DOSE] == 0.1).to_numpy()
    assert against_all.gain is not None
    assert against_all.gain.absolute.value == pytest.approx(np.diff(ranked.average_precision[lower]).mean())
    wells_asking = own[Task.REPLICATE_ON_PLATE, "test compounds at held out doses"]
    assert wells_asking.n_queries == 4 * 2 * 2
    # On its plate a well finds one other of its treatment among 39.
    assert wells_asking.prevalence.value == pytest.approx(1 / 39)
    numbers = {(draft.name, draft.split) for draft in profile_numbers(found, "cytosummary")}
    assert ("gain_over_mean", "train compounds at held out doses") in numbers


def test_where_every_dose_is_learned_from_there_is_nothing_apart(study: ProfileStudy) -> None:
    assert not study.holds_doses_out
    assert all(one.stratum.doses is None for one in study.scores)
    why = study.score(Task.MECHANISM_WITHIN_DOSES, "mean").mean_average_precision.why_missing
    assert why == "nobody says that some doses were not learned from"


def test_neighbours_show_a_plate_effect_and_not_what_is_no_effect() -> None:
    wells = screen()
    one = study_profiles({"mean": profiles(wells, 0), "shifted": profiles(wells, 1, plate=20)}, QUICK)
    scores = {(score.representation, score.among): score for score in one.batch}
    assert scores["shifted", Among.TREATED].same.value == 1
    assert scores["shifted", Among.CONTROLS].same.value == 1
    # 18 of 54 wells of other treatments, 3 of 11 other controls, are of the own plate.
    assert scores["mean", Among.TREATED].expected.value == pytest.approx(18 / 54)
    assert scores["mean", Among.CONTROLS].expected.value == pytest.approx(3 / 11)
    assert scores["mean", Among.TREATED].same.value == pytest.approx(1 / 3, abs=0.2)


def test_what_cannot_be_asked_says_why_and_stays_in_the_numbers() -> None:
    wells = screen(1)
    wells[MOA] = wells[MOA].mask(wells[COMPOUND] == "c9")
    wells[MOA] = wells[MOA].mask(wells[COMPOUND].isin(["c0", "c1"]))
    one = study_profiles({"mean": profiles(wells, 0), "rival": profiles(wells, 1)}, QUICK)
    assert one.without_mechanism == ("c0", "c1", "c9")
    assert one.without_sister.to_dict("list") == {COMPOUND: ["c8"], MOA: ["m4"]}
    numbers = {
        (draft.report, draft.name, draft.split): draft for draft in profile_numbers(one, "cytosummary")
    }
    assert len(numbers) == len(profile_numbers(one, "cytosummary"))
    for task in Task:
        for name in ("mean", "rival"):
            assert (f"cytosummary/{name}/{task.value}", "mean_average_precision", "all compounds") in numbers
    other = numbers["cytosummary/rival/mechanism_other_plate", "gain_over_mean", "all compounds"]
    assert (
        other.value is None
        and other.why_missing is not None
        and "no profile has another" in other.why_missing
    )
    batch = numbers["cytosummary/mean/mechanism_other_batch", "mean_average_precision", "all compounds"]
    assert batch.why_missing == "nobody says of which batch a plate is"
    plate = numbers["cytosummary/mean/batch_effect", "nearest_of_same_plate", "control wells"]
    assert plate.value is None


def test_equal_profiles_gain_nothing() -> None:
    wells = screen()
    same = profiles(wells, 0, mechanism=1)
    one = study_profiles({"mean": same, "copy": same}, QUICK)
    gain = one.score(Task.REPLICATE_OTHER_PLATE, "copy").gain
    assert gain is not None
    assert (gain.absolute.value, gain.absolute.low, gain.absolute.high) == (0, 0, 0)
    assert all(test.p_value == pytest.approx(1) for test in gain.welch)


def test_without_variance_there_is_no_test() -> None:
    wells = screen()
    perfect = profiles(wells, 0, mechanism=1000)
    one = study_profiles({"mean": perfect, "copy": perfect}, QUICK)
    gain = one.score(Task.MECHANISM, "copy").gain
    assert gain is not None
    assert {test.why_missing for test in gain.welch} == {"average precision does not vary between compounds"}


def test_umap_lays_out_every_well_and_the_same_again() -> None:
    wells = screen()
    parameters = QUICK.model_copy(update={"umap": True})
    one, again = (
        study_profiles({"mean": profiles(wells, 1, mechanism=3)}, parameters).umaps[0].xy for _ in range(2)
    )
    assert one is not None and again is not None and one.shape == (len(wells), 2)
    np.testing.assert_array_equal(one, again)


def test_only_wells_of_all_representations_are_studied_in_any_order() -> None:
    wells = screen()
    mean, rival = profiles(wells, 0), profiles(wells, 1, mechanism=3)
    random = np.random.default_rng(0)
    order = random.permutation(len(wells))
    shuffled = Profiles(rival.metadata.iloc[order].reset_index(drop=True), rival.features[order], rival.names)
    lacks = (mean.metadata[WELL] == "A3") & (mean.metadata[PLATE] == "P0")
    one = study_profiles({"mean": mean.select(~lacks), "rival": shuffled}, QUICK)
    assert one.left_out == {"mean": 0, "rival": 1} and len(one.wells) == len(wells) - 1
    other = study_profiles({"mean": mean.select(~lacks), "rival": rival.select(~lacks)}, QUICK)
    assert profile_numbers(one, "cytosummary") == profile_numbers(other, "cytosummary")


def test_a_simulation_is_named_in_every_number() -> None:
    wells = screen()
    parameters = QUICK.model_copy(update={"simulated": True})
    numbers = profile_numbers(study_profiles({"mean": profiles(wells, 0)}, parameters), "cytosummary")
    assert all(draft.split.endswith("(simulated)") for draft in numbers)


def test_what_cannot_be_studied_is_named() -> None:
    wells = screen()
    mean = profiles(wells, 0)
    with pytest.raises(BadInputError, match="reference mean is none of the representations rival"):
        study_profiles({"rival": mean}, QUICK)
    twice = Profiles(wells.assign(**{WELL: "A1"}), mean.features, mean.names)
    with pytest.raises(BadInputError, match="well A1 of plate P0 has several mean profiles"):
        study_profiles({"mean": twice}, QUICK)
    with pytest.raises(BadInputError, match="plate P1 has no batch"):
        study_profiles({"mean": mean}, QUICK.model_copy(update={"batch_of_plate": {"P0": "w1"}}))
    wells.loc[0, MOA] = "m9"
    with pytest.raises(BadInputError, match="compound c0 has the mechanisms m0, m9"):
        study_profiles({"mean": profiles(wells, 0)}, QUICK)
    with pytest.raises(BadInputError, match="no well has a compound that is no control"):
        study_profiles({"mean": mean.select(wells[IS_CONTROL])}, QUICK)
    with pytest.raises(BadInputError, match="share no well"):
        study_profiles(
            {"mean": mean.select(wells[PLATE] == "P0"), "x": mean.select(wells[PLATE] == "P1")}, QUICK
        )
