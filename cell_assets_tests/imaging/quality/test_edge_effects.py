"""Median polish and edge effects: a table worked by hand, effects put in and found again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from cell_assets.imaging.quality.edge_effects import edge_effect, median_polish

WHOLE = st.integers(-1000, 1000).map(float)


def test_by_hand() -> None:
    """Row medians 2, 5, 8 go first; their median 5 is the overall value; column medians are -1, 0, 1."""
    values = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 18.0]])
    found = median_polish(values)
    assert found.overall == 5.0
    assert found.row.tolist() == [-3.0, 0.0, 3.0]
    assert found.column.tolist() == [-1.0, 0.0, 1.0]
    assert found.residual.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 9.0]]


@given(npst.arrays(float, st.tuples(st.integers(1, 8), st.integers(1, 12)), elements=WHOLE))
def test_parts_add_up(values: np.ndarray) -> None:
    found = median_polish(values)
    whole = found.overall + found.row[:, None] + found.column[None, :] + found.residual
    np.testing.assert_allclose(whole, values, atol=1e-9)


@given(npst.arrays(float, 8, elements=WHOLE), npst.arrays(float, 12, elements=WHOLE))
def test_pure_effects_leave_nothing(rows: np.ndarray, columns: np.ndarray) -> None:
    found = median_polish(rows[:, None] + columns[None, :])
    np.testing.assert_allclose(found.residual, 0, atol=1e-6)
    assert np.ptp(found.row) == pytest.approx(np.ptp(rows))


def test_missing_wells_stay_missing() -> None:
    values = np.full((8, 12), np.nan)
    values[:3] = np.arange(12)
    found = median_polish(values)
    assert np.isnan(found.row[3:]).all() and np.isfinite(found.row[:3]).all()
    assert np.isnan(found.residual[3:]).all()
    with pytest.raises(ValueError, match="at least one value"):
        median_polish(np.full((2, 2), np.nan))


def test_an_evaporated_ring_is_seen() -> None:
    values = np.random.default_rng(0).normal(100, 1, (16, 24))
    values[[0, -1], :] *= 0.8
    values[:, [0, -1]] *= 0.8
    found = edge_effect(values)
    assert (found.n_edge, found.n_interior) == (76, 308)
    assert found.edge_median == pytest.approx(80, abs=1) and found.interior_median == pytest.approx(
        100, abs=1
    )
    assert found.row_range == pytest.approx(20, abs=2) and found.column_range == pytest.approx(20, abs=2)
    plain = edge_effect(np.random.default_rng(0).normal(100, 1, (16, 24)))
    assert found.position_share is not None and plain.position_share is not None
    assert found.position_share > 0.6 > 0.15 > plain.position_share


def test_what_cannot_be_told_says_why() -> None:
    inside = np.full((8, 12), np.nan)
    inside[2:4, 2:4] = 1.0
    assert edge_effect(inside).why_missing == "no well with a value lies in the outer ring"
    row = np.full((8, 12), np.nan)
    row[3] = 1.0
    why = edge_effect(row).why_missing
    assert why is not None and "one row or column" in why
    even = edge_effect(np.ones((8, 12)))
    assert even.position_share is None and even.row_range == 0.0
