"""Scores by plate, batch and what plates are for: copairs itself for significance, pandas and SciPy for gains."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from copairs.map import average_precision, mean_average_precision
from scipy.stats import ttest_ind

from cell_assets.evaluation.profiling.profile_numbers import profile_numbers
from cell_assets.evaluation.profiling.profile_scores import PLATE_TASKS, Stratum
from cell_assets.evaluation.profiling.profile_study import ProfileStudy, study_profiles
from cell_assets.evaluation.profiling.profile_tasks import TREATMENT, RankedTask, Task, rank, treated_only
from cell_assets.evaluation.profiling.significance import share_found
from cell_assets.evaluation.profiling.well_manifest import BATCH, COMPOUND, MOA, PlateSplit, is_treated
from cell_assets.evaluation.retrieval.profiles import Profiles
from cell_assets.evaluation.retrieval.retrieval import Question, retrieve
from cell_assets.evaluation.splits import Split
from cell_assets.imaging.feature_tables.columns import PLATE
from cell_assets.ledger.records import NumberDraft
from cell_assets_tests.evaluation.profiling.screens import QUICK, profiles, screen, stratified_screen

GROUPS = {
    "learned plates": ("P0", "P1"),
    "validation plates": ("P2",),
    "held out plates": ("P3",),
    "out-of-distribution plates": ("P4", "P5"),
    "batch Stain2": ("P0", "P1", "P2", "P3"),
    "batch Stain5": ("P4", "P5"),
    "learned plates of batch Stain2": ("P0", "P1"),
    "validation plates of batch Stain2": ("P2",),
    "held out plates of batch Stain2": ("P3",),
    "out-of-distribution plates of batch Stain5": ("P4", "P5"),
}


def both() -> dict[str, Profiles]:
    """Means with a weak effect of mechanisms, and a rival with a stronger one."""
    wells = stratified_screen()
    return {"mean": profiles(wells, 0, mechanism=0.5), "cytosummary": profiles(wells, 1, mechanism=0.7)}


@pytest.fixture(scope="module")
def study() -> ProfileStudy:
    return study_profiles(both(), QUICK)


@pytest.fixture(scope="module")
def numbers(study: ProfileStudy) -> dict[tuple[str, str, str], NumberDraft]:
    stated = profile_numbers(study, "cytosummary")
    found = {(one.report.removeprefix("cytosummary/"), one.name, one.split): one for one in stated}
    assert len(found) == len(stated)
    return found


def ranked(task: Task) -> RankedTask:
    wells = list(both().values())
    return rank(task, [treated_only(one, is_treated(one.metadata)) for one in wells])


def by_copairs(
    known: pd.DataFrame, features: np.ndarray, label: str, apart: list[str], unit: str, nulls: Path
) -> float:
    """Share of units whose corrected p is below 0.05, by copairs alone."""
    found = average_precision(
        known,
        features,
        pos_sameby=[label],
        pos_diffby=apart,
        neg_sameby=[],
        neg_diffby=[label, *apart],
        progress_bar=False,
    )
    tested = mean_average_precision(
        found, sameby=[unit], null_size=10_000, threshold=0.05, seed=0, progress_bar=False, cache_dir=nulls
    )
    return float(tested["below_corrected_p"].mean())


@pytest.mark.parametrize("name", ["mean", "cytosummary"])
@pytest.mark.parametrize("plate", ["P1", "P4"])
def test_significance_on_a_plate_is_that_of_copairs(
    name: str, plate: str, numbers: dict[tuple[str, str, str], NumberDraft], tmp_path: Path
) -> None:
    wells = both()[name]
    own = treated_only(wells, is_treated(wells.metadata) & (wells.metadata[PLATE] == plate).to_numpy(bool))
    of_wells = by_copairs(own.metadata, own.features, TREATMENT, [], COMPOUND, tmp_path / "wells")
    found = numbers[f"{name}/replicate_on_plate", "share_of_compounds_significant", f"plate {plate}"]
    assert (found.value, found.n, found.unit) == (pytest.approx(of_wells), 10, "compounds")
    medians = pd.DataFrame(own.features).groupby(own.metadata[COMPOUND].to_numpy(str)).median()
    known = pd.DataFrame({COMPOUND: medians.index, MOA: [f"m{int(one[1:]) // 2}" for one in medians.index]})
    of_treatments = by_copairs(known, medians.to_numpy(), MOA, [COMPOUND], MOA, tmp_path / "treatments")
    found = numbers[f"{name}/mechanism_on_plate", "share_of_mechanisms_significant", f"plate {plate}"]
    assert (found.value, found.n, found.unit) == (pytest.approx(of_treatments), 5, "mechanisms")


def test_significance_over_all_plates_is_that_of_copairs(
    numbers: dict[tuple[str, str, str], NumberDraft], tmp_path: Path
) -> None:
    """Within plates, all plates' queries together are tested by compound."""
    for place, name in enumerate(both()):
        answers = ranked(Task.REPLICATE_ON_PLATE)
        queries = answers.known.assign(
            n_pos_pairs=1,
            n_total_pairs=19,
            average_precision=answers.average_precision[:, place],
            normalized_average_precision=0.0,
        )
        tested = mean_average_precision(
            queries, sameby=[COMPOUND], null_size=10_000, threshold=0.05, seed=0, progress_bar=False,
            cache_dir=tmp_path,
        )  # fmt: skip
        found = numbers[f"{name}/replicate_on_plate", "share_of_compounds_significant", "all compounds"]
        assert found.value == pytest.approx(tested["below_corrected_p"].mean())


def test_what_is_found_is_told_by_corrected_p_alone() -> None:
    table = pd.DataFrame(
        {
            COMPOUND: [f"c{n}" for n in range(5)],
            "p_value": [0.001, 0.03, 0.04, 0.2, 0.9],
            "corrected_p_value": [0.005, 0.04, 0.06, 0.25, 0.9],
        }
    )
    found = share_found(table, COMPOUND, seed=0, n_resamples=100)
    assert (found.value, found.n_units) == (2 / 5, 5)


def test_shares_tell_representations_and_plates_apart(study: ProfileStudy) -> None:
    shares = {(one.task, one.representation, one.plate): one.significance.share.value for one in study.plates}
    assert len(set(shares.values())) > 3


@pytest.mark.parametrize("task", PLATE_TASKS)
def test_gains_by_plates_and_batches_by_hand(
    task: Task, numbers: dict[tuple[str, str, str], NumberDraft]
) -> None:
    answers = ranked(task)
    about = f"cytosummary/{task.value}"
    plates = answers.known[PLATE].astype(str)
    for group, of_group in GROUPS.items():
        rows = plates.isin(of_group).to_numpy()
        mean, own = answers.average_precision[rows].T
        assert numbers[f"mean/{task.value}", "mean_average_precision", group].value == pytest.approx(
            mean.mean()
        )
        assert numbers[about, "mean_average_precision", group].value == pytest.approx(own.mean())
        gain = own.mean() - mean.mean()
        assert numbers[about, "gain_over_mean", group].value == pytest.approx(gain)
        assert numbers[about, "relative_gain_over_mean", group].value == pytest.approx(gain / mean.mean())
        of_plates = pd.DataFrame({"own": own, "mean": mean}).groupby(plates[rows].to_numpy(str)).mean()
        test = numbers[about, "welch_p_over_mean_by_plates", group]
        if len(of_group) == 1:
            assert (test.value, test.why_missing) == (None, "1 plates are too few for a test")
        else:
            expected = ttest_ind(of_plates["own"], of_plates["mean"], equal_var=False).pvalue
            assert test.value == pytest.approx(expected)
            assert (test.n, test.unit) == (len(of_group), "plates")


def test_each_plate_is_stated_with_what_is_gained_there(
    numbers: dict[tuple[str, str, str], NumberDraft],
) -> None:
    answers = ranked(Task.MECHANISM_ON_PLATE)
    for plate in ("P0", "P5"):
        rows = (answers.known[PLATE] == plate).to_numpy(bool)
        mean, own = answers.average_precision[rows].T
        about, of_plate = "cytosummary/mechanism_on_plate", f"plate {plate}"
        assert numbers[about, "mean_average_precision", of_plate].value == pytest.approx(own.mean())
        relative = numbers[about, "relative_gain_over_mean", of_plate].value
        assert relative == pytest.approx((own.mean() - mean.mean()) / mean.mean())
        # One treatment is one profile here, and so Welch's test is that of the profiles themselves.
        expected = ttest_ind(own, mean, equal_var=False).pvalue
        assert numbers[about, "welch_p_over_mean_by_compounds", of_plate].value == pytest.approx(expected)
        assert (about, "welch_p_over_mean_by_plates", of_plate) not in numbers


def test_compounds_are_crossed_with_all_four_groups_of_plates(
    study: ProfileStudy, numbers: dict[tuple[str, str, str], NumberDraft]
) -> None:
    answers = ranked(Task.REPLICATE_ON_PLATE)
    for split in Split:
        compounds = set(study.wells.loc[study.wells["Metadata_CompoundSplit"] == split.value, COMPOUND])
        for kind in PlateSplit:
            group = f"{split} compounds on {kind} plates"
            plates = GROUPS[f"{kind} plates"]
            rows = answers.known[PLATE].isin(plates) & answers.known[COMPOUND].isin(compounds)
            found = numbers["cytosummary/replicate_on_plate", "mean_average_precision", group]
            assert found.value == pytest.approx(answers.average_precision[rows.to_numpy(bool), 1].mean())


def test_groups_that_no_plate_is_in_are_not_asked_for() -> None:
    wells = screen()
    found = study_profiles({"mean": profiles(wells, 0)}, QUICK)
    kinds = {one.stratum.plates for one in found.scores}
    assert kinds == {None, PlateSplit.LEARNED, PlateSplit.HELD_OUT}
    assert all(one.stratum.batch is None for one in found.scores)


def test_strata_are_named_by_what_they_leave_out() -> None:
    assert Stratum(batch="Stain2").name == "batch Stain2"
    assert Stratum(plates=PlateSplit.VALIDATION, batch="Stain2").name == "validation plates of batch Stain2"
    everyone = stratified_screen()
    rows = Stratum(plates=PlateSplit.OUT_OF_DISTRIBUTION, batch="Stain5").rows(everyone)
    assert set(everyone.loc[rows, PLATE]) == {"P4", "P5"} and rows.sum() == 48
    assert not Stratum(batch="Stain2").rows(everyone.assign(**{BATCH: "Stain5"})).any()


def test_p_does_not_depend_on_what_was_tested_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """copairs keeps random orders at home, by their lengths alone."""
    wells = profiles(screen(1).head(20), 0, mechanism=0.5)
    question = Question(MOA, (COMPOUND,), COMPOUND)
    uneven = wells.select(np.arange(20) != 19)
    monkeypatch.setenv("HOME", str(tmp_path / "new"))
    alone = retrieve(uneven, question, n_resamples=100).by_unit
    monkeypatch.setenv("HOME", str(tmp_path / "used"))
    retrieve(wells.select(np.arange(20) % 10 > 3), question, n_resamples=100)
    retrieve(wells, question, n_resamples=100)
    pd.testing.assert_frame_equal(alone, retrieve(uneven, question, n_resamples=100).by_unit)
