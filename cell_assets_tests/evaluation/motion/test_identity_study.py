"""Two embeddings with known answers: one is nothing but the cell, the other nothing but its state."""

import numpy as np
import pandas as pd
import pytest

from cell_assets.evaluation.motion.identity_study import IdentityStudy, study_identity
from cell_assets.evaluation.scores.tasks import column_labels
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.units import FloatArray

N_TIMES = 16


def movie(n_fovs: int, tracks_per_fov: int = 8) -> pd.DataFrame:
    """Every cell turns at a frame of its own, the same ones in every FOV."""
    return pd.DataFrame(
        [
            {
                "plate": "P1",
                "fov_name": f"A/{1 + fov // 4}/{fov % 4:03d}",
                "track_id": track,
                "t": t,
                "infection_state": "infected" if t >= 4 + track % 8 else "uninfected",
            }
            for fov in range(n_fovs)
            for track in range(tracks_per_fov)
            for t in range(N_TIMES)
        ]
    )


def identity_features(cells: pd.DataFrame) -> FloatArray:
    rng = np.random.default_rng(0)
    cell = cells.groupby(["fov_name", "track_id"]).ngroup().to_numpy()
    return rng.normal(size=(cell.max() + 1, 16))[cell] + 0.05 * rng.normal(size=(len(cells), 16))


def state_features(cells: pd.DataFrame) -> FloatArray:
    features = 1.0 + 0.05 * np.random.default_rng(0).normal(size=(len(cells), 16))
    features[:, 0] += 4.0 * (cells["infection_state"] == "infected")
    return features


def study(cells: pd.DataFrame, features: FloatArray, interval_min: float | None = 30.0) -> IdentityStudy:
    return study_identity(
        features,
        cells,
        [column_labels(cells, "infection_state", "infected", "uninfected")],
        split_unit=SplitUnit.FOV,
        interval_min=interval_min,
        neighbours=20,
        gap_frames=5,
        seed=0,
        n_resamples=100,
    )


def test_pure_identity_is_the_same_cell_and_tells_no_state_in_other_fovs():
    cells = movie(12)
    found = study(cells, identity_features(cells))
    assert found.same_cell.estimate.value == 1
    assert found.same_cell_chance.estimate.value == pytest.approx(1 / 8)
    assert found.same_cell_gain.estimate.value == pytest.approx(7 / 8)
    assert found.same_cell.units_name == "FOVs" and found.same_cell.estimate.n_units == 12
    assert found.variance_between_tracks.estimate.value > 0.95
    assert found.smoothness_identity_removed.estimate.low > 0.99
    (state,) = found.states
    assert state.in_other_fovs.estimate.value == pytest.approx(0.5, abs=0.05)
    assert state.given_track.estimate.value < 0.01


def test_pure_state_is_told_in_other_fovs_and_any_cell_of_that_state_is_nearest():
    cells = movie(12)
    found = study(cells, state_features(cells))
    (state,) = found.states
    assert state.in_other_fovs.estimate.value == 1
    assert state.given_track.estimate.value > 0.95
    assert found.same_cell.estimate.value < 0.3
    assert found.smoothness_identity_removed.estimate.value < 0.5


def test_few_fovs_are_not_resampled_and_one_has_no_other():
    cells = movie(9)
    found = study(cells, identity_features(cells))
    assert (found.same_cell.units_name, found.same_cell.estimate.n_units) == ("tracks", 72)
    cells = movie(1)
    (state,) = study(cells, identity_features(cells)).states
    assert state.in_other_fovs.estimate.why_missing == "annotated test cells are of one FOV only"


def test_cells_seen_too_shortly_and_plates_without_time_say_so():
    cells = movie(3)
    cells = cells[cells["t"] < 5].reset_index(drop=True)
    found = study(cells, identity_features(cells), interval_min=None)
    assert "lives for 6 frames beside another" in found.same_cell.estimate.why_missing
    assert "no time interval" in found.smoothness_identity_removed.estimate.why_missing
