import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.states.logistic_growth import LogisticGrowth
from cell_assets.evaluation.states.state_calls import Direction, StateCalls
from cell_assets.evaluation.states.state_fraction import (
    corrected_fractions,
    fractions_over_time,
    resampling_unit,
)

GROWTH = LogisticGrowth(baseline=0.05, plateau=0.8, rate=1.0, midpoint=7.0)


def calls(rows: pd.DataFrame) -> StateCalls:
    direction = Direction("infected", "uninfected", 10, 0)
    return StateCalls("infection_state", direction, rows, "h", "hours post perturbation", 0.5, ())


def tracks(onsets: np.ndarray, n_times: int = 24, n_wells: int = 1, split: str = "test") -> pd.DataFrame:
    """One track for each onset (hours, infinite where never), called without error every 30 min from hour 3."""
    n = len(onsets)
    track, t = np.repeat(np.arange(n), n_times), np.tile(np.arange(n_times), n)
    hours = 3.0 + 0.5 * t
    infected = hours >= onsets[track]
    return pd.DataFrame(
        {
            "plate": "P1",
            "fov_name": [f"A/{1 + k % n_wells}/000" for k in track],
            "track_id": track,
            "lineage_root": track // 2 * 2,
            "t": t,
            "condition": "DENV",
            "split": split,
            "time": hours,
            "annotated": pd.array(infected, dtype="boolean"),
            "probability": np.where(infected, 0.9, 0.1),
        }
    )


def growing(n: int, rng: np.random.Generator, growth: LogisticGrowth = GROWTH) -> np.ndarray:
    """Onsets such that the fraction infected at each hour is `growth`, for any one track."""
    share = rng.uniform(0, 1, n)
    hours = np.linspace(2.9, 14.5, 2000)
    risen = growth.at(hours)
    return np.where(share <= risen[-1], hours[np.searchsorted(risen, share).clip(0, 1999)], np.inf)


def test_fractions_by_hand():
    rows = tracks(np.array([3.0, 4.0, 4.0, np.inf, np.inf, np.inf]), n_times=3)
    (found,) = fractions_over_time(calls(rows), 0, 200)
    assert found.called.time.tolist() == [3.0, 3.5, 4.0]
    assert found.called.values.tolist() == pytest.approx([1 / 6, 1 / 6, 3 / 6])
    assert found.called.n_cells.tolist() == [6, 6, 6]
    assert found.annotated.values.tolist() == found.called.values.tolist()
    assert found.units_name == "lineages"
    # Three founders are too few for an interval, so nothing is compared with one.
    assert found.called.fraction[0].low is None
    assert found.covered.why_missing == "no time point has units enough for an interval"
    assert found.growth.why_missing == "there are 3 time points, and at least 6 are needed"


def test_only_test_tracks_count():
    rows = pd.concat([tracks(np.full(20, np.inf)), tracks(np.full(20, 0.0), split="val")])
    (found,) = fractions_over_time(calls(rows), 0, 100)
    assert set(found.called.values) == {0.0}


def test_wells_are_resampled_where_there_are_five_else_founders_else_tracks():
    onsets = np.full(20, 8.0)
    assert resampling_unit(tracks(onsets, n_wells=5)) is SplitUnit.WELL
    assert resampling_unit(tracks(onsets, n_wells=4)) is SplitUnit.LINEAGE
    assert resampling_unit(tracks(onsets).drop(columns="lineage_root")) is SplitUnit.TRACK
    (found,) = fractions_over_time(calls(tracks(onsets, n_wells=5)), 0, 100)
    assert (found.units_name, found.rise.n_units) == ("wells", 5)


def test_repeating_every_frame_of_a_track_does_not_narrow_its_interval():
    """By track and never by cell: a film of the same tracks at the same times tells no more."""
    onsets = growing(20, np.random.default_rng(0))
    once = tracks(onsets)
    often = pd.concat([once.assign(t=once["t"] * 4 + k) for k in range(4)])
    (first,), (second,) = (fractions_over_time(calls(rows), 0, 100) for rows in (once, often))
    for one, other in zip(first.called.fraction, second.called.fraction, strict=True):
        assert (one.low, one.high) == pytest.approx((other.low, other.high))


def test_a_plateau_and_its_time_are_found_with_intervals_that_hold_them():
    rows = tracks(growing(600, np.random.default_rng(1)))
    (found,) = fractions_over_time(calls(rows.assign(lineage_root=rows["track_id"])), 0, 100)
    growth = found.growth
    assert growth.plateau.low < GROWTH.plateau < growth.plateau.high
    assert growth.plateau_time.low < GROWTH.plateau_time < growth.plateau_time.high
    assert growth.plateau.high - growth.plateau.low < 0.1
    assert found.covered.value == 1.0 and found.n_compared == 24


def test_intervals_of_the_fraction_hold_the_true_one_about_as_often_as_they_say():
    rng = np.random.default_rng(2)
    n_draws, held = 200, 0
    truth = GROWTH.at(np.array([8.0]))[0]
    for _ in range(n_draws):
        rows = tracks(growing(60, rng))
        rows = rows.assign(lineage_root=rows["track_id"])
        (found,) = fractions_over_time(calls(rows[rows["t"] == 10]), 0, 400)
        (estimate,) = found.called.fraction
        held += estimate.low <= truth <= estimate.high
    # Percentile intervals of a share of 60 are a little narrow: 94 % by theory of the binomial.
    assert binom.ppf(0.001, n_draws, 0.93) <= held <= binom.ppf(0.999, n_draws, 0.96)


@pytest.mark.parametrize(
    ("onsets", "why"),
    [
        (np.full(30, np.inf), "the fraction does not rise"),
        (np.append(np.full(29, np.inf), 8.0), "the fraction does not rise"),
        (np.full(4, 8.0), "whether the fraction rises cannot be told: only 2 independent unit"),
    ],
    ids=["nobody", "one of thirty", "two founders"],
)
def test_where_nothing_grows_there_is_no_fit_and_no_number(onsets, why):
    (found,) = fractions_over_time(calls(tracks(onsets)), 0, 200)
    assert found.growth.curve is None and found.growth.why_missing.startswith(why)
    for estimate in (found.growth.plateau, found.growth.plateau_time, found.growth.rate):
        assert estimate.value is None and estimate.why_missing == found.growth.why_missing


def test_a_plateau_after_the_film_is_no_number():
    late = LogisticGrowth(baseline=0.0, plateau=0.9, rate=0.6, midpoint=13.0)
    rows = tracks(growing(300, np.random.default_rng(3), late))
    (found,) = fractions_over_time(calls(rows), 0, 100)
    assert found.growth.curve is not None and found.growth.midpoint.value is not None
    assert found.growth.plateau.value is None and found.growth.plateau_time.value is None
    assert "only after the last time point, so no plateau was filmed" in found.growth.plateau.why_missing


def test_annotated_cells_are_compared_with_calls_of_the_same_cells():
    rows = tracks(growing(40, np.random.default_rng(4)))
    half = rows["track_id"] < 20
    rows["annotated"] = rows["annotated"].mask(~half)
    rows.loc[~half, "probability"] = 0.9  # the rest is called infected from the first frame on
    (found,) = fractions_over_time(calls(rows), 0, 200)
    assert found.called.n_cells[0] == 40 and found.annotated.n_cells[0] == 20
    assert found.called.values[0] >= 0.5 > found.annotated.values[0]
    assert found.covered.value == 1.0


def test_what_is_called_too_many_of_annotated_cells_is_taken_off_by_hand():
    """Ten founders: of test cells 6 of 10 are called, of val cells 4 of 10 and 1 of 10 is annotated."""
    called = tracks(np.where(np.arange(10) < 6, 0.0, np.inf), n_times=2)
    val = tracks(np.where(np.arange(10) < 4, 0.0, np.inf), n_times=2, split="val")
    val["annotated"] = pd.array(val["track_id"] < 1, dtype="boolean")
    rows = pd.concat([called, val]).assign(lineage_root=lambda r: r["track_id"])
    (found,) = corrected_fractions(calls(rows), rows, 0, 4000)
    assert found.called.values.tolist() == pytest.approx([0.3, 0.3])
    (raw,) = fractions_over_time(calls(rows), 0, 4000)
    one, before = found.called.fraction[0], raw.called.fraction[0]
    # Variances add: 0.24 / 10 of the calls and 0.21 / 10 of the mistakes, on a scale that ends at 0.
    assert one.low == 0 and one.high - 0.3 > before.high - 0.6
    assert one.high - 0.3 == pytest.approx(
        1.96 * np.sqrt((0.24 + 0.21) / 10), abs=0.05
    )  # in steps of a tenth


def test_mistakes_are_those_of_the_same_condition_about_the_same_time():
    test = tracks(np.full(20, 0.0), n_times=8).assign(annotated=pd.NA)
    test = test.astype({"annotated": "boolean"})
    val = tracks(np.full(20, 4.5), n_times=4, split="val").assign(probability=0.9)
    other = tracks(np.full(20, np.inf), n_times=8, split="val").assign(condition="mock", probability=0.9)
    (found,) = corrected_fractions(calls(pd.concat([test, val, other])), pd.concat([val, other]), 0, 100)
    # All are called; of val cells none is annotated until 4.5 h, and after it no val cell is known.
    assert found.called.time.tolist() == [3.0, 3.5, 4.0, 4.5]
    assert found.called.values.tolist() == [0.0, 0.0, 0.0, 1.0]
    assert found.covered.why_missing == "no test cell is annotated"
    assert corrected_fractions(calls(pd.concat([test, other])), other, 0, 100) == ()
    # Nine frames to two hours: five founders are too few below five.
    few = val[val["lineage_root"] < 8]
    assert corrected_fractions(calls(test), few, 0, 100) == ()


def test_corrected_intervals_hold_the_true_fraction_where_called_ones_do_not():
    """A probe that sees every onset 2 h early, and calls one clean cell in ten infected."""
    rng = np.random.default_rng(5)
    held, raw_held = [], []
    for _ in range(30):

        def cells(split: str) -> pd.DataFrame:
            onsets = growing(60, rng)
            rows = tracks(onsets, split=split).assign(lineage_root=lambda r: r["track_id"])
            early = rows["time"] >= onsets[rows["track_id"]] - rng.normal(2, 0.5, 60)[rows["track_id"]]
            wrong = (rng.uniform(size=60) < 0.1)[rows["track_id"]]
            return rows.assign(probability=np.where(early | wrong, 0.9, 0.1))[rows["t"] % 6 == 4]

        rows = pd.concat([cells("test"), cells("val")])
        (found,) = corrected_fractions(calls(rows), rows, 0, 200)
        (raw,) = fractions_over_time(calls(rows), 0, 200)
        held.append(found.covered.value)
        raw_held.append(raw.covered.value)
    assert np.mean(held) >= 0.93 and np.mean(raw_held) < 0.7
