"""Scores by plate, batch and what plates are for: p by drawing ranks, gains by pandas and SciPy."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, ttest_ind

from cell_assets.evaluation.profiling.profile_numbers import profile_numbers
from cell_assets.evaluation.profiling.profile_scores import EVERYONE, PLATE_TASKS, Stratum, scores, strata_of
from cell_assets.evaluation.profiling.profile_study import ProfileStudy, study_profiles
from cell_assets.evaluation.profiling.profile_tasks import RankedTask, Task, rank, treated_only
from cell_assets.evaluation.profiling.well_manifest import BATCH, COMPOUND, MOA, PlateSplit, is_treated
from cell_assets.evaluation.retrieval.profiles import Profiles
from cell_assets.evaluation.retrieval.retrieval import CHANCE, PREVALENCE, Question, retrieve
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


@pytest.mark.parametrize("name", ["mean", "cytosummary"])
@pytest.mark.parametrize("plate", ["P1", "P4", None])
def test_significance_is_of_orders_as_good(
    name: str, plate: str | None, numbers: dict[tuple[str, str, str], NumberDraft]
) -> None:
    """Of replicates, one of 19 is right; of mechanisms, one of 9; plates are lucky apart."""
    place = list(both()).index(name)
    group = "all compounds" if plate is None else f"plate {plate}"
    for task, unit, n_ranked in (
        (Task.REPLICATE_ON_PLATE, COMPOUND, 19),
        (Task.MECHANISM_ON_PLATE, MOA, 9),
    ):
        answers = ranked(task)
        rows = (plate is None) | (answers.known[PLATE] == plate)
        known = answers.known[rows].assign(own=answers.average_precision[rows.to_numpy(bool), place])
        p = []
        for _, of_unit in known.groupby(unit):
            luck = np.random.default_rng(7).integers(1, n_ranked + 1, (100_000, of_unit[PLATE].nunique()))
            p.append(((1 / luck).mean(1) >= of_unit["own"].mean() - 1e-9).mean())
        share = (false_discovery_control(p) < 0.05).mean()
        found = numbers[
            f"{name}/{task.value}",
            f"share_of_{'compounds' if unit == COMPOUND else 'mechanisms'}_significant",
            group,
        ]
        assert (found.value, found.n) == (pytest.approx(share), len(p))


def test_more_is_found_on_several_plates_than_on_one(
    numbers: dict[tuple[str, str, str], NumberDraft],
) -> None:
    def share(group: str) -> float:
        found = numbers["cytosummary/mechanism_on_plate", "share_of_mechanisms_significant", group].value
        assert found is not None
        return found

    assert share("all compounds") > max(share(f"plate P{n}") for n in range(6))


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


def test_plates_follow_each_other_within_a_report(study: ProfileStudy) -> None:
    stated = profile_numbers(study, "cytosummary")
    of_plates = [(one.report, one.split) for one in stated if one.split.startswith("plate ")]
    assert list(dict.fromkeys(of_plates)) == [
        (f"cytosummary/{name}/{task}", f"plate P{plate}")
        for task in ("mechanism_on_plate", "replicate_on_plate")
        for name in ("mean", "cytosummary")
        for plate in range(6)
    ]


def test_gains_pool_profiles_and_welch_tests_means_of_plates() -> None:
    """Three profiles ask on P0, one on P1. Means of plates are .8 and .4, against .3 and .7: they differ by .1, where
    the profiles' means differ by .3. Both have variance .08, so t² = .1² / .08 = 1/8 on 2 degrees of freedom, of which
    p = 1 - sqrt(t² / (2 + t²)) = 1 - 1 / sqrt(17)."""
    known = pd.DataFrame(
        {PLATE: ["P0", "P0", "P0", "P1"], COMPOUND: ["a", "b", "c", "a"], CHANCE: 0.2, PREVALENCE: 0.1}
    )
    precision = np.array([[0.2, 0.9], [0.3, 0.8], [0.4, 0.7], [0.7, 0.4]])
    answers = RankedTask(Task.MECHANISM_OF_PLATES, known, precision, np.zeros((4, 2)))
    _, rival = scores(answers, ["mean", "rival"], 0, [EVERYONE], 0, 100)
    assert rival.gain is not None
    assert rival.mean_average_precision.value == pytest.approx(0.7)
    assert rival.gain.absolute.value == pytest.approx(0.3)
    assert rival.gain.relative.value == pytest.approx(0.75)
    by_plates = next(one for one in rival.gain.welch if one.over == "plates")
    assert by_plates.n == 2
    assert by_plates.p_value == pytest.approx(1 - 1 / np.sqrt(17))


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


def test_a_batch_is_asked_for_where_it_is_not_all_and_its_groups_where_they_are_not_the_batch() -> None:
    wells = stratified_screen()
    task = Task.REPLICATE_ON_PLATE
    assert [one.name for one in strata_of(task, wells) if one.batch is not None] == [
        "batch Stain2",
        "learned plates of batch Stain2",
        "validation plates of batch Stain2",
        "held out plates of batch Stain2",
        "batch Stain5",
    ]
    one_batch = wells.assign(**{BATCH: "Stain2"})
    assert strata_of(task, one_batch) == strata_of(task, wells.drop(columns=BATCH))


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
