"""Track and state tables: invariants for any seed, and agreement with the pixels' labels."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import center_of_mass

from cell_assets.simulation.field_movie import FieldMovie
from cell_assets.simulation.layout import fields
from cell_assets.simulation.parameters import SimulationParameters
from cell_assets.simulation.population import NO_PARENT
from cell_assets.simulation.simulate import SimulationResult
from cell_assets.simulation.truth import STATE_COLUMNS, TRACK_COLUMNS
from cell_assets_tests.simulation.conftest import label_image


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**31),
    cells=st.integers(1, 4),
    drift=st.sampled_from([0.0, 3.0]),
    planes=st.sampled_from([1, 4]),
)
def test_tables_are_whole_for_any_seed(seed: int, cells: int, drift: float, planes: int) -> None:
    parameters = SimulationParameters(
        seed=seed,
        shape_zyx=(planes, 64, 72),
        cells_per_fov=cells,
        time_points=30,
        cycle_hours=8.0,
        drift_um_per_hour=drift,
        fovs_per_well=1,
    )
    place = list(fields(parameters))[1]
    truth = FieldMovie(parameters, place).truth
    tracks = truth.tracks
    assert tuple(tracks.columns) == TRACK_COLUMNS
    assert tuple(truth.states.columns) == STATE_COLUMNS
    assert tracks["id"].is_unique
    assert not tracks.duplicated(["track_id", "t"]).any()
    assert tracks[["z", "y", "x"]].ge(0).all(axis=None)
    assert tracks[["z", "y", "x"]].le([planes - 1, 63, 71]).all(axis=None)
    assert truth.states[["track_id", "t"]].equals(tracks[["track_id", "t"]])
    by_id = tracks.set_index("id")
    spans = tracks.groupby("track_id")["t"].agg(["min", "max", "count"])
    assert (spans["max"] - spans["min"] + 1 == spans["count"]).all(), "a track has a hole"
    assert (tracks.groupby("track_id")["parent_track_id"].nunique() == 1).all()
    for row in tracks.itertuples():
        if row.t > spans["min"][row.track_id]:
            assert by_id.loc[row.parent_id, "track_id"] == row.track_id
            assert by_id.loc[row.parent_id, "t"] == row.t - 1
        elif row.parent_track_id == NO_PARENT:
            assert row.parent_id == NO_PARENT
        else:
            assert by_id.loc[row.parent_id, "track_id"] == row.parent_track_id
            assert spans["max"][row.parent_track_id] == row.t - 1
    children = tracks.drop_duplicates("track_id")["parent_track_id"]
    assert children[children != NO_PARENT].value_counts().le(2).all()


def test_one_label_per_track_row(
    plate: SimulationResult, tracks: pd.DataFrame, parameters: SimulationParameters
) -> None:
    for place in fields(parameters):
        labels = label_image(plate, place.name)
        rows = tracks[tracks.fov_name == place.name]
        for t in range(0, parameters.time_points, 3):
            seen = np.unique(labels[t, 0])
            assert set(seen[seen > 0]) == set(rows[rows.t == t].track_id)


def test_centroids_are_those_of_the_masks(
    plate: SimulationResult, tracks: pd.DataFrame, parameters: SimulationParameters
) -> None:
    _, height, width = parameters.shape_zyx
    inner = tracks.y.between(18, height - 19) & tracks.x.between(18, width - 19)
    checked = tracks[inner & (tracks.t % 4 == 0)]
    offsets = []
    for (fov_name, t), rows in checked.groupby(["fov_name", "t"]):
        volume = label_image(plate, str(fov_name))[t, 0]
        centres = np.array(center_of_mass(volume > 0, volume, rows.track_id.to_numpy()))
        offsets.append(centres - rows[["z", "y", "x"]].to_numpy())
    difference = np.abs(np.concatenate(offsets))
    assert len(difference) > 60
    # Voxels are coarse in z; where two nuclei touch the mask of one loses an edge.
    assert np.median(difference[:, 1:]) < 0.15
    assert np.quantile(difference[:, 1:], 0.95) < 1.0
    assert np.quantile(difference[:, 0], 0.95) < 0.6


def test_daughters_appear_where_the_parent_ended(
    tracks: pd.DataFrame, plate: SimulationResult, parameters: SimulationParameters
) -> None:
    first = tracks.drop_duplicates(["fov_name", "track_id"])
    daughters = first[first.parent_track_id != NO_PARENT]
    parents = tracks.set_index(["fov_name", "id"])
    assert plate.n_divisions == len(daughters.drop_duplicates(["fov_name", "parent_track_id"]))
    assert plate.n_divisions >= 5
    for row in daughters.itertuples():
        parent = parents.loc[(row.fov_name, row.parent_id)]
        distance_um = 0.5 * np.hypot(row.y - parent.y, row.x - parent.x)
        # A round daughter of at most 2000 µm³ has a radius of 7.8 µm; neighbours may push within an interval.
        assert distance_um < 11, (row, parent)


def test_the_infected_share_rises_only_in_infected_wells(states: pd.DataFrame) -> None:
    infected = states.infection_state == "infected"
    control = states.fov_name.str.startswith("A/1/")
    assert not infected[control].any()
    share = infected[~control].groupby(states.t).mean()
    assert share[0] < 0.05
    assert share[19] > 0.7
    assert share[10] - share[0] > 0.2
    assert states.hours_post_infection.notna().equals(infected)
    assert states.hours_post_infection[infected].between(0, 12.5).all()


def test_both_states_meet_in_mitosis(states: pd.DataFrame) -> None:
    share = (states.division_state == "mitosis").mean()
    assert 0.03 < share < 0.15
    mitosis = states[states.division_state == "mitosis"]
    assert set(mitosis.infection_state) == {"infected", "uninfected"}
