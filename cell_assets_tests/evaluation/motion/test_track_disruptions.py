from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_assets.evaluation.motion.track_disruptions import (
    DisruptionKind,
    inject,
    merge_into,
    swap_identities,
)
from cell_assets.evaluation.studies.study_parameters import DisruptionParameters
from cell_assets_tests.evaluation.moving_tracks import moving_cells, tracked


def shown(track, t, source):
    """Which row every track shows at every time."""
    return {
        (name, time): row for name, time, row in zip(track.tolist(), t.tolist(), source.tolist(), strict=True)
    }


@st.composite
def two_tracks(draw):
    """Tracks a, b and c over any frames, in any order of rows, and a frame to swap at."""
    frames = [draw(st.sets(st.integers(0, 9), min_size=1)) for _ in range(3)]
    rows = draw(st.permutations([(name, t) for name, own in zip("abc", frames, strict=True) for t in own]))
    return np.array([name for name, _ in rows]), np.array([t for _, t in rows]), draw(st.integers(0, 10))


@given(two_tracks())
def test_a_swap_moves_no_row_in_time_touches_nobody_else_and_is_undone_by_itself(case) -> None:
    track, t, start = case
    swapped = swap_identities(track, t, "a", "b", start)
    # Rows keep their embeddings: those of a frame are the same before and after, one to each of the same tracks.
    pairs, swapped_pairs = (
        Counter(zip(names.tolist(), t.tolist(), strict=True)) for names in (track, swapped)
    )
    assert max(swapped_pairs.values()) == 1
    for frame in set(t.tolist()):
        others = [sum(n for (name, at), n in of.items() if at == frame) for of in (pairs, swapped_pairs)]
        assert others[0] == others[1]
    untouched = (t < start) | (track == "c")
    assert (swapped[untouched] == track[untouched]).all()
    late = ~untouched
    assert (swapped[late] == np.where(track[late] == "a", "b", "a")).all()
    assert (swap_identities(swapped, t, "a", "b", start) == track).all()


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from(list(DisruptionKind)), st.integers(1, 3))
def test_injected_errors_disrupt_what_they_say_and_nothing_else(seed, kind, nearest) -> None:
    cells, position = moving_cells(n_fovs=8, n_times=6)
    table = tracked(cells, position)
    parameters = DisruptionParameters(share_of_tracks=0.6, max_distance_um=15.0, nearest=nearest)
    found = inject(table, kind, parameters, seed)
    assert found.events
    everyone = [name for event in found.events for name in (event.track, event.partner)]
    assert len(set(everyone)) == len(everyone) <= 2 * round(0.6 * 16)
    before = shown(table.track, table.t, np.arange(len(table.track)))
    after = shown(found.track, table.t, found.source)
    assert set(after) == set(before)
    changed = {key for key in before if after[key] != before[key]}
    expected = set()
    for event in found.events:
        frames = range(event.start, 6 if event.stop is None else event.stop)
        named = (event.track, event.partner) if kind is DisruptionKind.SWAP else (event.track,)
        expected |= {(name, t) for name in named for t in frames}
        for t in frames:
            assert after[event.track, t] == before[event.partner, t]
            if kind is DisruptionKind.SWAP:
                assert after[event.partner, t] == before[event.track, t]
        pair = [before[name, event.start] for name in (event.track, event.partner)]
        assert np.linalg.norm(position[pair[0]] - position[pair[1]]) == pytest.approx(event.distance_um)
        assert event.distance_um <= 15.0
        assert table.fov[pair[0]] == table.fov[pair[1]] and table.is_test[pair[0]] == table.is_test[pair[1]]
    assert changed == expected


def test_the_same_seed_draws_the_same_errors_in_any_order_of_rows_and_another_seed_others() -> None:
    cells, position = moving_cells()
    order = np.random.default_rng(1).permutation(len(cells))
    parameters = DisruptionParameters()
    for kind in DisruptionKind:
        straight = inject(tracked(cells, position), kind, parameters, 0)
        shuffled = inject(tracked(cells.iloc[order], position[order]), kind, parameters, 0)
        assert straight.events == shuffled.events
        assert (straight.track[order] == shuffled.track).all()
        assert straight.events != inject(tracked(cells, position), kind, parameters, 1).events


def test_partners_meet_where_they_are_closest() -> None:
    cells, position = moving_cells(n_fovs=8, cells_per_fov=2, n_times=8, step_um=0.0)
    meet = cells["t"].to_numpy() == 5
    position[meet & (cells["track_id"] == 2).to_numpy()] = [0.0, 1.0]
    found = inject(tracked(cells, position), DisruptionKind.SWAP, DisruptionParameters(max_distance_um=20), 0)
    assert {(event.start, event.distance_um) for event in found.events} == {(5, 1.0)}


def test_cells_that_are_alone_or_seen_once_or_beyond_the_distance_are_left_in_peace() -> None:
    parameters = DisruptionParameters(max_distance_um=5.0)
    for cells, position in (
        moving_cells(cells_per_fov=1),
        moving_cells(n_times=1, spacing_um=1.0),
        moving_cells(spacing_um=50.0),
    ):
        for kind in DisruptionKind:
            assert inject(tracked(cells, position), kind, parameters, 0).events == ()


def test_neighbours_on_the_other_side_of_the_split_are_no_partners() -> None:
    cells, position = moving_cells(cells_per_fov=2)
    crossing = cells.assign(split=np.where(cells["track_id"] == 1, "train", "test"))
    for kind in DisruptionKind:
        assert inject(tracked(crossing, position), kind, DisruptionParameters(), 0).events == ()


def test_a_merged_track_shows_its_neighbour_in_these_frames_alone() -> None:
    track, t = np.array(["a", "a", "a", "b", "b", "b"]), np.array([0, 1, 2, 0, 1, 2])
    source = merge_into(track, t, np.arange(6), "a", "b", range(1, 2))
    assert source.tolist() == [0, 4, 2, 3, 4, 5]
