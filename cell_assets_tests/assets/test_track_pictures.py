"""Which track stands for a state that lasts."""

import numpy as np
import pytest

from cell_assets.assets.track_pictures import turning_tracks
from cell_assets_tests.evaluation.movies import infection_movie
from cell_assets_tests.evaluation.states.test_state_dynamics import COLUMN, study


def test_the_longest_test_track_with_an_annotated_onset_is_followed_from_its_first_frame() -> None:
    found = study(infection_movie(n_lineages=64))
    (track,) = turning_tracks(found)
    assert (track.column, track.state) == (COLUMN, "infected")
    cells = found.embedded.cells.iloc[track.rows]
    assert cells["split"].unique().tolist() == ["test"]
    assert cells["track_id"].nunique() == 1 and (np.diff(cells["t"]) > 0).all()
    states = found.annotations[COLUMN].iloc[track.rows].to_numpy()
    first = int(np.argmax(states == "infected"))
    assert first > 0 and (states[first:] == "infected").all()
    assert track.onset == track.minutes[first]
    test = found.embedded.cells.query("split == 'test'").assign(state=found.annotations[COLUMN])
    turning = test.groupby(["plate", "fov_name", "track_id"])["state"].nunique() == 2
    lengths = test.groupby(["plate", "fov_name", "track_id"])["t"].agg(lambda t: t.max() - t.min())
    assert cells["t"].max() - cells["t"].min() == lengths[turning].max()
    features = found.embedded.features[track.rows]
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert track.distance == pytest.approx([np.linalg.norm(one - unit[0]) for one in unit])
