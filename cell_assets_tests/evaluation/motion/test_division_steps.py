import numpy as np
import pandas as pd
import pytest

from cell_assets.evaluation.motion.division_steps import (
    MOST_TRAJECTORIES,
    study_division_steps,
    with_division_steps,
)
from cell_assets_tests.evaluation.moving_tracks import plain_evaluation

INTERVAL = 5.0


def families(n_fovs: int = 12, n_before: int = 6, n_after: int = 4) -> pd.DataFrame:
    """In every FOV track 1 (t 0-5) divides into 2 and 3 (t 6-9), track 4 is followed throughout; half are test."""
    rows = []
    for fov in range(n_fovs):
        spans = {
            1: (0, n_before, -1),
            2: (n_before, n_before + n_after, 1),
            3: (n_before, n_before + n_after, 1),
        }
        spans[4] = (0, n_before + n_after, -1)
        rows += [
            {
                "plate": "P1", "fov_name": f"A/1/{fov:03d}", "track_id": track, "parent_track_id": parent, "t": t,
                "split": "test" if fov % 2 else "train",
            }
            for track, (start, stop, parent) in spans.items()
            for t in range(start, stop)
        ]  # fmt: skip
    return pd.DataFrame(rows)


def turning(cells: pd.DataFrame, degrees: dict[tuple[int, int], float], usual: float) -> np.ndarray:
    """Unit vectors in a plane that turn by `usual` degrees a frame, and by others at (track, t)."""
    angle = {}
    for key, own in cells.groupby(["fov_name", "track_id"]):
        start = angle.get((key[0], 1, 5), 0.0) if own["parent_track_id"].iloc[0] == 1 else 0.0
        now = start
        for t in sorted(own["t"]):
            first = t == own["t"].min() and own["parent_track_id"].iloc[0] == -1
            now += 0.0 if first else degrees.get((key[1], t), usual)
            angle[key[0], key[1], t] = now
    radians = np.radians(
        [angle[key] for key in zip(cells["fov_name"], cells["track_id"], cells["t"], strict=True)]
    )
    return np.column_stack([np.cos(radians), np.sin(radians)])


def chord(degrees: float) -> float:
    return 2 * np.sin(np.radians(degrees) / 2)


def test_displacement_before_across_and_elsewhere_by_hand() -> None:
    cells = families()
    features = turning(cells, {(1, 5): 60.0, (2, 6): 90.0, (3, 6): 30.0}, usual=10.0)
    order = np.random.default_rng(0).permutation(len(cells))
    for rows in (np.arange(len(cells)), order):
        table, z = cells.iloc[rows].reset_index(drop=True), features[rows]
        evaluation = plain_evaluation(table, z, INTERVAL)
        # A horizon shorter than the interval: only the last step of the parent ends so near.
        found = study_division_steps(z, table, evaluation, table, horizon_min=2.0)
        assert found.estimate("before_division").value == pytest.approx(chord(60))
        assert found.estimate("before_division").n_units == 6
        assert found.estimate("other_steps").value == pytest.approx(chord(10))
        ratio = found.estimate("before_division_over_other_steps")
        assert ratio.value == pytest.approx(chord(60) / chord(10)) and ratio.low > 1
        assert found.estimate("across_division").value == pytest.approx((chord(90) + chord(30)) / 2)
        numbers = with_division_steps(evaluation, found).numbers[-4:]
        assert {one.report for one in numbers} == {"dynaclr/division_displacement"}
        near = table[found.near_division]
        assert set(zip(near["track_id"], near["t"], strict=True)) == {(1, 5)} and len(near) == 12


def test_steps_of_tracks_that_end_without_a_division_are_neither_before_one_nor_elsewhere() -> None:
    cells = families()
    features = turning(cells, {(4, 9): 120.0, (2, 9): 120.0, (3, 9): 120.0}, usual=10.0)
    found = study_division_steps(features, cells, plain_evaluation(cells, features), cells, horizon_min=2.0)
    assert found.estimate("other_steps").value == pytest.approx(chord(10))


def test_trajectories_are_the_longest_followed_families_of_test_tracks_in_order_of_time() -> None:
    cells = families()
    short = (cells["fov_name"] == "A/1/003") & (cells["track_id"] == 2) & (cells["t"] > 6)
    cells = cells[~short].sample(frac=1, random_state=0).reset_index(drop=True)
    features = np.random.default_rng(0).normal(size=(len(cells), 4))
    found = study_division_steps(features, cells, plain_evaluation(cells, features), cells, horizon_min=5.0)
    assert len(found.trajectories) == MOST_TRAJECTORIES
    for family in found.trajectories:
        parent, *daughters = (cells.iloc[rows] for rows in (family.parent, *family.daughters))
        assert set(parent["split"]) == {"test"} and set(parent["fov_name"]) != {"A/1/003"}
        assert parent["t"].tolist() == list(range(6)) and set(parent["track_id"]) == {1}
        for daughter, track in zip(daughters, (2, 3), strict=True):
            assert daughter["t"].tolist() == list(range(6, 10)) and set(daughter["track_id"]) == {track}
            assert set(daughter["fov_name"]) == set(parent["fov_name"])


def test_without_division_or_time_every_number_that_needs_one_says_why() -> None:
    cells = families()
    alone = cells[cells["track_id"] == 4].reset_index(drop=True)
    features = turning(alone, {}, usual=10.0)
    found = study_division_steps(features, alone, plain_evaluation(alone, features), alone, horizon_min=2.0)
    assert found.trajectories == () and not found.near_division.any()
    assert found.estimate("other_steps").value == pytest.approx(chord(10))
    assert found.estimate("before_division").why_missing == "no test step ends within 2 min of a division"
    assert found.estimate("before_division_over_other_steps").value is None
    assert "has a daughter in the next one" in found.estimate("across_division").why_missing
    still = study_division_steps(
        features, alone, plain_evaluation(alone, features, None), alone, horizon_min=2.0
    )
    whys = {score.estimate.why_missing for score in still.scores}
    assert whys == {"the plate has a single time point or no time interval"}
    assert len(still.scores) == 4 and still.near_division.shape == (len(alone),)
