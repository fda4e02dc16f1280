"""Faults in the parameters reach a person as one sentence that names the field, before any writing."""

import pytest

from cell_assets.errors import BadInputError
from cell_assets.simulation.parameters import ConditionParameters, SimulationParameters


@pytest.mark.parametrize(
    ("values", "words"),
    [
        pytest.param({"time_points": 0}, ("time_points", "0"), id="no frames"),
        pytest.param({"seed": -1}, ("seed", "-1"), id="negative seed"),
        pytest.param({"shape_zyx": (1, 16, 64)}, ("shape_zyx", "16", "32"), id="too small"),
        pytest.param({"shape_zyx": (1, 64)}, ("shape_zyx",), id="two axes"),
        pytest.param({"voxel_um_zyx": (1.0, -0.5, 0.5)}, ("voxel_um_zyx", "-0.5"), id="negative voxel"),
        pytest.param({"interval_min": float("nan")}, ("interval_min", "nan"), id="interval not a number"),
        pytest.param({"conditions": ()}, ("conditions", "0 entries"), id="no condition"),
        pytest.param({"cells_per_fov": 500}, ("cells_per_fov", "500", "at most"), id="crowded"),
        pytest.param({"susceptible_share": 1.5}, ("susceptible_share", "1.5"), id="share above one"),
        pytest.param({"sensor_photons": 5000.0}, ("sensor_photons", "65535"), id="saturated camera"),
        pytest.param({"fov_per_well": 2}, ("fov_per_well", "spelling"), id="unknown field"),
    ],
)
def test_bad_value_is_one_sentence(values: dict[str, object], words: tuple[str, ...]) -> None:
    with pytest.raises(BadInputError) as fault:
        SimulationParameters(**values)
    with pytest.raises(BadInputError):
        SimulationParameters.model_validate(values)
    sentence = str(fault.value)
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


def test_condition_names_stay_harmless() -> None:
    with pytest.raises(BadInputError, match="virus"):
        ConditionParameters(virus="a,b\n")
    with pytest.raises(BadInputError, match="moi"):
        ConditionParameters(virus="DENV", moi=-1.0)


def test_parameters_survive_json() -> None:
    chosen = SimulationParameters(seed=5, shape_zyx=(3, 64, 96), cells_per_fov=3)
    assert SimulationParameters.model_validate_json(chosen.model_dump_json()) == chosen


def test_raw_bytes_count_two_channels_and_labels() -> None:
    chosen = SimulationParameters(fovs_per_well=2, time_points=3, shape_zyx=(4, 64, 64), cells_per_fov=2)
    assert chosen.raw_bytes == 2 * 3 * (2 * 2) * 3 * (4 * 64 * 64)
