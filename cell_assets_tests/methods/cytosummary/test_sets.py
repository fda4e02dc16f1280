"""Sets: whose cells they hold, how many, and from how many wells."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_assets.errors import BadInputError
from cell_assets.methods.cytosummary.sets import SetDraw, SetParameters, WellCells, draw_sets

SIZES = np.array([30, 1, 50, 20, 40, 10])
STARTS = np.concatenate([[0], np.cumsum(SIZES)])
COMPOUND = np.array([7, 3, 7, 3, 7, 9])
"""Compound 9 has one well, and one well of compound 3 one cell."""
WELLS = WellCells.of(STARTS, COMPOUND)
FEW = SetParameters(sets_per_compound=5, mean_cells=40, sd_cells=20, min_cells=10)


def counts_of(draw: SetDraw) -> np.ndarray:
    """(S, U)."""
    counts = np.zeros((len(draw.compound), len(draw.cells)))
    counts[draw.of_set, np.arange(len(draw.cells)).repeat(np.diff(draw.starts))] = draw.times
    return counts


def wells_of(draw: SetDraw) -> list[set[int]]:
    well = np.searchsorted(STARTS, draw.cells, side="right") - 1
    return [set(well[row > 0].tolist()) for row in counts_of(draw)]


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_a_set_holds_cells_of_one_or_two_wells_of_its_compound(seed: int) -> None:
    draw = draw_sets(WELLS, FEW, np.random.default_rng(seed))
    assert draw.compound.tolist() == [3] * 5 + [7] * 5 + [9] * 5
    number = counts_of(draw).sum(1)
    assert (number == number[0]).all() and number[0] >= 10 and number[0] % 2 == 0
    assert (counts_of(draw).sum(0) > 0).all() and (np.diff(draw.cells) > 0).all()
    for compound, wells in zip(draw.compound, wells_of(draw), strict=True):
        assert len(wells) in (1, 2)
        assert {int(COMPOUND[well]) for well in wells} == {int(compound)}


def test_the_coin_and_the_wells_are_fair() -> None:
    generator = np.random.default_rng(0)
    many = SetParameters(sets_per_compound=3000, mean_cells=10, sd_cells=0, min_cells=2)
    draw = draw_sets(WELLS, many, generator)
    found = [wells for compound, wells in zip(draw.compound, wells_of(draw), strict=True) if compound == 7]
    assert np.mean([len(wells) == 2 for wells in found]) == pytest.approx(0.5, abs=0.03)
    for well in (0, 2, 4):
        assert np.mean([wells == {well} for wells in found]) == pytest.approx(1 / 6, abs=0.03)
    mixed = counts_of(draw)[[len(wells) == 2 for wells in wells_of(draw)]]
    well = np.searchsorted(STARTS, draw.cells, side="right") - 1
    of_wells = np.stack([mixed[:, well == w].sum(1) for w in range(6)], 1)
    assert (np.sort(of_wells, 1)[:, -2:] == 5).all()
    # Each cell of a well is as likely as any other.
    per_cell = counts_of(draw)[(draw.compound == 9)].sum(0)[well == 5]
    assert per_cell == pytest.approx(3000, rel=0.06)


def test_numbers_of_cells_follow_the_stated_normal_distribution() -> None:
    generator = np.random.default_rng(1)
    parameters = SetParameters(sets_per_compound=2, mean_cells=1500, sd_cells=200, min_cells=100)
    number = [counts_of(draw_sets(WELLS, parameters, generator))[0].sum() for _ in range(300)]
    assert np.mean(number) == pytest.approx(1500, abs=40) and np.std(number) == pytest.approx(200, abs=30)


def test_sets_of_some_compounds_lie_where_their_wells_lie() -> None:
    draw = draw_sets(WELLS.among(np.array([9, 3])), FEW, np.random.default_rng(0))
    assert draw.compound.tolist() == [3] * 5 + [9] * 5
    assert {int(COMPOUND[well]) for wells in wells_of(draw) for well in wells} == {3, 9}


def test_equal_generators_draw_equal_sets() -> None:
    one, other, third = (draw_sets(WELLS, FEW, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert np.array_equal(one.cells, other.cells) and np.array_equal(counts_of(one), counts_of(other))
    assert len(one.cells) != len(third.cells) or not np.array_equal(one.cells, third.cells)


def test_what_cannot_be_drawn_is_named() -> None:
    with pytest.raises(BadInputError, match="wells at places 1 have no cell to draw"):
        WellCells.of(np.array([0, 3, 3, 5]), np.array([0, 0, 1]))
    with pytest.raises(BadInputError, match="mean_cells=20 and sd_cells=10 hardly ever give min_cells=100"):
        draw_sets(WELLS, SetParameters(mean_cells=20, sd_cells=10), np.random.default_rng(0))
