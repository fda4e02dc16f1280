import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cell_assets.imaging.channels import ChannelKind, infer_channel_kind
from cell_assets.imaging.normalisation import ChannelTally, Scaling, normalise

movies = hnp.arrays(
    st.sampled_from([np.uint8, np.int16, np.uint16, np.float32]),
    st.tuples(st.integers(1, 4), st.just(1), st.integers(2, 6), st.integers(2, 6)),
    elements=st.integers(0, 100),
)


def tally(kind: ChannelKind, movie: np.ndarray) -> ChannelTally:
    gathered = ChannelTally(kind, movie.dtype)
    for volume in movie:
        gathered.add(volume)
    return gathered


@given(movies)
def test_phase_is_mean_and_sd_of_all_frames_with_contrast(movie: np.ndarray) -> None:
    found = tally(ChannelKind.PHASE, movie).statistics()
    kept = [volume for volume in movie if volume.min() != volume.max()]
    assert found.constant_frames == tuple(t for t, v in enumerate(movie) if v.min() == v.max())
    if not kept:
        assert found.fov == Scaling(None, None)
        return
    assert found.fov.shift == pytest.approx(np.mean(kept, dtype=np.float64), rel=1e-9, abs=1e-9)
    assert found.fov.scale == pytest.approx(np.std(kept, dtype=np.float64), rel=1e-9)


@given(movies)
def test_fluorescence_is_percentiles_50_and_99(movie: np.ndarray) -> None:
    found = tally(ChannelKind.FLUORESCENCE, movie).statistics()
    for t, volume in enumerate(movie):
        middle, high = np.percentile(volume.astype(np.float64), [50, 99])
        if high == middle:
            assert found.time[t] == Scaling(None, None)
        else:
            assert found.time[t].shift == pytest.approx(middle)
            assert found.time[t].scale == pytest.approx(high - middle)


def test_an_all_zero_frame_is_named_and_not_averaged_in() -> None:
    random = np.random.default_rng(0)
    movie = random.integers(100, 200, (3, 1, 32, 32)).astype(np.uint16)
    without = tally(ChannelKind.PHASE, movie[[0, 2]]).statistics()
    movie[1] = 0
    found = tally(ChannelKind.PHASE, movie).statistics()
    assert found.constant_frames == (1,)
    assert found.time[1] == Scaling(None, None)
    assert found.fov == without.fov


def test_large_values_do_not_cancel() -> None:
    movie = np.array([[[[1e6, 1e6 + 1]]]], np.float32)
    found = tally(ChannelKind.PHASE, movie).statistics()
    assert found.fov == Scaling(1e6 + 0.5, 0.5)


def test_normalise_applies_a_pair_per_row_and_channel() -> None:
    patches = np.arange(8, dtype=np.uint16).reshape(2, 2, 1, 1, 2)
    shift, scale = np.array([[0, 2], [4, 6]]), np.array([[1, 2], [1, 2]])
    expected = [[[[[0, 1]]], [[[0, 0.5]]]], [[[[0, 1]]], [[[0, 0.5]]]]]
    np.testing.assert_array_equal(normalise(patches, shift, scale), np.array(expected, np.float32))


@pytest.mark.parametrize(
    "name", ["Phase", "phase_contrast", "BF", "Brightfield", "DIC", "QPI", "label-free", "Ph2"]
)
def test_names_of_transmitted_light(name: str) -> None:
    assert infer_channel_kind(name) is ChannelKind.PHASE


@pytest.mark.parametrize("name", ["GFP", "raw mCherry EX561", "dicer-GFP", "H2B", "pDNA", "BFP"])
def test_other_names_are_fluorescence(name: str) -> None:
    assert infer_channel_kind(name) is ChannelKind.FLUORESCENCE
