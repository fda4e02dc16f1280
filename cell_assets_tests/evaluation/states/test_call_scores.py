"""Calls by track against accuracies counted by hand."""

import numpy as np
import pandas as pd
import pytest

from cell_assets.evaluation.states.call_scores import score_calls
from cell_assets.evaluation.states.state_calls import Direction, StateCalls

STAYS, TURNS = [0.1, 0.1, 0.9, 0.1], [0.1, 0.9, 0.4, 0.9]
"""Probabilities of a cell that is never infected and of one that is from its second frame on: one slip in each."""


def calls(n_fovs: int, annotated: bool = True) -> StateCalls:
    rows = [
        {
            "plate": "P1",
            "fov_name": f"A/1/{fov:03d}",
            "track_id": track,
            "t": t,
            "condition": "virus",
            "split": "test" if fov else "val",
            "time": t / 2,
            "annotated": (track == 1 and t > 0) if annotated else pd.NA,
            "probability": probability,
        }
        for fov in range(n_fovs + 1)
        for track, seen in enumerate([STAYS, TURNS])
        for t, probability in enumerate(seen)
    ]
    table = pd.DataFrame(rows).astype({"annotated": "boolean"})
    direction = Direction("infected", "clean", 9, 0)
    return StateCalls("infection_state", direction, table, "h", "hours", 0.5, ())


@pytest.mark.parametrize(("n_fovs", "unit"), [(10, "FOVs"), (9, "tracks")])
def test_a_track_mends_the_slips_of_single_frames(n_fovs: int, unit: str) -> None:
    found = score_calls(calls(n_fovs), seed=0, n_resamples=50)
    # One by one: 4 of 5 clean and 2 of 3 infected cells are called right.
    assert found.by_track.value == 1
    assert found.gain.value == pytest.approx(1 - np.mean([4 / 5, 2 / 3]))
    assert found.units_name == unit
    assert found.by_track.n_units == (n_fovs if unit == "FOVs" else 2 * n_fovs)


def test_without_annotated_test_cells_there_is_a_reason() -> None:
    found = score_calls(calls(3, annotated=False), seed=0, n_resamples=50)
    assert found.by_track.value is None
    assert found.gain.why_missing == "no test cell is annotated"
