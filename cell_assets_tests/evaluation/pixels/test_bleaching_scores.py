"""What dimming costs, by hand: on features of which it changes nothing, the sign that decides, or a known angle."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score

from cell_assets.errors import BadInputError
from cell_assets.evaluation.pixels.bleaching_parameters import BleachingParameters
from cell_assets.evaluation.pixels.bleaching_scores import (
    bleaching_notes,
    bleaching_numbers,
    dimmed_scores,
    draw_cells,
    numbers_without_light,
    numbers_without_probe,
    probed_columns,
    refuse_other_features,
    steps_of_tracks,
)
from cell_assets.evaluation.pixels.state_heads import StateHead, StateHeads
from cell_assets.evaluation.scores.probes import LinearHead
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.units import FloatArray, SplitStatement
from cell_assets.imaging.parquet_tables import write_parquet
from cell_assets.ledger.records import NumberDraft
from cell_assets_tests.evaluation.movies import track_table

HALF = BleachingParameters(remaining=(1.0, 0.5), n_resamples=100)
COLUMN = "infection_state"


def heads_of(cells: pd.DataFrame) -> StateHeads:
    """A head that looks at the sign of the first feature alone."""
    n = len(cells)
    label = (cells[COLUMN] == "infected").to_numpy()
    known = (cells["t"] != 0).to_numpy()
    linear = LinearHead(np.zeros(2), np.ones(2), np.array([10.0, 0.0]), 0.0)
    head = StateHead(COLUMN, "infected", "uninfected", linear, "by hand", label, known, np.zeros(n))
    split = SplitStatement(SplitUnit.TRACK, ("train",), "test", 30, 10, 10, None)
    return StateHeads(cells, (cells["split"] == "test").to_numpy(), split, (head,), {})


def right_features(cells: pd.DataFrame) -> FloatArray:
    """(N, 2) unit vectors whose first feature has the sign of the state; the angle grows by 0.1 a frame."""
    angle = 0.1 * cells["t"].to_numpy()
    towards = np.where(cells[COLUMN] == "infected", 1.0, -1.0)
    return np.column_stack([towards * np.cos(angle), np.sin(angle)])


CELLS = track_table()
HEADS = heads_of(CELLS)
ROWS = np.flatnonzero(HEADS.test)
FEATURES = right_features(CELLS)


def numbers_of(dimmed: FloatArray, parameters: BleachingParameters = HALF) -> dict[str, NumberDraft]:
    scores = dimmed_scores(HEADS, ROWS, {1.0: FEATURES[ROWS], 0.5: dimmed})
    tracks = steps_of_tracks(CELLS, FEATURES, CELLS.iloc[ROWS])
    numbers = bleaching_numbers(
        scores, tracks, [COLUMN], "dynaclr", "test tracks", SplitUnit.TRACK, parameters
    )
    assert {number.report for number in numbers} == {"dynaclr/bleaching"}
    return {number.name: number for number in numbers}


def test_dimming_that_changes_nothing_costs_nothing() -> None:
    found = numbers_of(FEATURES[ROWS].copy())
    assert sorted(found) == [
        "balanced_accuracy_infection_state_at_100_percent",
        "balanced_accuracy_infection_state_at_50_percent",
        "balanced_accuracy_lost_infection_state_at_50_percent",
        "displacement_at_50_percent",
        "displacement_per_interval_at_50_percent",
    ]
    assert found["balanced_accuracy_infection_state_at_100_percent"].value == 1.0
    for name in ("balanced_accuracy_lost_infection_state", "displacement", "displacement_per_interval"):
        number = found[f"{name}_at_50_percent"]
        assert (number.value, number.ci_low, number.ci_high) == (0.0, 0.0, 0.0)
        assert (number.n, number.unit) == (8, "tracks")


def test_dimming_that_flips_the_deciding_feature_loses_everything() -> None:
    found = numbers_of(FEATURES[ROWS] * [-1.0, 1.0])
    assert found["balanced_accuracy_infection_state_at_50_percent"].value == 0.0
    lost = found["balanced_accuracy_lost_infection_state_at_50_percent"]
    assert (lost.value, lost.ci_low, lost.ci_high) == (1.0, 1.0, 1.0)


def test_displacements_are_of_unit_vectors_and_their_ratio_is_to_one_frame_of_the_same_tracks() -> None:
    turned = np.array([[np.cos(0.05), np.sin(0.05)], [-np.sin(0.05), np.cos(0.05)]])
    found = numbers_of(7.0 * FEATURES[ROWS] @ turned)
    chord = 2 * np.sin(0.025)
    assert found["displacement_at_50_percent"].value == pytest.approx(chord, rel=1e-12)
    ratio = found["displacement_per_interval_at_50_percent"]
    assert ratio.value == pytest.approx(chord / (2 * np.sin(0.05)), rel=1e-12)
    # Every track moves alike, so that no resample differs.
    assert ratio.ci_low == pytest.approx(ratio.value)
    assert ratio.ci_high == pytest.approx(ratio.value)


def test_a_loss_is_the_difference_of_both_accuracies_of_labelled_cells() -> None:
    dimmed = FEATURES[ROWS] * np.where(np.random.default_rng(0).random(len(ROWS)) < 0.3, -1.0, 1.0)[:, None]
    found = numbers_of(dimmed)
    head = HEADS.heads[0]
    known = head.known[ROWS]
    expected = balanced_accuracy_score(head.label[ROWS][known], dimmed[known, 0] > 0)
    assert found["balanced_accuracy_infection_state_at_50_percent"].value == pytest.approx(expected)
    lost = found["balanced_accuracy_lost_infection_state_at_50_percent"]
    assert lost.value == pytest.approx(1 - expected)
    assert lost.ci_low is not None and lost.ci_low < 1 - expected < (lost.ci_high or 0)


def test_numbers_are_the_same_from_the_published_tables(tmp_path: Path) -> None:
    dimmed = FEATURES[ROWS] + np.random.default_rng(0).normal(0, 0.7, (len(ROWS), 2))
    scores = dimmed_scores(HEADS, ROWS, {1.0: FEATURES[ROWS], 0.5: dimmed})
    tracks = steps_of_tracks(CELLS, FEATURES, CELLS.iloc[ROWS])
    write_parquet(scores, tmp_path / "cells.parquet")
    write_parquet(tracks, tmp_path / "tracks.parquet")
    again = [pd.read_parquet(tmp_path / name) for name in ("cells.parquet", "tracks.parquet")]
    assert probed_columns(again[0]) == (COLUMN,)
    first, second = (
        bleaching_numbers(*tables, [COLUMN], "dynaclr", "test FOVs", SplitUnit.FOV, HALF)
        for tables in ((scores, tracks), again)
    )
    assert first == second


def test_few_fovs_give_intervals_over_tracks_and_a_note() -> None:
    scores = dimmed_scores(HEADS, ROWS, {1.0: FEATURES[ROWS], 0.5: FEATURES[ROWS]})
    (note,) = bleaching_notes(scores, [COLUMN], SplitUnit.FOV)
    assert note.startswith(
        "infection_state: intervals are over tracks, because the scored cells are of 2 FOVs"
    )
    assert bleaching_notes(scores, [COLUMN], SplitUnit.TRACK) == ()


def test_cells_of_single_frames_have_no_ratio_and_it_says_why() -> None:
    alone = CELLS[CELLS["t"] == 3].reset_index(drop=True)
    heads, features = heads_of(alone), right_features(alone)
    rows = np.flatnonzero(heads.test)
    scores = dimmed_scores(heads, rows, {1.0: features[rows], 0.5: features[rows] * [-1.0, 1.0]})
    tracks = steps_of_tracks(alone, features, alone.iloc[rows])
    assert tracks["n_steps"].eq(0).all()
    assert tracks["mean_step"].isna().all()
    numbers = bleaching_numbers(scores, tracks, [COLUMN], "dynaclr", "test", SplitUnit.TRACK, HALF)
    found = {number.name: number for number in numbers}
    assert found["displacement_at_50_percent"].value is not None
    ratio = found["displacement_per_interval_at_50_percent"]
    assert ratio.value is None
    assert "two consecutive frames" in (ratio.why_missing or "")


def test_cells_are_drawn_from_the_test_split_by_the_seed() -> None:
    few = [draw_cells(HEADS, BleachingParameters(most_cells=5, seed=seed)) for seed in (0, 0, 1)]
    assert np.array_equal(few[0], few[1])
    assert not np.array_equal(few[0], few[2])
    assert len(few[0]) == len(np.unique(few[0])) == 5
    assert HEADS.test[few[0]].all()
    assert np.array_equal(draw_cells(HEADS, HALF), ROWS)


def test_what_cannot_be_said_says_why() -> None:
    names = set(numbers_of(FEATURES[ROWS]))
    blind = numbers_without_light("no fluorescence", [COLUMN], "dynaclr", "test tracks", HALF)
    assert {number.name for number in blind} == names
    assert {(number.value, number.why_missing) for number in blind} == {(None, "no fluorescence")}
    without = numbers_without_probe({"death": "every cell is alive"}, "dynaclr", "test tracks", HALF)
    assert len(without) == 3
    assert {number.why_missing for number in without} == {"every cell is alive"}


def test_features_of_another_checkpoint_are_refused() -> None:
    refuse_other_features(HEADS, FEATURES, ROWS, FEATURES[ROWS].astype(np.float32))
    other = FEATURES[ROWS].copy()
    other[3] = [0.5, 0.5]
    with pytest.raises(BadInputError, match=r"P1 A/\d/000 4 3 than the embeddings do"):
        refuse_other_features(HEADS, FEATURES, ROWS, other)


@pytest.mark.parametrize(
    ("shares", "why"),
    [
        ((0.5, 0.25), "must start with 1"),
        ((1.0,), "must start with 1"),
        ((1.0, 0.25, 0.5), "must start with 1"),
        ((1.0, 0.0), "must start with 1"),
        ((1.0, 0.333), "whole percents"),
    ],
)
def test_shares_that_cannot_be_are_refused(shares: tuple[float, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        BleachingParameters(remaining=shares)
