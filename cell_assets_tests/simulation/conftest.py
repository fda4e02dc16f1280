"""One small plate that the tests of this room read; none of them changes it."""

import pandas as pd
import pytest
import zarr

from cell_assets.simulation.layout import SimulatedField, fields
from cell_assets.simulation.parameters import ConditionParameters, SimulationParameters
from cell_assets.simulation.simulate import SimulationResult, simulate

TINY = SimulationParameters(
    seed=3,
    fovs_per_well=1,
    time_points=3,
    shape_zyx=(1, 64, 64),
    cells_per_fov=2,
    voxel_um_zyx=(1.0, 0.5, 0.5),
)


@pytest.fixture(scope="session")
def parameters() -> SimulationParameters:
    """Two conditions, two fields each, 20 frames of (5, 160, 160)."""
    return SimulationParameters(
        seed=11, fovs_per_well=2, time_points=20, shape_zyx=(5, 160, 160), cells_per_fov=9
    )


@pytest.fixture(scope="session")
def plate(parameters: SimulationParameters, tmp_path_factory: pytest.TempPathFactory) -> SimulationResult:
    return simulate(tmp_path_factory.mktemp("simulated") / "plate", parameters)


@pytest.fixture(scope="session")
def states(plate: SimulationResult) -> pd.DataFrame:
    return pd.read_csv(plate.states)


@pytest.fixture(scope="session")
def tracks(plate: SimulationResult, parameters: SimulationParameters) -> pd.DataFrame:
    """All track tables, with the field's name in front."""
    tables = []
    for place in fields(parameters):
        table = pd.read_csv(plate.tracks / f"{place.file_stem}.csv")
        table.insert(0, "fov_name", place.name)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def image(plate: SimulationResult, fov_name: str) -> zarr.Array:
    """(T, C, Z, Y, X) counts of one field."""
    return zarr.open_array(plate.plate / fov_name / "0", mode="r")


def label_image(plate: SimulationResult, fov_name: str) -> zarr.Array:
    """(T, 1, Z, Y, X) true nuclei of one field."""
    assert plate.labels is not None
    return zarr.open_array(plate.plate / fov_name / "labels" / plate.labels / "0", mode="r")


def infected_place(parameters: SimulationParameters) -> SimulatedField:
    """The first field of a well that received virus."""
    return next(place for place in fields(parameters) if place.well.condition.moi > 0)


MOCK = ConditionParameters(virus="mock", is_control=True)
