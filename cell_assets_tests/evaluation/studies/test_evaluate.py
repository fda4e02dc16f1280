from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cell_assets.errors import BadInputError
from cell_assets.evaluation.scores.task_scores import Baseline
from cell_assets.evaluation.scores.tasks import about_to_divide, column_labels
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.studies.evaluate import EvaluationSettings, Space, evaluate_embedding
from cell_assets_tests.evaluation.movies import informative_features, track_table

SETTINGS = EvaluationSettings(
    method="dynaclr",
    split_unit=SplitUnit.TRACK,
    interval_min=5.0,
    simulated=True,
    n_resamples=100,
    max_lag=4,
)


def evaluation(cells=None, settings=SETTINGS, order=None, gap=3.0):
    cells = track_table() if cells is None else cells
    features = informative_features((cells["infection_state"] == "infected").to_numpy(), gap=gap) + 0.5
    if order is not None:
        cells, features = cells.iloc[order], features[order]
    return evaluate_embedding(
        features,
        cells,
        [
            column_labels(cells, "infection_state", "infected", "uninfected"),
            about_to_divide(cells, 5.0, 10.0),
        ],
        settings,
        baselines=[Baseline("length_alone", "cell length alone", cells["length_um"].to_numpy())],
        spaces=[Space("umap", features[:, :2])],
    )


def numbers_of(result):
    return {(n.report, n.name): n for n in result.numbers}


def test_numbers_for_embedding_baseline_chance_smoothness_and_rank():
    result = evaluation()
    numbers = numbers_of(result)
    infection = "dynaclr/infection_state"
    best = numbers[infection, "average_precision"]
    rival = numbers[infection, "average_precision_length_alone"]
    chance = numbers[infection, "average_precision_chance"]
    assert best.value > 0.9 > rival.value
    assert best.ci_low <= best.value <= best.ci_high
    test = track_table().query("split == 'test'")
    assert chance.value == pytest.approx((test["infection_state"] == "infected").mean())
    assert (best.n, best.unit, best.split) == (8, "tracks", "test tracks (simulated)")
    gain = numbers[infection, "average_precision_gain_over_length_alone"]
    assert gain.value == pytest.approx(best.value - rival.value)
    assert numbers[infection, "auroc_chance"].value == 0.5
    assert numbers["dynaclr/temporal_smoothness", "smoothness"].value == pytest.approx(1, abs=0.15)
    assert numbers["dynaclr/temporal_smoothness_umap", "smoothness"].value is not None
    assert numbers["dynaclr/feature_rank", "matrix_rank"].value == 12


def test_every_number_has_a_value_or_a_reason_and_none_is_dropped():
    # Nothing divides in this table, so the whole task is without labels of one class.
    numbers = [n for n in evaluation().numbers if n.report == "dynaclr/about_to_divide"]
    assert len(numbers) == 5 + 5 + 4 + 3
    by_name = {n.name: n for n in numbers}
    assert by_name["average_precision"].value is None
    assert "rows are negative, so there is nothing to learn" in by_name["average_precision"].why_missing
    assert by_name["average_precision_chance"].why_missing == "the scored rows hold one class only"
    assert by_name["accuracy_majority"].value == 1.0


def test_a_plate_without_interval_says_so_in_every_number_of_time():
    result = evaluation(settings=replace(SETTINGS, interval_min=None))
    smooth = [n for n in result.numbers if "smoothness" in n.report]
    assert len(smooth) == 10
    assert all("no time interval" in n.why_missing for n in smooth)


def test_row_order_changes_nothing():
    order = np.random.default_rng(0).permutation(len(track_table()))
    straight, shuffled = evaluation(), evaluation(order=order)
    assert straight.numbers == shuffled.numbers
    pd.testing.assert_frame_equal(straight.tasks[0].predictions, shuffled.tasks[0].predictions)


def test_the_same_seed_gives_the_same_numbers_and_another_seed_other_intervals():
    first, again = evaluation(gap=1.0), evaluation(gap=1.0)
    other = evaluation(gap=1.0, settings=replace(SETTINGS, seed=1))
    assert first.numbers == again.numbers
    assert first.numbers[0].ci_low != other.numbers[0].ci_low


def test_predictions_are_of_every_test_row_and_carry_both_rivals():
    task = evaluation().tasks[0]
    test = track_table().query("split == 'test'")
    assert len(task.predictions) == len(test)
    assert list(task.predictions.columns) == [
        "plate", "fov_name", "track_id", "t", "label", "probability", "probability_length_alone",
    ]  # fmt: skip
    merged = task.predictions.merge(test, on=["plate", "fov_name", "track_id", "t"], validate="1:1")
    assert (merged["label"] == (merged["infection_state"] == "infected")).all()


def test_a_baseline_with_gaps_is_missing_with_the_count_and_the_embedding_stays():
    cells = track_table()
    length = cells["length_um"].to_numpy().copy()
    length[3] = np.nan
    features = informative_features((cells["infection_state"] == "infected").to_numpy())
    result = evaluate_embedding(
        features,
        cells,
        [column_labels(cells, "infection_state", "infected")],
        SETTINGS,
        baselines=[Baseline("length_alone", "cell length alone", length)],
    )
    numbers = numbers_of(result)
    assert numbers["dynaclr/infection_state", "average_precision"].value is not None
    missing = numbers["dynaclr/infection_state", "average_precision_length_alone"]
    assert missing.why_missing == "cell length alone is not known for 1 of 320 rows"


def test_example_rows_are_the_longest_positive_test_track_in_order_of_time():
    cells = track_table()
    order = np.random.default_rng(1).permutation(len(cells))
    rows = cells.iloc[order].iloc[evaluation(order=order).tasks[0].example_rows]
    assert rows["track_id"].nunique() == 1
    assert list(rows["t"]) == list(range(8))
    assert set(rows["split"]) == {"test"}
    assert set(rows["infection_state"]) == {"infected"}


def test_relatives_across_the_split_are_counted_in_the_statement():
    cells = track_table().assign(lineage_root=lambda c: 1 + c["track_id"] % 2)
    statement = evaluation(cells=cells).split
    assert statement.n_test_tracks_related == statement.n_test_tracks == 8
    assert "8 of 8 test tracks descend from a founder" in statement.sentence
    assert "relatives" not in evaluation().split.sentence


def test_bad_inputs_are_refused_in_one_sentence():
    cells = track_table()
    features = np.ones((len(cells), 3))
    with pytest.raises(BadInputError, match="features have 319 rows, but the cell table has 320"):
        evaluate_embedding(features[1:], cells, [], SETTINGS)
    with pytest.raises(BadInputError, match=r"1 of 320 embeddings are not finite, .* track 1, t 2"):
        evaluate_embedding(np.where(np.arange(320)[:, None] == 2, np.nan, features), cells, [], SETTINGS)
    with pytest.raises(BadInputError, match="no row of the cell table is in split test"):
        evaluate_embedding(features, cells.assign(split="train"), [], SETTINGS)
    leaking = cells.assign(split=np.where(cells["t"] < 4, "train", "test"))
    with pytest.raises(BadInputError, match=r"40 track\(s\) are in both"):
        evaluate_embedding(features, leaking, [], SETTINGS)
    with pytest.raises(BadInputError, match="more than one row for plate P1"):
        evaluate_embedding(np.ones((640, 3)), pd.concat([cells, cells]), [], SETTINGS)


def test_tables_with_categories_as_anndata_gives_them_are_read_alike():
    cells = track_table()
    categorical = cells.astype({"plate": "category", "fov_name": "category", "split": "category"})
    plain, other = evaluation(), evaluation(cells=categorical)
    assert plain.numbers == other.numbers
    pd.testing.assert_frame_equal(plain.tasks[0].predictions, other.tasks[0].predictions)
    assert other.tasks[0].predictions["fov_name"].dtype == object


def test_a_task_without_a_probe_has_no_example_and_no_predictions():
    cells = track_table()
    cells["late"] = np.where((cells["split"] == "test") & (cells["t"] > 4), "yes", "no")
    result = evaluate_embedding(
        np.ones((len(cells), 2)) + cells[["t"]].to_numpy(),
        cells,
        [column_labels(cells, "late", "yes")],
        SETTINGS,
    )
    task = result.tasks[0]
    assert len(task.example_rows) == len(task.predictions) == 0
    assert "nothing to learn" in task.score("average_precision").why_missing
    assert task.score("average_precision", "chance").value == pytest.approx(3 / 8)
