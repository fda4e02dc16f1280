"""Properties of the triplets over random lineages, against a plain walk through the tracks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from cell_assets.errors import BadInputError
from cell_assets.evaluation.exclusions import EXCLUSION_TYPES
from cell_assets.evaluation.manifest import FrozenCells
from cell_assets.methods.dynaclr.cells import EXCLUDED_CODE, CellIndex, TableCells
from cell_assets.methods.dynaclr.sampling import Relatives, SamplingStrategy, TripletSampler, lag_frames

TIMED = SamplingStrategy.TIME_AND_CELL_AWARE


@dataclass(frozen=True)
class Movie:
    """One table's rows and its manifest entries."""

    table: TableCells
    manifest: pd.DataFrame


def movie(
    plate: str, tracks: list[tuple[int, int, int, int]], interval_min: float | None, splits: dict[int, str]
) -> Movie:
    """`tracks` as (track_id, first frame, frames, parent); `splits` by founder."""
    parent = {track: mother for track, _, _, mother in tracks}

    def founder(track: int) -> int:
        return track if parent[track] < 0 else founder(parent[track])

    rows = [(track, first + k, mother) for track, first, frames, mother in tracks for k in range(frames)]
    cells = pd.DataFrame(rows, columns=["track_id", "t", "parent_track_id"])
    cells["row"] = np.arange(len(cells))
    manifest = pd.DataFrame(
        {
            "plate": plate,
            "fov_name": "A/1/000",
            "track_id": list(parent),
            "lineage_root": [founder(track) for track in parent],
            "split": [splits.get(founder(track), "train") for track in parent],
        }
    )
    return Movie(TableCells(plate, "A/1/000", interval_min, cells), manifest)


def index(*movies: Movie) -> CellIndex:
    manifest = pd.concat([m.manifest for m in movies], ignore_index=True)
    return CellIndex.build([m.table for m in movies], FrozenCells(manifest))


@st.composite
def lineages(draw: st.DrawFn, plate: str = "P1", interval_min: float = 30.0) -> Movie:
    """Founders, some of which divide once or twice; whole lineages go to one split."""
    tracks: list[tuple[int, int, int, int]] = []
    splits: dict[int, str] = {}
    number = 0
    for _ in range(draw(st.integers(1, 6))):
        number += 1
        founder = number
        splits[founder] = draw(st.sampled_from(["train", "train", "val"]))
        open_ends = [founder]
        tracks.append((founder, draw(st.integers(0, 2)), draw(st.integers(1, 4)), -1))
        for _ in range(draw(st.integers(0, 2))):
            mother = open_ends.pop(0)
            _, first, frames, _ = tracks[mother - 1]
            for _ in range(2):
                number += 1
                tracks.append((number, first + frames, draw(st.integers(1, 4)), mother))
                open_ends.append(number)
    return movie(plate, tracks, interval_min, splits)


@settings(max_examples=150)
@given(
    movies=st.tuples(lineages("P1", 30.0), lineages("P2", 15.0)),
    strategy=st.sampled_from(list(SamplingStrategy)),
    seed=st.integers(0, 2**32),
    epoch=st.integers(0, 1000),
)
def test_triplets_keep_every_promise(
    movies: tuple[Movie, Movie], strategy: SamplingStrategy, seed: int, epoch: int
) -> None:
    cells = index(*movies)
    sampler = TripletSampler(cells, "train", strategy, seed, tau_min=30.0)
    draws = sampler.draw(epoch)

    assert sorted(draws.anchor) == sorted(sampler.anchors) == sorted(set(draws.anchor))
    count = sampler.count
    assert count.cells == count.anchors + count.without_later_image + count.without_negative
    assert (cells.split[np.concatenate([draws.anchor, draws.positive, draws.negative])] == 0).all()
    again = TripletSampler(cells, "train", strategy, seed, tau_min=30.0).draw(epoch)
    for name in ("anchor", "positive", "negative"):
        np.testing.assert_array_equal(getattr(draws, name), getattr(again, name))

    anchor_track, negative_track = cells.track[draws.anchor], cells.track[draws.negative]
    if strategy is TIMED:
        assert (sampler.lags_min(draws) == 30).all()
        np.testing.assert_array_equal(cells.track[draws.positive], anchor_track)
        np.testing.assert_array_equal(cells.minutes[draws.negative], cells.minutes[draws.positive])
    else:
        np.testing.assert_array_equal(draws.positive, draws.anchor)
    if strategy is SamplingStrategy.CLASSICAL:
        assert (draws.negative != draws.anchor).all()
    else:
        assert (negative_track != anchor_track).all()
        parent = cells.parent_of_track
        assert (parent[negative_track] != anchor_track).all()
        assert (parent[anchor_track] != negative_track).all()
        sisters = (parent[anchor_track] == parent[negative_track]) & (parent[anchor_track] >= 0)
        assert not sisters.any()
        lineage = cells.lineage_of_track
        assert (lineage[negative_track] == lineage[anchor_track]).sum() == count.relatives_only


@settings(max_examples=60)
@given(movies=st.tuples(lineages("P1", 30.0), lineages("P2", 30.0)))
def test_anchors_are_exactly_those_that_a_plain_walk_finds(movies: tuple[Movie, Movie]) -> None:
    cells = index(*movies)
    sampler = TripletSampler(cells, "train", TIMED, seed=0, tau_min=30.0)
    present = {(track, t): i for i, (track, t) in enumerate(zip(cells.track, cells.t, strict=True))}
    lineage, parent = cells.lineage_of_track, cells.parent_of_track
    expected = []
    for i in np.flatnonzero(cells.in_split("train")):
        track, later = cells.track[i], cells.t[i] + 1
        if (track, later) not in present:
            continue
        there = [cells.track[j] for j in np.flatnonzero((cells.t == later) & cells.in_split("train"))]
        unrelated = [other for other in there if lineage[other] != lineage[track]]
        family = {track, parent[track], *np.flatnonzero(parent == track)}
        if parent[track] >= 0:
            family |= set(np.flatnonzero(parent == parent[track]))
        if unrelated or [other for other in there if other not in family]:
            expected.append(i)
    assert sampler.anchors.tolist() == expected


def test_negatives_are_uniform_over_all_that_are_allowed() -> None:
    cells = index(movie("P1", [(k, 0, 2, -1) for k in range(1, 6)], 30.0, {}))
    sampler = TripletSampler(cells, "train", TIMED, seed=0, tau_min=30.0)
    seen = np.zeros((5, 5), int)
    for epoch in range(2000):
        draws = sampler.draw(epoch)
        np.add.at(seen, (cells.track[draws.anchor], cells.track[draws.negative]), 1)
    assert (np.diag(seen) == 0).all()
    assert chisquare(seen[~np.eye(5, dtype=bool)]).pvalue > 0.01


def test_epochs_and_seeds_draw_differently() -> None:
    cells = index(movie("P1", [(k, 0, 5, -1) for k in range(1, 9)], 30.0, {}))
    first, second = (TripletSampler(cells, "train", TIMED, seed, tau_min=30.0) for seed in (0, 1))
    assert (first.draw(0).anchor != first.draw(1).anchor).any()
    assert (first.draw(0).negative != first.draw(1).negative).any()
    assert (first.draw(0).anchor != second.draw(0).anchor).any()


def test_a_daughter_is_no_positive_of_its_mother() -> None:
    family = [(1, 0, 2, -1), (2, 2, 2, 1), (3, 2, 2, 1), (4, 0, 4, -1)]
    cells = index(movie("P1", family, 30.0, {}))
    sampler = TripletSampler(cells, "train", TIMED, seed=0, tau_min=30.0)
    last_of_mother = np.flatnonzero((cells.t == 1) & (cells.parent_of_track[cells.track] < 0))[0]
    assert last_of_mother not in sampler.anchors
    assert sampler.count.without_later_image == 4


@settings(max_examples=60)
@given(movies=st.tuples(lineages("P1", 30.0), lineages("P2", 15.0)), seed=st.integers(0, 2**32))
def test_relatives_may_be_allowed_and_then_every_other_track_is_drawn_from(
    movies: tuple[Movie, Movie], seed: int
) -> None:
    cells = index(*movies)
    sampler = TripletSampler(cells, "train", TIMED, seed, 30.0, relatives=Relatives.ALLOW)
    draws = sampler.draw(0)
    assert (cells.track[draws.negative] != cells.track[draws.anchor]).all()
    np.testing.assert_array_equal(cells.minutes[draws.negative], cells.minutes[draws.positive])
    assert sampler.count.relatives_only == 0
    strict = TripletSampler(cells, "train", TIMED, seed, 30.0)
    assert set(strict.anchors) <= set(sampler.anchors)


def test_a_sister_is_drawn_only_where_relatives_are_allowed() -> None:
    family = [(1, 0, 1, -1), (2, 1, 2, 1), (3, 1, 2, 1)]
    cells = index(movie("P1", family, 30.0, {}))
    assert len(TripletSampler(cells, "train", TIMED, 0, 30.0)) == 0
    draws = TripletSampler(cells, "train", TIMED, 0, 30.0, relatives=Relatives.ALLOW).draw(0)
    parents = cells.parent_of_track[cells.track]
    assert len(draws) == 2
    assert (parents[draws.anchor] == parents[draws.negative]).all()


@pytest.mark.parametrize("relatives", list(Relatives))
@pytest.mark.parametrize("strategy", list(SamplingStrategy))
def test_equal_codes_are_what_is_never_a_negative(strategy: SamplingStrategy, relatives: Relatives) -> None:
    tree = [(1, 0, 1, -1), (2, 1, 2, 1), (3, 1, 2, 1), (4, 0, 3, -1)]
    cells = index(movie("P1", tree, 30.0, {}), movie("P2", tree, 30.0, {}))
    sampler = TripletSampler(cells, "train", strategy, 0, 30.0, relatives=relatives)
    seen = {
        pair for epoch in range(400) for pair in zip(*_anchors_and_negatives(sampler, epoch), strict=True)
    }
    for anchor in sampler.anchors:
        for other in range(len(cells)):
            if sampler.kin[anchor] == sampler.kin[other]:
                assert (anchor, other) not in seen
            elif strategy is not TIMED:
                assert (anchor, other) in seen


def _anchors_and_negatives(sampler: TripletSampler, epoch: int) -> tuple[list[int], list[int]]:
    draws = sampler.draw(epoch)
    return draws.anchor.tolist(), draws.negative.tolist()


def test_one_founder_falls_back_to_distant_relatives_and_says_so() -> None:
    # 1 divides into 2 and 3, which divide into 4, 5 and 6, 7: cousins are all that is left for 4.
    tree = [(1, 0, 1, -1), (2, 1, 1, 1), (3, 1, 1, 1), *((k, 2, 2, k // 2) for k in (4, 5, 6, 7))]
    cells = index(movie("P1", tree, 30.0, {}))
    sampler = TripletSampler(cells, "train", TIMED, seed=0, tau_min=30.0)
    assert sampler.count.anchors == sampler.count.relatives_only == 4
    draws = sampler.draw(0)
    pairs = (
        cells.parent_of_track[cells.track[draws.anchor]],
        cells.parent_of_track[cells.track[draws.negative]],
    )
    assert (pairs[0] != pairs[1]).all()


def test_cells_that_no_track_lists_or_another_split_holds_are_counted() -> None:
    tracks = [(1, 0, 3, -1), (2, 0, 3, -1), (3, 0, 2, -1), (4, 0, 1, -1)]
    source = movie("P1", tracks, 30.0, {3: "test"})
    manifest = source.manifest[source.manifest["track_id"] != 4]
    sampler = TripletSampler(CellIndex.build([source.table], FrozenCells(manifest)), "train", TIMED, 0, 30.0)
    assert (sampler.count.cells, sampler.count.anchors) == (6, 4)
    assert sampler.count.cells_in_other_splits == 2
    assert sampler.count.cells_not_in_manifest == 1


def left_out(frames: Sequence[tuple[str, int]]) -> pd.DataFrame:
    """Exclusions of frames of FOV A/1/000, by plate and t."""
    rows = [{"plate": plate, "well": "A/1", "fov_name": "A/1/000", "t": t} for plate, t in frames]
    return pd.DataFrame(rows, columns=list(EXCLUSION_TYPES)).astype(EXCLUSION_TYPES)


def test_a_track_that_lost_a_frame_in_its_middle_is_no_neighbour_across_it() -> None:
    source = movie("P1", [(1, 0, 5, -1), (2, 0, 5, -1)], 30.0, {})
    cells = CellIndex.build([source.table], FrozenCells(source.manifest, left_out([("P1", 2)])))
    sampler = TripletSampler(cells, "train", TIMED, seed=0, tau_min=30.0)
    # t=1 has no image 30 min later, t=4 is the last: 0 to 1 and 3 to 4 are left, of both tracks.
    assert sorted(cells.t[sampler.anchors]) == [0, 0, 3, 3]
    assert (sampler.count.cells, sampler.count.without_later_image, sampler.count.cells_left_out) == (8, 4, 2)
    twice = TripletSampler(cells, "train", TIMED, seed=0, tau_min=60.0)
    assert sorted(cells.t[twice.anchors]) == [1, 1]


def test_sisters_stay_sisters_though_no_image_of_their_mother_is_left() -> None:
    family = [(1, 0, 1, -1), (2, 1, 2, 1), (3, 1, 2, 1)]
    source = movie("P1", family, 30.0, {})
    cells = CellIndex.build([source.table], FrozenCells(source.manifest, left_out([("P1", 0)])))
    assert TripletSampler(cells, "train", TIMED, 0, 30.0).count.without_negative == 2


@settings(max_examples=60)
@given(
    movies=st.tuples(lineages("P1", 30.0), lineages("P2", 15.0)),
    frames=st.lists(st.tuples(st.sampled_from(["P1", "P2"]), st.integers(0, 6)), max_size=6),
    strategy=st.sampled_from(list(SamplingStrategy)),
    seed=st.integers(0, 1000),
)
def test_a_cell_that_is_left_out_is_never_drawn(
    movies: tuple[Movie, Movie], frames: list[tuple[str, int]], strategy: SamplingStrategy, seed: int
) -> None:
    manifest = pd.concat([m.manifest for m in movies], ignore_index=True)
    cells = CellIndex.build([m.table for m in movies], FrozenCells(manifest, left_out(frames)))
    is_out = np.array(
        [(("P1", "P2")[table], t) in set(frames) for table, t in zip(cells.table, cells.t, strict=True)], bool
    )
    assert ((cells.split == EXCLUDED_CODE) == is_out).all()
    sampler = TripletSampler(cells, "train", strategy, seed, tau_min=30.0)
    assert sampler.count.cells_left_out == is_out.sum()
    draws = sampler.draw(0)
    assert not is_out[np.concatenate([draws.anchor, draws.positive, draws.negative])].any()


def test_tables_without_a_common_moment_share_no_negatives() -> None:
    early = movie("P1", [(1, 0, 2, -1)], 30.0, {})
    late = movie("P2", [(1, 5, 2, -1)], 30.0, {})
    sampler = TripletSampler(index(early, late), "train", TIMED, 0, 30.0)
    assert sampler.count.anchors == 0
    assert sampler.count.without_negative == 2


def test_lag_is_counted_in_each_tables_own_frames() -> None:
    cells = index(
        movie("P1", [(1, 0, 2, -1)], 30.0, {}),
        movie("P2", [(1, 0, 2, -1)], 15.0, {}),
        movie("P3", [(1, 0, 2, -1)], 29.8, {}),
    )
    assert lag_frames(cells, 30.0, 0.5).tolist() == [1, 2, 1]
    with pytest.raises(
        BadInputError, match=r"P3 A/1/000: tau_min=30 is not within 0\.1 .* interval 29\.8 min"
    ):
        lag_frames(cells, 30.0, 0.1)


def test_a_fast_movie_allows_a_tenth_of_its_frame() -> None:
    cells = index(movie("P1", [(1, 0, 2, -1)], 1.0, {}))
    assert lag_frames(cells, 2.05, 0.5).tolist() == [2]
    with pytest.raises(BadInputError, match=r"tau_min=1\.5 is not within 0\.1 min of a multiple"):
        lag_frames(cells, 1.5, 0.5)


def test_too_coarse_a_movie_is_refused_with_a_way_out() -> None:
    cells = index(movie("P1", [(1, 0, 2, -1)], 120.0, {}))
    with pytest.raises(BadInputError, match=r"frame interval 120 min; choose a multiple, .* tau_min=120"):
        TripletSampler(cells, "train", TIMED, 0, tau_min=30.0)


def test_a_movie_without_interval_is_refused() -> None:
    cells = index(movie("P1", [(1, 0, 1, -1)], None, {}))
    with pytest.raises(BadInputError, match="P1 A/1/000: interval_min is not known"):
        TripletSampler(cells, "train", TIMED, 0, tau_min=30.0)
    assert len(TripletSampler(cells, "train", SamplingStrategy.CLASSICAL, 0)) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.assign(split="holdout"), r"split 'holdout' is not one of train, val, test"),
        (lambda m: pd.concat([m, m]), r"lists track 1 of P1 A/1/000 twice"),
        (lambda m: m.drop(columns="lineage_root"), r"lacks the column 'lineage_root'"),
    ],
)
def test_unsound_manifests_are_refused(change: object, message: str) -> None:
    source = movie("P1", [(1, 0, 2, -1), (2, 0, 2, -1)], 30.0, {})
    assert callable(change)
    with pytest.raises(BadInputError, match=message):
        FrozenCells(change(source.manifest))


def test_a_track_twice_at_one_time_is_refused() -> None:
    source = movie("P1", [(1, 0, 2, -1)], 30.0, {})
    doubled = pd.concat([source.table.cells] * 2)
    with pytest.raises(BadInputError, match="holds track 1 twice at t=0"):
        CellIndex.build([TableCells("P1", "A/1/000", 30.0, doubled)], FrozenCells(source.manifest))
