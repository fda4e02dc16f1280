from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cell_assets.errors import BadInputError
from cell_assets.evaluation.embedding_study import EmbeddedCells, EmbeddingStudy, study_embeddings
from cell_assets.evaluation.independent_study import IndependentCells, study_independent
from cell_assets.evaluation.leakage import refuse_copies
from cell_assets.evaluation.onset_scores import study_onsets
from cell_assets.evaluation.scoring import rescore
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.state_calls import Direction, StateCalls
from cell_assets.evaluation.study_parameters import StudyParameters
from cell_assets.ledger.records import NumberDraft
from cell_assets_tests.evaluation.movies import infection_movie, informative_features

COLUMN = "infection_state"
KEYS = ["plate", "fov_name", "track_id", "t"]
DENV = "virus_DENV_5_MOI"
OTHER = "dynaclr/infection_state_independent"


def embedded(cells: pd.DataFrame, seed: int = 0, gap: float = 6.0) -> EmbeddedCells:
    features = informative_features(
        (cells[COLUMN] == "infected").to_numpy(), n_features=4, gap=gap, seed=seed
    )
    plain = cells.drop(columns=COLUMN).reset_index(drop=True).assign(length_um=np.nan)
    return EmbeddedCells(features + 0.5, plain, features[:, :2], None)


def learned(cells: pd.DataFrame, interval_min: float | None = 30.0, gap: float = 6.0) -> EmbeddingStudy:
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
    )


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


def test_numbers_are_of_the_independent_plates_and_beside_the_own(whole: EmbeddingStudy) -> None:
    numbers = stated(whole)
    assert {one.split for one in whole.independent.numbers} == {"independent plates"}
    assert whole.evaluation.numbers[-len(numbers) :] == whole.independent.numbers
    assert {one.report.partition("/")[2] for one in whole.independent.numbers} == {
        f"infection_state_independent{part}" for part in ("", "_over_time", "_onset", "_fraction")
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
    assert set(tracks.loc[tracks["split"] == "val", "plate"]) == {"P1"}
    assert set(tracks.loc[tracks["split"] == "test", "plate"]) == {"P9"}
    turning = tracks[tracks["annotated_course"] == "turns"]
    hours = (turning["onset_time"] - turning["annotated_onset_time"]).abs().fillna(np.inf)
    val, test = (hours[turning["split"] == split].to_numpy() for split in ("val", "test"))
    # The ceil(0.9 (n + 1))-th smallest error.
    radius = np.sort(val)[int(np.ceil(0.9 * (len(val) + 1))) - 1]
    assert (onsets.radius.value, onsets.error_unit) == (radius, "h")
    assert onsets.coverage.value == np.mean(test <= radius)
    numbers = stated(whole)
    assert numbers["infection_state_independent_onset", "interval_half_width_h"].value == radius
    assert numbers["infection_state_independent_onset", "interval_coverage"].n == len(test)


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
    # Nine val errors of 0 frames but one of 1: the ceil(0.9 * 10) = 9th smallest is 1 frame, 0.5 h.
    calls = calls_of([(4, 4)] * 8 + [(4, 5)], [(4, 4), (3, 3), (4, 5), (4, None)])
    in_time = study_onsets(calls, 0, 100, errors_in_time=True)
    assert (in_time.radius.value, in_time.radius.n_units, in_time.error_unit) == (0.5, 9, "h")
    # Errors 0, 0, one frame of 2 h, never: half are within 0.5 h; in frames three of four would be.
    assert (in_time.coverage.value, in_time.coverage.n_units) == (0.5, 4)
    assert study_onsets(calls, 0, 100).coverage.value == 0.75
    assert in_time.seen.value == 0.75
    first = in_time.tracks[in_time.tracks["plate"] == "P9"].iloc[0]
    assert (first["onset_low"], first["onset_high"]) == (7.5, 8.5)


def test_what_cannot_be_said_says_why(small: tuple[EmbeddingStudy, pd.DataFrame]) -> None:
    study, states = small
    _, unannotated = stranger(24, annotated=False)
    numbers = stated(study_independent(study, states, unannotated))
    why = numbers["infection_state_independent", "accuracy"].why_missing
    assert why == "nobody annotated infection_state on the independent plates"
    assert numbers["infection_state_independent_fraction", f"infected_{DENV}_at_15_h"].value > 0.9
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
