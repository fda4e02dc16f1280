"""States that a rival predicted itself: scored as they are, beside the embedding's probe, on the same rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, roc_auc_score

from cell_assets.errors import BadInputError, NotFoundError
from cell_assets.evaluation.scores.predicted_states import (
    PREDICTED_COLUMNS,
    STATE_SEGMENTATION,
    PredictedStates,
    PredictedStatesRecord,
    given_predictions,
    read_predicted_states,
    write_predicted_states,
)
from cell_assets.evaluation.scores.scoring import rescore
from cell_assets.evaluation.scores.tasks import column_labels
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.studies.evaluate import (
    EmbeddingEvaluation,
    EvaluationSettings,
    evaluate_embedding,
)
from cell_assets_tests.evaluation.movies import informative_features, track_table

SETTINGS = EvaluationSettings(
    method="dynaclr",
    split_unit=SplitUnit.TRACK,
    interval_min=5.0,
    simulated=False,
    n_resamples=100,
    max_lag=4,
)
RECORD = PredictedStatesRecord(column="infection_state", negative="uninfected", positive="infected")


def predicted(cells: pd.DataFrame, record: PredictedStatesRecord = RECORD, seed: int = 0) -> PredictedStates:
    """Probabilities that know something, of the cells in another order."""
    infected = (cells["infection_state"] == "infected").to_numpy()
    noise = np.random.default_rng(seed).normal(size=len(cells))
    probability = 1 / (1 + np.exp(-(np.where(infected, 0.8, -0.8) + noise)))
    table = cells.assign(probability=probability, segmented=cells["t"] > 0)[list(PREDICTED_COLUMNS)]
    return PredictedStates(record, table.sample(frac=1, random_state=1).reset_index(drop=True))


def evaluated(cells: pd.DataFrame, states: PredictedStates) -> EmbeddingEvaluation:
    features = informative_features((cells["infection_state"] == "infected").to_numpy(), gap=1.0)
    tasks = [
        column_labels(cells, "infection_state", "infected", "uninfected"),
        column_labels(cells.assign(half=np.where(cells["t"] % 2, "odd", "even")), "half", "odd", "even"),
    ]
    given = given_predictions(states, cells, tasks)
    assert list(given) == ["infection_state"]
    return evaluate_embedding(features, cells, tasks, SETTINGS, given=given)


def test_it_is_scored_as_it_is_on_the_test_rows() -> None:
    cells = track_table()
    states = predicted(cells)
    task = evaluated(cells, states).tasks[0]
    test = cells[cells["split"] == "test"].merge(states.table, on=["plate", "fov_name", "track_id", "t"])
    truth, probability = test["infection_state"] == "infected", test["probability"]
    for metric, value in (
        ("average_precision", average_precision_score(truth, probability)),
        ("auroc", roc_auc_score(truth, probability)),
        ("accuracy", accuracy_score(truth, probability >= 0.5)),
    ):
        assert task.score(metric, STATE_SEGMENTATION).value == pytest.approx(value), metric
        assert task.score(metric, STATE_SEGMENTATION).low is not None
    assert [curve.of for curve in task.curves] == ["embedding", STATE_SEGMENTATION]
    n_first = int((test["t"] == 0).sum())
    note = f"{n_first} of {len(test)} test cells have no label, and were read around their centroid."
    assert any(one.endswith(note) and "as it is, without a probe" in one for one in task.notes)


def test_the_gain_is_paired_and_every_number_comes_out_of_the_predictions_again() -> None:
    cells = track_table()
    result = evaluated(cells, predicted(cells))
    task = result.tasks[0]
    for metric in ("accuracy", "average_precision"):
        gain = task.score(f"{metric}_gain_over", STATE_SEGMENTATION)
        both = task.score(metric), task.score(metric, STATE_SEGMENTATION)
        assert gain.value == pytest.approx(both[0].value - both[1].value)
        assert gain.low < gain.value < gain.high
        # Paired: narrower than what two independent intervals would leave.
        assert gain.high - gain.low < sum(one.high - one.low for one in both)
    names = [score.name for score in task.scores if STATE_SEGMENTATION in score.name]
    assert len(names) == 5 + 3
    for score in task.scores:
        if score.of == STATE_SEGMENTATION:
            again = rescore(
                task.predictions, score.name, seed=SETTINGS.seed, n_resamples=SETTINGS.n_resamples
            )
            assert again == score.estimate, score.name
    with pytest.raises(NotFoundError):
        rescore(task.predictions, "accuracy_gain_over_nobody", seed=0, n_resamples=100)
    # The other task has no such rival.
    assert {score.of for score in result.tasks[1].scores} == {"embedding", "chance", "majority"}


def test_the_other_state_has_the_other_probability() -> None:
    cells = track_table()
    states = predicted(cells)
    turned = PredictedStates(
        PredictedStatesRecord(column="infection_state", negative="infected", positive="uninfected"),
        states.table.assign(probability=1 - states.table["probability"]),
    )
    one, other = (
        evaluated(cells, each).tasks[0].score("average_precision", STATE_SEGMENTATION)
        for each in (states, turned)
    )
    assert one.value == pytest.approx(other.value)


def test_a_test_cell_without_a_prediction_is_said_and_not_left_out() -> None:
    cells = track_table()
    states = predicted(cells)
    gap = states.table.index[states.table["split"] == "test"][:3]
    states.table.loc[gap, "probability"] = np.nan
    task = evaluated(cells, states).tasks[0]
    n_test = int((cells["split"] == "test").sum())
    missing = task.score("accuracy", STATE_SEGMENTATION)
    assert missing.value is None
    assert missing.why_missing == f"supervised segmentation says nothing of 3 of {n_test} labelled test rows"
    assert task.score("accuracy_gain_over", STATE_SEGMENTATION).why_missing == missing.why_missing
    assert task.score("accuracy").value is not None


def test_a_prediction_of_another_split_is_refused() -> None:
    cells = track_table()
    states = predicted(cells)
    track = cells.loc[cells["split"] == "test", "track_id"].iloc[0]
    states.table.loc[states.table["track_id"] == track, "split"] = "train"
    with pytest.raises(BadInputError, match=f"track {track} has the split test and had train when"):
        given_predictions(states, cells, [column_labels(cells, "infection_state", "infected", "uninfected")])


def test_the_question_to_independent_plates_is_served_by_their_rows() -> None:
    cells = track_table()
    strange = cells.assign(plate="P9", split="independent", infection_state=cells["infection_state"].iloc[0])
    both = pd.concat([cells, strange], ignore_index=True)
    states = predicted(both)
    asked = column_labels(both, "infection_state", "infected", "uninfected")
    tasks = [asked, replace(asked, name="infection_state_independent"), replace(asked, name="half")]
    given = given_predictions(states, both, tasks, independent=True)
    assert list(given) == ["infection_state_independent"]
    (one,) = given.values()
    keys = ["plate", "fov_name", "track_id", "t"]
    expected = both[keys].merge(states.table, on=keys)["probability"]
    assert one.probability.tolist() == expected.tolist()
    n_first = int((strange["t"] == 0).sum())
    assert one.note.startswith(f"{n_first} of {len(strange)} independent cells have no label")
    # Their rows say nothing of the own question.
    own = given_predictions(states, cells, tasks)
    assert list(own) == ["infection_state"]
    assert own["infection_state"].probability.tolist() == expected[: len(cells)].tolist()


def test_files_give_back_what_was_written(tmp_path: Path) -> None:
    states = predicted(track_table())
    write_predicted_states(tmp_path, states)
    read = read_predicted_states(tmp_path)
    assert read.record == states.record
    pd.testing.assert_frame_equal(read.table, states.table)
    (tmp_path / "states.json").write_text('{"format": "something else"}')
    with pytest.raises(BadInputError, match="holds no predicted states"):
        read_predicted_states(tmp_path)
