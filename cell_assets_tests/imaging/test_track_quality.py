import numpy as np
import pandas as pd
import pytest

from cell_assets.imaging.track_quality import (
    TrackBegin,
    TrackEnd,
    TrackQuality,
    TrackQualityLimits,
    track_quality,
)
from cell_assets.imaging.track_tables import ImageExtent
from cell_assets_tests.imaging.array_source import dividing_movie, track_table

EXTENT = ImageExtent(t=5, z=1, y=64, x=64)


def quality(
    table: pd.DataFrame, length_um: float | None = 8.0, interval_min: float | None = 10.0
) -> TrackQuality:
    lengths = table.assign(length_um=np.nan if length_um is None else length_um)
    return track_quality(lengths, EXTENT, (1.0, 0.5, 0.5), interval_min, TrackQualityLimits())


def of_track(found: TrackQuality, track: int) -> "pd.Series":
    return found.tracks.set_index("track_id").loc[track]


def test_a_clean_movie_has_no_faults() -> None:
    _, _, table = dividing_movie()
    found = quality(table)
    assert found.summary.faults() == ()
    assert found.tracks["n_cells"].tolist() == [5, 3, 2, 2]
    assert found.tracks["begins"].tolist() == ["movie", "movie", "birth", "birth"]
    assert found.tracks["ends"].tolist() == ["movie", "division", "movie", "movie"]
    assert found.tracks["n_daughters"].tolist() == [0, 2, 0, 0]
    # 2 px of 0.5 µm in 10 min.
    assert of_track(found, 1)["top_speed_um_per_min"] == pytest.approx(0.1)
    assert found.summary.lengths is not None
    assert (found.summary.lengths.shortest, found.summary.lengths.median, found.summary.lengths.longest) == (
        2,
        2.5,
        5,
    )


def test_where_tracks_begin_and_end() -> None:
    rows = [
        (1, 1, -1, 32.0, 32.0), (1, 2, -1, 32.0, 32.0),  # appears and vanishes in mid-frame
        (2, 0, -1, 32.0, 30.0), (2, 1, -1, 32.0, 15.0),  # leaves: 15.5 px of 0.5 µm is under one length, 8 µm
        (3, 0, -1, 32.0, 30.0), (3, 1, -1, 32.0, 15.6),  # 16.1 px is not
        (4, 2, -1, 60.0, 30.0), (4, 4, -1, 32.0, 30.0),  # enters
    ]  # fmt: skip
    found = quality(track_table(rows))
    assert found.tracks["begins"].tolist() == ["mid_frame", "movie", "movie", "border"]
    assert found.tracks["ends"].tolist() == ["mid_frame", "border", "mid_frame", "movie"]
    assert found.tracks["n_missed"].tolist() == [0, 0, 0, 1]
    assert "2 of 4 tracks vanish in mid-frame" in found.summary.faults()
    unsized = quality(track_table(rows), length_um=None).summary
    assert (unsized.begins[TrackBegin.UNKNOWN], unsized.ends[TrackEnd.UNKNOWN]) == (2, 3)


def test_missing_and_excess_daughters() -> None:
    rows = [(1, 0, -1, 30.0, 30.0), (2, 0, -1, 50.0, 30.0), (3, 1, 1, 30.0, 30.0)]
    rows += [(track, 1, 2, 50.0, 20.0 + track) for track in (4, 5, 6)]
    summary = quality(track_table(rows)).summary
    assert (summary.n_with_one_daughter, summary.n_with_excess_daughters) == (1, 1)
    assert "1 of 6 tracks have more than two daughters" in summary.faults()


def walk(n_tracks: int, jump: float = 0.0, pace: float = 1.0) -> pd.DataFrame:
    """Random walks in the plane; one step of track 1 is `jump` µm longer, track 2 is `pace` as fast."""
    steps = np.random.default_rng(3).normal(size=(n_tracks, 5, 2))
    steps[1] *= pace
    steps[0, 3, 0] += jump / 0.5
    at = 32 + steps.cumsum(axis=1) * 0.5
    return track_table([(k + 1, t, -1, *at[k, t]) for k in range(n_tracks) for t in range(5)])


def test_a_jump_and_a_fast_track_stand_out_of_random_walks() -> None:
    clean = quality(walk(60)).summary
    assert (clean.n_steps_jumped, clean.n_too_fast) == (0, 0)
    jumped = quality(walk(60, jump=10.0))
    assert (jumped.summary.n_steps_jumped, jumped.summary.n_with_jumps) == (1, 1)
    assert of_track(jumped, 1)["n_jumps"] == 1
    fast = quality(walk(60, pace=10.0))
    assert of_track(fast, 2)["is_too_fast"]
    assert fast.summary.n_too_fast == 1


def test_the_limit_is_median_and_five_robust_deviations() -> None:
    rows = [(1, t, -1, 32.0, x) for t, x in enumerate((0.0, 2.0, 6.0, 12.0, 20.0))]  # 0.1 0.2 0.3 0.4 µm/min
    summary = quality(track_table(rows)).summary
    assert summary.step_limit_um_per_min == pytest.approx(0.25 + 5 * 1.4826 * 0.1)


@pytest.mark.parametrize("interval_min", [None, 10.0])
def test_without_spread_or_interval_no_limit_is_drawn(interval_min: float | None) -> None:
    rows = [(1, t, -1, 32.0, 2.0 * t) for t in range(5)]
    summary = quality(track_table(rows), interval_min=interval_min).summary
    assert (summary.step_limit_um_per_min, summary.n_steps_jumped) == (None, 0)


def test_lone_cells_in_mid_movie_are_a_fault() -> None:
    rows = [(1, t, -1, 30.0, 30.0 + t) for t in range(5)]
    lone = [(2, 2, -1, 50.0, 50.0), (3, 0, -1, 20.0, 50.0), (4, 4, -1, 50.0, 20.0)]
    summary = quality(track_table([*rows, *lone])).summary
    assert summary.n_of_one_frame == 1
    assert "1 of 4 tracks are seen in one frame only" in summary.faults()


def test_no_tracks_have_no_faults() -> None:
    summary = quality(track_table([])).summary
    assert (summary.n_tracks, summary.lengths, summary.faults()) == (0, None, ())
