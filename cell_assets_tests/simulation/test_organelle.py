"""The third channel: other channels keep their bytes, and infection moves it as it should."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from cell_assets.simulation.field_movie import FieldMovie
from cell_assets.simulation.parameters import ConditionParameters, SimulationParameters
from cell_assets.simulation.simulate import simulate
from cell_assets_tests.simulation.conftest import TINY, infected_place

STILL = SimulationParameters(
    seed=5,
    conditions=(ConditionParameters(virus="DENV", moi=5.0),),
    shape_zyx=(3, 128, 128),
    cells_per_fov=6,
    time_points=12,
    interval_min=90,
    fovs_per_well=1,
    organelle_channel=True,
)


def test_the_other_channels_keep_their_bytes() -> None:
    with_it = TINY.model_copy(update={"organelle_channel": True})
    two = FieldMovie(TINY, infected_place(TINY)).frame(2)
    three = FieldMovie(with_it, infected_place(with_it)).frame(2)
    assert three.pixels.shape == (3, *two.pixels.shape[1:])
    assert np.array_equal(three.pixels[:2], two.pixels)
    assert np.array_equal(three.labels, two.labels)


def test_infection_gathers_it_at_the_nucleus() -> None:
    movie = FieldMovie(STILL, infected_place(STILL))
    states = movie.truth.states.set_index(["track_id", "t"])
    background = STILL.camera_offset + STILL.photon_gain * STILL.background_photons
    near_over_far: dict[str, list[float]] = {"uninfected": [], "infected": []}
    for t in (0, 11):
        frame = movie.frame(t)
        organelle, nuclei = frame.pixels[2, 1].astype(float) - background, frame.labels.max(axis=0)
        distance, nearest = distance_transform_edt(nuclei == 0, return_indices=True)
        owner = nuclei[tuple(nearest)]
        for track in np.unique(nuclei[nuclei > 0]):
            state = states.loc[(track, t)]
            since = state["hours_post_infection"]
            if state["division_state"] == "mitosis" or since < 3:
                continue
            near = organelle[(owner == track) & (distance > 0) & (distance <= 3)].mean()
            far = organelle[(owner == track) & (distance > 6) & (distance <= 10)].mean()
            near_over_far[state["infection_state"]].append(near / far)
    assert min(len(values) for values in near_over_far.values()) >= 3
    assert np.median(near_over_far["infected"]) > 2 * np.median(near_over_far["uninfected"])


def test_a_plate_names_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    parameters = TINY.model_copy(update={"organelle_channel": True, "time_points": 1})
    plate = simulate(tmp_path_factory.mktemp("simulated") / "plate", parameters)
    described = (plate.folder / "simulation.json").read_text(encoding="utf-8")
    assert parameters.channel_names == ("Phase", "mCherry", "GFP")
    assert '"GFP"' in described
    assert parameters.raw_bytes == 2 * 4 * parameters.n_positions * 64 * 64
