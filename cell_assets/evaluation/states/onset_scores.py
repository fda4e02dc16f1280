"""Onset as numbers: survival per condition, and how good the onsets and their intervals are on test tracks."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from cell_assets.evaluation.resampling import Estimate, Statistic, bootstrap_interval
from cell_assets.evaluation.splits import Split, SplitUnit
from cell_assets.evaluation.states.onset import (
    COVERAGE,
    Course,
    calibration_errors,
    conformal_radius,
    earliest_onsets,
    onset_errors,
    onset_errors_in_time,
    track_onsets,
)
from cell_assets.evaluation.states.onset_calibration import (
    share_held,
    thinned_errors,
    thinned_radius,
    thinned_to,
)
from cell_assets.evaluation.states.state_calls import StateCalls
from cell_assets.evaluation.states.survival import Survival, kaplan_meier
from cell_assets.evaluation.units import BoolArray, FloatArray, plural, unit_ids


@dataclass(frozen=True)
class ConditionOnset:
    """Survival of one condition's test tracks."""

    condition: str
    called: Survival | None
    """By the probe; None where every track had turned when it was first seen."""
    annotated: Survival | None
    """By annotation; None where no track's course is known."""
    n_already: int
    """Test tracks that by the probe had turned when they were first seen: of no use for survival."""


@dataclass(frozen=True)
class Onsets:
    """Onset of one column's state."""

    tracks: pd.DataFrame
    """See `track_onsets`: calibration (train and val) and test tracks; `onset_low` and `onset_high` bound the conformal
    interval of a track that turns; one not seen to turn has `onset_low` alone, as it may turn at any time after."""
    conditions: tuple[ConditionOnset, ...]
    radius: Estimate
    """Half width of the conformal intervals, in `error_unit`; its `n_units` are calibration tracks with known onset."""
    coverage: Estimate
    """Share of test tracks with known onset whose interval holds it; of films with another time between frames than
    calibration tracks, the mean part of the step between two frames that it holds."""
    coverage_units_name: str
    seen: Estimate
    """Share of test tracks with known onset that the probe sees turn."""
    false: Estimate
    """Share of test tracks annotated as never turning that the probe sees turn all the same."""
    median_error: Estimate
    """Median |probe - annotation| in `error_unit`, a track that is not seen to turn being infinitely wrong."""
    error_units_name: str
    """What was resampled for the interval of `median_error`."""
    error_unit: str
    """`frames`, or the unit of the calls' time."""


def study_onsets(
    calls: StateCalls, seed: int, n_resamples: int, calibrated_at: float | None = None
) -> Onsets | str:
    """Onsets of all tracks, calibrated on train and val and scored on test; or why there can be none.

    Args:
        calibrated_at: where the time between frames of calibration tracks is another than that of test tracks,
            `calls.interval`, in the same unit. Intervals are then in that unit, of calibration tracks thinned to about
            the test tracks' frames, and coverage counts the part of a step between frames that an interval holds, see
            `onset_calibration`. Else errors and intervals are in frames.
    """
    direction = calls.direction
    if not direction.n_into:
        return f"no annotated train or val track is seen to turn {direction.state}, so when cells do cannot be told"
    if not direction.is_lasting:
        return (
            f"cells do not stay {direction.state}: annotated train and val tracks go there {direction.n_into} times "
            f"and back {direction.n_back} times"
        )
    tracks = track_onsets(calls.rows)
    test = tracks[tracks["split"] == Split.TEST]
    turning = (tracks["annotated_course"] == Course.TURNS).to_numpy()
    known = tracks[turning & (tracks["split"] == Split.TEST).to_numpy()]
    never = test[(test["annotated_course"] == Course.NEVER).to_numpy()]
    unit = SplitUnit.LINEAGE if "lineage_root" in known.columns else SplitUnit.TRACK
    if calibrated_at is None:
        errors = onset_errors(known)
        calibration = calibration_errors(tracks[turning & (tracks["split"] != Split.TEST).to_numpy()])
        radius = _radius(conformal_radius(calibration), len(calibration))
        shift, step = 0.0, calls.interval
    else:
        errors = onset_errors_in_time(known)
        calibration_rows = calls.rows[calls.rows["split"] != Split.TEST]
        thinned = thinned_errors(calibration_rows, calibrated_at, thinned_to(calls, calibrated_at))
        n_tracks = len(thinned.drop(columns="error").drop_duplicates())
        radius = _radius(thinned_radius(thinned), n_tracks)
        shift, step = calls.interval / 2, 1.0
    if radius.value is None:
        held = Estimate.missing(radius.why_missing or "", len(known))
    elif calibrated_at is None:
        held = share_of(calibration_errors(known) <= radius.value, "no test track has a known onset")
    else:
        held = _mean_share(known, calls.interval, radius.value, unit, seed, n_resamples)
    reach = np.nan if radius.value is None else radius.value * step
    return Onsets(
        tracks=_with_intervals(tracks, calls.interval, shift, reach),
        conditions=tuple(
            _condition(str(name), group) for name, group in test.groupby("condition", sort=True)
        ),
        radius=radius,
        coverage=held,
        coverage_units_name=plural(SplitUnit.TRACK if calibrated_at is None else unit),
        seen=share_of(np.isfinite(errors), "no test track has a known onset"),
        false=share_of(
            (never["course"] == Course.TURNS).to_numpy(), "no test track is annotated as never turning"
        ),
        median_error=_median_error(known, errors, unit, seed, n_resamples),
        error_units_name=plural(unit),
        error_unit="frames" if calibrated_at is None else calls.time_unit,
    )


def _mean_share(
    known: pd.DataFrame, interval: float, radius: float, unit: SplitUnit, seed: int, n_resamples: int
) -> Estimate:
    if not len(known):
        return Estimate.missing("no test track has a known onset")
    held = share_held(
        earliest_onsets(known, interval),
        known["annotated_onset_time"].to_numpy(dtype=np.float64),
        interval,
        radius,
    )
    mean = Statistic(lambda weights: weights @ held / weights.sum(axis=1), "no track was drawn")
    return bootstrap_interval(unit_ids(known, unit), mean, seed=seed, n_resamples=n_resamples)


def share_of(hit: BoolArray, why_none: str) -> Estimate:
    """Share of independent tracks (N,) with the exact binomial interval, which is no single point at 0 or 1."""
    if not len(hit):
        return Estimate.missing(why_none)
    interval = binomtest(int(hit.sum()), len(hit)).proportion_ci(0.95, "exact")
    return Estimate(float(hit.mean()), float(interval.low), float(interval.high), len(hit))


def _radius(radius: float | None, n_tracks: int) -> Estimate:
    if radius is not None:
        why = "it is calibrated, and coverage says how well"
        return Estimate.exact(radius, n_tracks, why)
    least = int(np.ceil(COVERAGE / (1 - COVERAGE) - 1e-9))
    why = (
        f"{n_tracks} train and val tracks have a known onset, and an interval of {100 * COVERAGE:g} % needs at least "
        f"{least}"
    )
    return Estimate.missing(why, n_tracks)


def _condition(name: str, tracks: pd.DataFrame) -> ConditionOnset:
    return ConditionOnset(
        condition=name,
        called=_survival(tracks, ""),
        annotated=_survival(tracks, "annotated_"),
        n_already=int((tracks["course"] == Course.ALREADY).sum()),
    )


def _survival(tracks: pd.DataFrame, prefix: str) -> Survival | None:
    """Daughters enter when they are born and a mother is lost when she divides."""
    followed = tracks[tracks[f"{prefix}course"].isin([Course.TURNS, Course.NEVER])]
    if followed.empty:
        return None
    turned = (followed[f"{prefix}course"] == Course.TURNS).to_numpy()
    end = followed[f"{prefix}end_time"].to_numpy(dtype=np.float64)
    onset = followed[f"{prefix}onset_time"].to_numpy(dtype=np.float64)
    return kaplan_meier(
        followed[f"{prefix}start_time"].to_numpy(dtype=np.float64), np.where(turned, onset, end), turned
    )


def _with_intervals(tracks: pd.DataFrame, interval: float, shift: float, reach: float) -> pd.DataFrame:
    """Intervals around `shift` before the onset, in the unit of the tracks' time; open behind where none is seen."""
    turns = tracks["course"] == Course.TURNS
    middle = pd.Series(earliest_onsets(tracks, interval), index=tracks.index) - shift
    middle = middle.where(turns | (tracks["course"] == Course.NEVER))
    return tracks.assign(onset_low=middle - reach, onset_high=(middle + reach).where(turns))


def _median_error(
    known: pd.DataFrame, errors: FloatArray, unit: SplitUnit, seed: int, n_resamples: int
) -> Estimate:
    if not len(errors):
        return Estimate.missing("no test track has a known onset")
    units = unit_ids(known, unit)
    order = np.argsort(errors, kind="stable")

    def median(weights: FloatArray) -> FloatArray:
        """The lower median: the first error that half of the weight does not exceed."""
        reached = np.cumsum(weights[:, order], axis=1)
        place = np.argmax(reached >= reached[:, -1:] / 2, axis=1)
        value = errors[order][place]
        return np.where(np.isfinite(value), value, np.nan)

    statistic = Statistic(median, "half of the test tracks with a known onset are not seen to turn")
    return bootstrap_interval(units, statistic, seed=seed, n_resamples=n_resamples)
