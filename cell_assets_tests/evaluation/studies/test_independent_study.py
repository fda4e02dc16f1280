from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cell_assets.errors import BadInputError
from cell_assets.evaluation.features.cell_features import CellFeatures
from cell_assets.evaluation.leakage import refuse_copies
from cell_assets.evaluation.scores.predicted_states import PredictedStates, PredictedStatesRecord
from cell_assets.evaluation.scores.scoring import rescore
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.states.onset_calibration import thinned_errors
from cell_assets.evaluation.states.onset_scores import study_onsets
from cell_assets.evaluation.states.state_calls import Direction, StateCalls
from cell_assets.evaluation.studies.embedding_study import EmbeddedCells, EmbeddingStudy, study_embeddings
from cell_assets.evaluation.studies.independent_rivals import measured_otherwise, ratios_of_both
from cell_assets.evaluation.studies.independent_study import IndependentCells, study_independent
from cell_assets.evaluation.studies.study_parameters import StudyParameters
from cell_assets.imaging.features.parameters import FeatureParameters
from cell_assets.imaging.features.plate_features import FEATURES_JSON, FeaturesRecord
from cell_assets.ledger.records import NumberDraft
from cell_assets.reporting.independent_report import independent_figures
from cell_assets_tests.evaluation.movies import infection_movie, informative_features

COLUMN = "infection_state"
KEYS = ["plate", "fov_name", "track_id", "t"]
DENV = "virus_DENV_5_MOI"
TASK = "infection_state_independent"
OTHER = f"dynaclr/{TASK}"


def embedded(cells: pd.DataFrame, seed: int = 0, gap: float = 6.0) -> EmbeddedCells:
    features = informative_features(
        (cells[COLUMN] == "infected").to_numpy(), n_features=4, gap=gap, seed=seed
    )
    plain = cells.drop(columns=COLUMN).reset_index(drop=True).assign(length_um=np.nan)
    return EmbeddedCells(features + 0.5, plain, features[:, :2], None)


def learned(
    cells: pd.DataFrame,
    interval_min: float | None = 30.0,
    gap: float = 6.0,
    features: CellFeatures | None = None,
    predicted: PredictedStates | None = None,
) -> EmbeddingStudy:
    """What a report states of the plates that the model was trained on."""
    return study_embeddings(
        embedded(cells, gap=gap),
        cells[[*KEYS, COLUMN]],
        tracks=cells,
        method="dynaclr",
        split_unit=SplitUnit.LINEAGE,
        interval_min=interval_min,
        simulated=False,
        parameters=StudyParameters(n_resamples=100),
        features=features,
        predicted=predicted,
    )


def ratio_features(
    cells: pd.DataFrame, low: float = 1.0, high: float = 2.0, spread: float = 0.0, unknown: slice = slice(0)
) -> CellFeatures:
    """A sensor about `high` in infected nuclei and `low` in others; not known of `unknown` cell images."""
    ratio = np.where(cells[COLUMN] == "infected", high, low)
    ratio += np.random.default_rng(0).normal(0, spread, len(cells))
    ratio[unknown] = np.nan
    channels = {"Phase": "Phase", "mCherry": "mCherry"}
    return CellFeatures(pd.DataFrame({"Nuclei_Ring_Ratio_mCherry": ratio}), channels)


def segmented(cells: pd.DataFrame, wrong: slice = slice(0)) -> PredictedStates:
    """States as they are annotated, but of `wrong` cells."""
    infected = (cells[COLUMN] == "infected").to_numpy()
    infected[wrong] ^= True
    table = cells[["plate", "fov_name", "track_id", "t", "split"]].assign(
        probability=np.where(infected, 0.9, 0.1), segmented=np.arange(len(cells)) >= 2
    )
    record = PredictedStatesRecord(column=COLUMN, negative="uninfected", positive="infected")
    return PredictedStates(record, table)


def stranger(
    n_lineages: int = 60, interval_min: float | None = 120.0, annotated: bool = True, seed: int = 5
) -> tuple[pd.DataFrame, IndependentCells]:
    """Cells of another plate, filmed four times less often."""
    cells = infection_movie(n_lineages=n_lineages, n_times=7, seed=seed, interval_hours=2.0)
    cells = cells.assign(plate="P9", split="unlisted")
    states = cells[[*KEYS, COLUMN]] if annotated else None
    return cells, IndependentCells(embedded(cells, seed=9), states, interval_min, False)


@pytest.fixture(scope="module")
def own() -> pd.DataFrame:
    return infection_movie(n_lineages=96)


@pytest.fixture(scope="module")
def small() -> tuple[EmbeddingStudy, pd.DataFrame]:
    """A study of few cells, and the states that it was made with."""
    cells = infection_movie(n_lineages=32, n_times=12)
    return learned(cells), cells[[*KEYS, COLUMN]]


@pytest.fixture(scope="module")
def whole(own: pd.DataFrame) -> EmbeddingStudy:
    _, cells = stranger()
    return study_independent(learned(own), own[[*KEYS, COLUMN]], cells)


def stated(found: EmbeddingStudy) -> dict[tuple[str, str], NumberDraft]:
    assert found.independent is not None
    numbers = {(one.report.partition("/")[2], one.name): one for one in found.independent.numbers}
    assert len(numbers) == len(found.independent.numbers)
    return numbers


def test_the_probe_is_the_one_of_the_experiments_own_scores() -> None:
    own = infection_movie(n_lineages=32, n_times=12)
    study = learned(own, gap=1.0)
    test = own[own["split"] == "test"]
    place = np.flatnonzero(own["split"] == "test")
    copied = EmbeddedCells(
        study.embedded.features[place],
        study.embedded.cells.iloc[place].assign(plate="P9", split="unlisted").reset_index(drop=True),
        study.embedded.pca[place],
        None,
    )
    states = test[[*KEYS, COLUMN]].assign(plate="P9")
    found = study_independent(
        study, own[[*KEYS, COLUMN]], IndependentCells(copied, states, 30.0, False)
    ).independent
    assert found is not None
    (task,), before = found.tasks, study.evaluation.tasks[1]
    pd.testing.assert_frame_equal(
        task.predictions.drop(columns="plate"), before.predictions.drop(columns="plate")
    )
    assert 0.5 < before.score("auroc").value < 1
    for score in before.scores:
        assert task.score(score.metric, score.of) == score.estimate
    mine, before = found.dynamics[0], study.dynamics[0]
    called = [one.called.values.tolist() for one in before.fractions]
    assert [one.called.values.tolist() for one in mine.fractions] == called


def test_rivals_are_those_of_the_experiments_own_scores() -> None:
    own = infection_movie(n_lineages=32, n_times=12)
    features = ratio_features(own, spread=0.6, unknown=slice(0, None, 20))
    predicted = segmented(own, wrong=slice(0, None, 5))
    study = learned(own, gap=1.0, features=features, predicted=predicted)
    place = np.flatnonzero(own["split"] == "test")
    test = own.iloc[place].assign(plate="P9", split="independent")
    copied = IndependentCells(
        EmbeddedCells(
            study.embedded.features[place],
            study.embedded.cells.iloc[place].assign(plate="P9", split="unlisted").reset_index(drop=True),
            study.embedded.pca[place],
            None,
        ),
        test[[*KEYS, COLUMN]],
        30.0,
        False,
        features=replace(features, values=features.values.iloc[place].reset_index(drop=True)),
    )
    both = predicted.table.iloc[place].assign(plate="P9", split="independent")
    both = replace(predicted, table=pd.concat([predicted.table, both], ignore_index=True))
    found = study_independent(study, own[[*KEYS, COLUMN]], copied, features, both).independent
    assert found is not None
    (task,), before = found.tasks, study.evaluation.tasks[1]
    for of in ("ratio_mCherry", "state_segmentation"):
        scores = [one for one in before.scores if one.of == of]
        assert len(scores) == 5 + 3
        assert 0.5 < before.score("balanced_accuracy", of).value < 1
        for score in scores:
            assert task.score(score.metric, of) == score.estimate, score.name


def test_a_rivals_threshold_is_put_where_own_cells_put_it() -> None:
    """Own ratios are 1 or 2, and the threshold lies between; those of the other plate are all above it."""
    own = infection_movie(n_lineages=32, n_times=12)
    cells, other = stranger(24)
    features = ratio_features(own)
    study = learned(own, features=features)
    for low, high, expected in ((1.0, 2.0, 1.0), (3.0, 4.0, 0.5)):
        both = replace(other, features=ratio_features(cells, low=low, high=high))
        numbers = stated(study_independent(study, own[[*KEYS, COLUMN]], both, features))
        assert numbers[TASK, "balanced_accuracy_ratio_mCherry"].value == expected
        accuracy = numbers[TASK, "balanced_accuracy"].value
        gain = numbers[TASK, "balanced_accuracy_gain_over_ratio_mCherry"]
        assert gain.value == pytest.approx(accuracy - expected)
        assert gain.split == "independent plates"
    # A threshold tells nothing that the order of ratios does not: this one is perfect on either plate.
    assert numbers[TASK, "auroc_ratio_mCherry"].value == 1.0


def test_an_unknown_ratio_is_the_median_of_own_cells_alone() -> None:
    channels = {"mCherry": "mCherry", "GFP": "GFP", "CFP": "CFP"}
    columns = [f"Nuclei_Ring_Ratio_{name}" for name in channels]
    mine = pd.DataFrame(1.0, index=range(20), columns=columns)
    mine["Nuclei_Ring_Ratio_mCherry"] = [np.nan, *range(1, 20)]
    theirs = pd.DataFrame(
        {
            "Nuclei_Ring_Ratio_CFP": [np.nan, np.nan, *[5.0] * 8],
            "Nuclei_Ring_Ratio_mCherry": [*range(101, 110), np.nan],
        }
    )
    rivals, notes = ratios_of_both(
        CellFeatures(mine, channels), CellFeatures(theirs, {"CFP": "CFP", "mCherry": "mCherry"})
    )
    assert [one.name for one in rivals] == ["ratio_mCherry", "ratio_GFP", "ratio_CFP"]
    # The median of 1 to 19, for own cells and for others, whose own median is 105.
    assert rivals[0].values.tolist() == [10, *range(1, 20), *range(101, 110), 10]
    # The other plate has no GFP, and too few of its cells have a ratio of CFP.
    for rival, n_unknown in ((rivals[1], 10), (rivals[2], 2)):
        assert np.isnan(rival.values[20:]).sum() == n_unknown and not np.isnan(rival.values[:20]).any()
    assert len(notes) == 1 and "mCherry alone: not known of 1 of 10 cell images" in notes[0]


def test_ratios_measured_in_another_way_are_said(tmp_path: Path) -> None:
    def measured(plate: str, **changes: float) -> Path:
        folder = tmp_path / plate
        folder.mkdir()
        record = FeaturesRecord(
            plate=plate, parameters=FeatureParameters(**changes), channels={}, features=(), fovs=()
        )
        (folder / FEATURES_JSON).write_text(record.model_dump_json())
        return folder

    own = {"P1": measured("P1")}
    theirs = {"P8": measured("P8", radial_rings=5), "P9": measured("P9", ring_width_um=2)}
    (note,) = measured_otherwise(own, theirs)
    assert "ratios of P9 were measured with ring_width_um 2 and not 3 as" in note


def test_the_segmentation_is_scored_as_it_is_on_the_other_plate() -> None:
    own = infection_movie(n_lineages=32, n_times=12)
    cells, other = stranger(24)
    theirs = segmented(cells.assign(split="independent"), slice(30))
    both = replace(theirs, table=pd.concat([segmented(own).table, theirs.table]))
    study = learned(own, predicted=both)
    found = study_independent(study, own[[*KEYS, COLUMN]], other, None, both)
    numbers = stated(found)
    infected = (cells[COLUMN] == "infected").to_numpy()
    n_wrong = np.array([infected[:30].sum(), (~infected[:30]).sum()])
    by_hand = (1 - n_wrong / [infected.sum(), (~infected).sum()]).mean()
    rival = numbers[TASK, "balanced_accuracy_state_segmentation"]
    assert rival.value == pytest.approx(by_hand) and rival.split == "independent plates"
    gain = numbers[TASK, "balanced_accuracy_gain_over_state_segmentation"]
    assert gain.value == pytest.approx(numbers[TASK, "balanced_accuracy"].value - by_hand)
    # Of the own test cells it calls every one as it is annotated, with or without the other plate.
    assert found.evaluation.tasks[1].score("balanced_accuracy", "state_segmentation").value == 1.0
    note = f"2 of {len(cells)} independent cells have no label, and were read around their centroid."
    assert any(one.endswith(note) for one in found.independent.notes)
    for name in (rival.name, gain.name):
        again = rescore(found.independent.tasks[0].predictions, name, seed=0, n_resamples=100)
        assert (again.value, again.low, again.high) == tuple(
            getattr(numbers[TASK, name], part) for part in ("value", "ci_low", "ci_high")
        )


def test_a_segmentation_that_learned_from_the_other_plate_is_refused(
    small: tuple[EmbeddingStudy, pd.DataFrame],
) -> None:
    study, states = small
    cells, other = stranger(12)
    with pytest.raises(BadInputError, match="has the split independent and had train when"):
        study_independent(study, states, other, None, segmented(cells.assign(split="train")))


def test_numbers_are_of_the_independent_plates_and_beside_the_own(whole: EmbeddingStudy) -> None:
    numbers = stated(whole)
    assert {one.split for one in whole.independent.numbers} == {"independent plates"}
    assert whole.evaluation.numbers[-len(numbers) :] == whole.independent.numbers
    assert {one.report.partition("/")[2] for one in whole.independent.numbers} == {
        f"infection_state_independent{part}"
        for part in (
            "",
            "_over_time",
            "_over_time_along_tracks",
            "_over_time_corrected",
            "_over_time_along_tracks_corrected",
            "_over_time_annotated",
            "_onset",
            "_fraction",
        )
    }
    accuracy = numbers["infection_state_independent", "accuracy"]
    assert (accuracy.n, accuracy.unit) == (60, "tracks")
    assert accuracy.value > 0.97
    # 95 % have turned by 8 exp(1.645 * 0.25) = 12.1 h, seen every 2 h.
    plateau = numbers["infection_state_independent_over_time", f"plateau_time_h_{DENV}"]
    assert plateau.value == pytest.approx(12.1, abs=2.5)
    covered = numbers["infection_state_independent_over_time", f"intervals_with_annotated_fraction_{DENV}"]
    assert covered.value == 1.0
    assert numbers["infection_state_independent_fraction", f"infected_{DENV}_at_15_h"].value > 0.9
    assert any("P9" in note and "120 min" in note for note in whole.evaluation.notes)


def test_scores_come_out_again_from_predictions_alone(whole: EmbeddingStudy) -> None:
    (task,) = whole.independent.tasks
    scores = [one for one in whole.independent.numbers if one.report == OTHER]
    # What a guess that knows only the class sizes gets is of the rows learned from.
    told = [one for one in scores if one.name not in ("auroc_chance", "accuracy_majority")]
    assert {"accuracy", "f1", "average_precision", "auroc"} <= {one.name for one in told}
    for number in told:
        again = rescore(task.predictions, number.name, seed=0, n_resamples=100)
        assert (again.value, again.low, again.high) == (number.value, number.ci_low, number.ci_high)


def test_onsets_are_compared_in_hours(whole: EmbeddingStudy) -> None:
    onsets = whole.independent.dynamics[0].onsets
    tracks = onsets.tracks
    assert set(tracks.loc[tracks["split"].isin(["train", "val"]), "plate"]) == {"P1"}
    assert set(tracks.loc[tracks["split"] == "test", "plate"]) == {"P9"}
    # The middle of a step of 2 h is at most 1 h from the onset: 0.9 h in 90 % of steps, were the probe never wrong.
    assert onsets.error_unit == "h"
    assert 0.75 <= onsets.radius.value <= 1.5
    assert 0.8 < onsets.coverage.value <= 1
    numbers = stated(whole)
    assert numbers["infection_state_independent_onset", "interval_half_width_h"].value == onsets.radius.value
    assert numbers["infection_state_independent_onset", "interval_coverage"].unit == "lineages"


def calls_of(val: list[tuple[int, int]], test: list[tuple[int, int | None]]) -> StateCalls:
    """Tracks of 8 frames by annotated and called onset (frame): val every 0.5 h on P1, test every 2 h on P9."""
    rows = []
    for split, interval, plate, tracks in (("val", 0.5, "P1", val), ("test", 2.0, "P9", test)):
        for track, (annotated, called) in enumerate(tracks):
            rows += [
                {
                    "plate": plate,
                    "fov_name": "A/1/000",
                    "track_id": track,
                    "t": t,
                    "time": interval * t,
                    "condition": "DENV",
                    "split": split,
                    "annotated": t >= annotated,
                    "probability": 0.95 if called is not None and t >= called else 0.05,
                }
                for t in range(8)
            ]
    frame = pd.DataFrame(rows).astype({"annotated": "boolean"})
    return StateCalls(
        COLUMN, Direction("infected", "mock", 9, 0), frame, "h", "hours since the first frame", 2.0, ()
    )


def test_coverage_in_hours_by_hand() -> None:
    calls = calls_of([(4, 4)] * 9, [(4, 4), (3, 3), (4, 5), (4, None)])
    found = study_onsets(calls, 0, 100, calibrated_at=0.5)
    # Thinned to frames 2 h apart, val tracks show the step that is annotated. Its 20 places are 0.05 to 0.95 h from
    # the middle, and nine tracks take the last.
    assert (found.radius.value, found.radius.n_units, found.error_unit) == (pytest.approx(0.95), 9, "h")
    # As much of a step that was seen right, nothing of one seen a frame late or never.
    assert found.coverage.value == pytest.approx(2 * 0.95 / 4)
    assert study_onsets(calls, 0, 100).coverage.value == 0.5
    assert found.seen.value == 0.75
    first = found.tracks[found.tracks["plate"] == "P9"].iloc[0]
    assert (first["onset_low"], first["onset_high"]) == (pytest.approx(7 - 0.95), pytest.approx(7 + 0.95))


def test_a_thinned_track_that_is_not_seen_to_turn_may_do_so_after_its_last_frame() -> None:
    # Called at frame 5: of frames 0 and 4 alone, neither is called, and the next would be at 4 h, its step from 2 h.
    rows = calls_of([(4, 5)], []).rows
    errors = thinned_errors(rows, 0.5, 4)["error"].to_numpy().reshape(4, -1)
    # Frame 4 shows the annotated onset at 0 to 2 h and the called one 2 h later; the others show both in one step.
    assert errors.mean(axis=1) == pytest.approx([2.0, 0.5, 0.5, 0.5])
    # Not thinned, the step that is called lies one frame behind the one annotated.
    assert thinned_errors(rows, 0.5, 1)["error"].mean() == pytest.approx(0.5)


def test_without_val_tracks_there_is_no_interval_and_the_report_says_why() -> None:
    found = study_onsets(calls_of([], [(4, 4), (3, 3)]), 0, 100, calibrated_at=0.5)
    why = "0 train and val tracks have a known onset, and an interval of 90 % needs at least 9"
    assert (found.radius.why_missing, found.coverage.why_missing) == (why, why)


def test_what_cannot_be_said_says_why(small: tuple[EmbeddingStudy, pd.DataFrame]) -> None:
    study, states = small
    _, unannotated = stranger(24, annotated=False)
    found = study_independent(study, states, unannotated)
    numbers = stated(found)
    why = numbers["infection_state_independent", "accuracy"].why_missing
    assert why == "nobody annotated infection_state on the independent plates"
    assert numbers["infection_state_independent_fraction", f"infected_{DENV}_at_15_h"].value > 0.9
    (task,) = [one for one in found.independent.tasks if one.name == "infection_state_independent"]
    assert len(task.predictions) == len(unannotated.embedded.cells)
    assert task.predictions["probability"].between(0, 1).all() and task.predictions["label"].isna().all()
    assert not task.curves
    _, still = stranger(24, interval_min=None)
    numbers = stated(study_independent(study, states, still))
    assert numbers["infection_state_independent", "accuracy"].value > 0.9
    why = numbers["infection_state_independent_over_time", "plateau_time"].why_missing
    assert why == "the independent plates have a single time point or no time interval"


def test_hours_are_of_each_sets_own_frames_where_no_plate_knows_the_perturbation() -> None:
    own = infection_movie(n_lineages=32, n_times=12).drop(columns="hours_post_perturbation")
    _, cells = stranger(24)
    cells = replace(
        cells,
        embedded=replace(cells.embedded, cells=cells.embedded.cells.drop(columns="hours_post_perturbation")),
    )
    found = study_independent(learned(own), own[[*KEYS, COLUMN]], cells)
    calls = found.independent.dynamics[0].calls
    step = calls.rows.groupby("plate").apply(lambda rows: float((rows["time"] / rows["t"]).max()))
    assert step.to_dict() == {"P1": 0.5, "P9": 2.0}
    assert (calls.time_unit, calls.time_title) == ("h", "hours since the first frame")


def test_row_order_changes_no_number(small: tuple[EmbeddingStudy, pd.DataFrame]) -> None:
    study, states = small
    _, cells = stranger(24)
    order = np.random.default_rng(0).permutation(len(cells.embedded.cells))
    shuffled = EmbeddedCells(
        cells.embedded.features[order],
        cells.embedded.cells.iloc[order].reset_index(drop=True),
        cells.embedded.pca[order],
        None,
    )
    first, again = (
        study_independent(study, states, replace(cells, embedded=one)) for one in (cells.embedded, shuffled)
    )
    assert first.evaluation.numbers == again.evaluation.numbers


def test_own_plates_and_other_checkpoints_are_refused(small: tuple[EmbeddingStudy, pd.DataFrame]) -> None:
    study, states = small
    _, cells = stranger(12)
    renamed = cells.embedded.cells.assign(plate="P1")
    with pytest.raises(BadInputError, match="plate P1 is one of the experiment's own"):
        study_independent(study, states, replace(cells, embedded=replace(cells.embedded, cells=renamed)))
    narrow = replace(cells.embedded, features=cells.embedded.features[:, :3])
    with pytest.raises(BadInputError, match="have 3 features and the experiment's own 4"):
        study_independent(study, states, replace(cells, embedded=narrow))


def test_copies_of_own_pixels_are_refused_by_name() -> None:
    own = {("P1", "A/1/000"): "a", ("P1", "A/2/000"): "b"}
    refuse_copies("E1", own, {("P9", "A/1/000"): "c"})
    with pytest.raises(
        BadInputError, match=r"P9\|B/1/000 shows the same pixels as P1\|A/2/000 of experiment E1"
    ):
        refuse_copies("E1", own, {("P9", "A/1/000"): "c", ("P9", "B/1/000"): "b"})


def test_an_unseen_channel_is_read_around_the_onsets_of_independent_plates(own: pd.DataFrame) -> None:
    study = learned(own)
    study = replace(study, embedded=replace(study.embedded, channels=("Phase",)))
    movie, cells = stranger()
    infected = movie[COLUMN] == "infected"
    hours = movie["hours_post_perturbation"]
    onset = hours.where(infected).groupby(movie["track_id"]).transform("min")
    gfp = 10 + (hours - onset).clip(lower=0).fillna(0)
    table = pd.DataFrame({"Nuclei_Intensity_MeanIntensity_GFP": gfp.to_numpy()})
    cells = replace(cells, features=CellFeatures(table, {"Phase": "Phase", "GFP": "GFP"}))
    found = study_independent(study, own[[*KEYS, COLUMN]], cells)
    (one,) = found.independent.remodelling
    assert (one.channel, one.column) == ("GFP", TASK)
    (curve,) = one.curves
    # In frames of two hours, and where the probe is right of every track.
    assert {-2.0, 0.0, 2.0} <= set(curve.hours)
    for at, mean in zip(curve.hours, curve.means, strict=True):
        assert mean.value == pytest.approx(10 + max(at, 0), abs=0.7)
    numbers = [n for n in found.evaluation.numbers if n.report == f"{OTHER}_remodelling"]
    assert {n.split for n in numbers} == {"independent plates"}
    assert any(figure.name.startswith(f"{TASK}_remodelling") for figure in independent_figures(found))
