"""The life of cells, without pixels."""

import math

import numpy as np
import pytest

from cell_assets.simulation.looks import draw_looks
from cell_assets.simulation.parameters import ConditionParameters, SimulationParameters
from cell_assets.simulation.population import CellHistory, LifeSimulator, footprint_radius_um
from cell_assets_tests.simulation.conftest import MOCK

PARAMETERS = SimulationParameters(time_points=40, cells_per_fov=12, shape_zyx=(1, 192, 192))


def history(parameters: SimulationParameters, condition: ConditionParameters, seed: int = 0) -> CellHistory:
    return LifeSimulator(parameters, condition, np.random.default_rng(seed)).run()


@pytest.fixture(scope="module")
def mock_history() -> CellHistory:
    return history(PARAMETERS, MOCK)


def births(life: CellHistory) -> list[tuple[int, int, int]]:
    """(mother, first daughter, frame) of every division."""
    found = []
    for mother in np.unique(life.parent[life.parent >= 0]):
        first, second = np.flatnonzero(life.parent == mother)
        frame = int(life.alive[:, first].argmax())
        assert life.alive[frame, second]
        assert not life.alive[frame - 1, second]
        found.append((int(mother), int(first), frame))
    return found


def test_every_division_ends_one_cell_and_starts_two(mock_history: CellHistory) -> None:
    divisions = births(mock_history)
    assert len(divisions) > 15
    alive = mock_history.alive.sum(axis=1)
    assert alive[-1] - alive[0] == len(divisions)
    for mother, _, frame in divisions:
        assert mock_history.alive[frame - 1, mother]
        assert not mock_history.alive[frame:, mother].any()


def test_daughters_share_the_volume_and_appear_where_the_mother_was(mock_history: CellHistory) -> None:
    for mother, first, frame in births(mock_history):
        daughters = np.flatnonzero(mock_history.parent == mother)
        assert first in daughters
        before = mock_history.volume_um3[frame - 1, mother]
        after = mock_history.volume_um3[frame, daughters].sum()
        # In one interval of 30 min a cell with the shortest cycle seen (12 h) grows by 2^(1/24) - 1 = 3 %.
        assert before * 0.999 < after < before * 1.04
        middle = mock_history.position_um[frame, daughters].mean(axis=0)
        assert np.linalg.norm(middle - mock_history.position_um[frame - 1, mother]) < 6
        assert mock_history.rounding[frame - 1, mother] > 0.5
        assert (mock_history.rounding[frame, daughters] > 0.3).all()


def test_volume_doubles_over_a_cycle(mock_history: CellHistory) -> None:
    """Exponential growth: the logarithm of the volume rises by ln 2 / cycle per hour."""
    cell = int(np.argmax(mock_history.alive.sum(axis=0)))
    seen = np.flatnonzero(mock_history.alive[:, cell])
    rate = np.diff(np.log2(mock_history.volume_um3[seen, cell])) / PARAMETERS.interval_hours
    cycle = 1 / np.median(rate)
    assert 0.6 * PARAMETERS.cycle_hours < cycle < 1.5 * PARAMETERS.cycle_hours


def test_lone_cells_diffuse_like_an_ornstein_uhlenbeck_walk() -> None:
    """Mean squared displacement 2 v² P² (t/P - 1 + exp(-t/P)) (Uhlenbeck & Ornstein 1930, here in 2-D)."""
    alone = PARAMETERS.model_copy(
        update={"cells_per_fov": 1, "shape_zyx": (1, 800, 800), "cycle_hours": 1e6, "time_points": 7}
    )
    squared = []
    for seed in range(150):
        life = history(alone, MOCK, seed)
        step = life.position_um[-1, 0] - life.position_um[0, 0]
        squared.append(float(step @ step))
    hours, memory, speed = 3.0, alone.persistence_hours, alone.speed_um_per_hour
    expected = 2 * speed**2 * memory**2 * (hours / memory - 1 + math.exp(-hours / memory))
    assert np.mean(squared) == pytest.approx(expected, rel=0.3)


def test_nuclei_keep_apart(mock_history: CellHistory) -> None:
    last = mock_history.position_um[-1, mock_history.alive[-1]]
    distance = np.linalg.norm(last[:, None] - last[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert np.median(distance.min(axis=1)) > 10


def test_daughters_are_about_as_bright_as_their_mother(mock_history: CellHistory) -> None:
    looks = draw_looks(mock_history, 1, np.random.default_rng(1))
    daughters = mock_history.parent >= 0
    change = np.log(looks.expression[daughters] / looks.expression[mock_history.parent[daughters]])
    assert np.abs(change).max() < 0.4
    assert np.log(looks.expression[~daughters]).std() > 0.2


def test_infected_share_follows_poisson() -> None:
    """P(infected) = susceptible share * (1 - exp(-MOI)); MOI 0.7 and everyone susceptible gives 0.503."""
    open_to_all = PARAMETERS.model_copy(update={"susceptible_share": 1.0, "time_points": 1})
    hit = total = 0
    for seed in range(40):
        life = history(open_to_all, ConditionParameters(virus="DENV", moi=0.7), seed)
        hit += int(np.isfinite(life.hours_since_onset[0]).sum())
        total += life.alive.shape[1]
    share = 1 - math.exp(-0.7)
    assert hit / total == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / total))


def test_infection_never_starts_without_virus(mock_history: CellHistory) -> None:
    assert not np.isfinite(mock_history.hours_since_onset).any()
    assert mock_history.translocation[mock_history.alive].max() == 0 or np.allclose(
        mock_history.translocation, 0, atol=1e-12
    )


def test_infection_is_kept_through_divisions_and_its_course_has_the_stated_width() -> None:
    life = history(PARAMETERS, ConditionParameters(virus="DENV", moi=5.0))
    for mother, _, frame in births(life):
        if life.hours_since_onset[frame - 1, mother] >= 0:
            daughters = np.flatnonzero(life.parent == mother)
            grown = life.hours_since_onset[frame, daughters] - life.hours_since_onset[frame - 1, mother]
            np.testing.assert_allclose(grown, PARAMETERS.interval_hours)
    since, way = life.hours_since_onset[life.alive], life.translocation[life.alive]
    half_width = PARAMETERS.translocation_hours / 2
    assert way[(since > 0) & (since < half_width)].max() <= 0.9
    assert way[since > half_width].min() >= 0.9
    assert way[since < -half_width].max() <= 0.1


def test_round_and_flat_cells_of_one_volume_have_that_volume() -> None:
    """4/3 pi r² h with h = 0.3 r (spread) or r (round)."""
    for rounding, height in ((0.0, 0.3), (1.0, 1.0)):
        radius = footprint_radius_um(np.array([2000.0]), np.array([rounding]))[0]
        assert 4 / 3 * math.pi * radius**2 * height * radius == pytest.approx(2000)
