"""What the pixels say agrees with what the tables say."""

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import center_of_mass, grey_dilation
from scipy.ndimage import mean as label_mean
from skimage.feature import match_template

from cell_assets.simulation.field_movie import FieldMovie
from cell_assets.simulation.layout import SimulatedField, SimulatedWell, fields
from cell_assets.simulation.optics import stage_drift_um
from cell_assets.simulation.parameters import SimulationParameters
from cell_assets.simulation.rendering import nucleus_axes_um
from cell_assets.simulation.simulate import SimulationResult
from cell_assets_tests.simulation.conftest import MOCK, image, infected_place, label_image

STILL = SimulationParameters(
    shape_zyx=(3, 96, 96),
    cells_per_fov=5,
    time_points=12,
    interval_min=60,
    speed_um_per_hour=0.0,
    cycle_hours=1e6,
    drift_um_per_hour=0.0,
    drift_jitter_um=0.0,
    fovs_per_well=1,
)
"""Cells that neither move nor divide, so that time is the only thing that changes."""


def mock_field(parameters: SimulationParameters) -> SimulatedField:
    return next(fields(parameters))


@pytest.fixture(scope="module")
def measured(plate: SimulationResult, states: pd.DataFrame, parameters: SimulationParameters) -> pd.DataFrame:
    """Sensor in the nucleus and in the ring around it, phase in the nucleus, per cell; middle plane."""
    rows = []
    background = parameters.camera_offset + parameters.photon_gain * parameters.background_photons
    middle = parameters.shape_zyx[0] // 2
    for place in fields(parameters):
        for t in range(0, parameters.time_points, 2):
            phase, sensor = image(plate, place.name)[t, :, middle].astype(float)
            nuclei = label_image(plate, place.name)[t, 0, middle]
            ring = np.where(nuclei == 0, grey_dilation(nuclei, (11, 11)), 0)
            for track_id in np.intersect1d(nuclei[nuclei > 0], ring[ring > 0]):
                inside = sensor[nuclei == track_id].mean() - background
                around = sensor[ring == track_id].mean() - background
                rows.append(
                    (place.name, track_id, t, inside / max(around, 3), phase[nuclei == track_id].mean())
                )
    return pd.DataFrame(rows, columns=["fov_name", "track_id", "t", "ratio", "phase"]).merge(states)


def test_nuclear_to_ring_ratio_tells_the_states_except_in_mitosis(measured: pd.DataFrame) -> None:
    infected = measured.infection_state == "infected"
    mitosis = measured.division_state == "mitosis"
    long_infected = infected & (measured.hours_post_infection > 2)
    assert measured.ratio[long_infected].median() > 2
    assert measured.ratio[~infected & ~mitosis].median() < 1.2
    assert area_under_roc(measured.ratio[~mitosis], infected[~mitosis]) > 0.97
    # A clean cell in mitosis looks infected: as a snapshot the ratio cannot tell.
    assert measured.ratio[~infected & mitosis].median() > 2
    assert area_under_roc(measured.ratio[mitosis], infected[mitosis]) < 0.9


def test_mitotic_cells_are_bright_in_phase(measured: pd.DataFrame) -> None:
    mitosis = measured.division_state == "mitosis"
    assert measured.phase[mitosis].median() > measured.phase[~mitosis].quantile(0.95)


def test_nucleus_is_darker_in_phase_than_the_cytoplasm(
    plate: SimulationResult, parameters: SimulationParameters, states: pd.DataFrame
) -> None:
    middle = parameters.shape_zyx[0] // 2
    name = mock_field(parameters).name
    calm = states[(states.fov_name == name) & (states.t == 0) & (states.division_state == "interphase")]
    phase = image(plate, name)[0, 0, middle].astype(float)
    nuclei = label_image(plate, name)[0, 0, middle]
    ring = np.where(nuclei == 0, grey_dilation(nuclei, (9, 9)), 0)
    ids = calm.track_id.to_numpy()
    darker = label_mean(phase, nuclei, ids) < label_mean(phase, ring, ids)
    assert darker.mean() > 0.8


def test_sensor_of_a_filled_nucleus_is_centred_on_the_track(
    plate: SimulationResult, tracks: pd.DataFrame, states: pd.DataFrame, parameters: SimulationParameters
) -> None:
    _, height, width = parameters.shape_zyx
    rows = tracks.merge(states)
    rows = rows[
        (rows.hours_post_infection > 3) & rows.y.between(20, height - 21) & rows.x.between(20, width - 21)
    ]
    rows = rows[rows.t == 19]
    assert len(rows) >= 5
    offsets = []
    for fov_name, group in rows.groupby("fov_name"):
        sensor = image(plate, str(fov_name))[19, 1].astype(float) - 100
        nuclei = label_image(plate, str(fov_name))[19, 0]
        centres = np.array(center_of_mass(sensor, nuclei, group.track_id.to_numpy()))
        offsets.append(centres[:, 1:] - group[["y", "x"]].to_numpy())
    assert np.median(np.abs(np.concatenate(offsets))) < 0.6


def test_bleaching_dims_the_sensor_at_the_stated_rate() -> None:
    """After 11 hours at 0.1 per hour exp(-1.1) = 33 % of the signal is left."""

    def mean_at_end(**changes: float) -> float:
        chosen = STILL.model_copy(update=changes)
        return float(FieldMovie(chosen, mock_field(chosen)).frame(11).pixels[1].mean())

    background = mean_at_end(sensor_photons=1e-9)
    dimmed = mean_at_end(photobleaching_per_hour=0.1) - background
    steady = mean_at_end(photobleaching_per_hour=0.0) - background
    assert dimmed / steady == pytest.approx(np.exp(-1.1), abs=0.02)


def test_drift_moves_every_field_alike_and_the_pixels_with_it() -> None:
    moving = STILL.model_copy(update={"drift_um_per_hour": 1.0, "drift_jitter_um": 0.05, "fovs_per_well": 2})
    one, other = (stage_drift_um(moving, place) for place in list(fields(moving))[:2])
    assert np.linalg.norm(one[-1]) == pytest.approx(11, abs=0.3)
    np.testing.assert_allclose(one, other, atol=0.4)
    assert not np.array_equal(one, other)
    alone = moving.model_copy(update={"drift_um_per_hour": 2.0, "cells_per_fov": 2})
    movie = FieldMovie(alone, mock_field(alone))
    early, late = (movie.frame(t).pixels[1, 1].astype(float) for t in (0, 2))
    # Cells turn meanwhile, which moves their bodies about the nucleus by up to a micrometre.
    np.testing.assert_allclose(shift_um(early, late), movie.drift_um[2], atol=1.2)
    assert np.linalg.norm(movie.drift_um[2]) > 3


def test_camera_noise_is_poisson_with_gain() -> None:
    """Where there are no cells, variance = gain² * photons + read noise², for each frame's own draw."""
    empty = STILL.model_copy(update={"sensor_photons": 1e-9, "background_photons": 50.0})
    movie = FieldMovie(empty, SimulatedField(SimulatedWell(0, 0, MOCK), 0))
    difference = movie.frame(1).pixels[1].astype(float) - movie.frame(0).pixels[1]
    exposure = (movie.frame(0).pixels[1].astype(float).mean() - empty.camera_offset) / empty.photon_gain / 50
    expected = 2 * (empty.photon_gain**2 * 50 * exposure + empty.read_noise_counts**2)
    assert difference.var() == pytest.approx(expected, rel=0.05)


def test_frames_do_not_depend_on_the_order_of_drawing() -> None:
    place = infected_place(STILL)
    forwards = [frame.pixels for frame in FieldMovie(STILL, place).frames()]
    movie = FieldMovie(STILL, place)
    for t in (5, 0, 11):
        np.testing.assert_array_equal(movie.frame(t).pixels, forwards[t])


def test_nuclear_ellipsoid_holds_a_fifth_of_the_cell() -> None:
    for rounding in (0.0, 0.4, 1.0):
        height, along, across = nucleus_axes_um(2000.0, rounding, 1.3)
        assert 4 / 3 * np.pi * height * along * across == pytest.approx(400)


def area_under_roc(scores: pd.Series, positive: pd.Series) -> float:
    """Chance that a positive scores above a negative (Mann-Whitney U)."""
    high, low = scores[positive].to_numpy(), scores[~positive].to_numpy()
    return float((high[:, None] > low).mean() + 0.5 * (high[:, None] == low).mean())


def shift_um(early: np.ndarray, late: np.ndarray) -> np.ndarray:
    """Shift (y, x) that carries the middle of `early` onto `late`, by normalised cross-correlation."""
    fit = match_template(late, early[16:80, 16:80])
    return (np.array(np.unravel_index(np.argmax(fit), fit.shape)) - 16) * 0.5
