"""Well values and where wells lie."""

import numpy as np
import pandas as pd

from cell_assets.imaging.quality.wells import plate_layout, well_values


def test_a_well_is_the_median_of_its_fovs() -> None:
    frames = pd.DataFrame(
        {
            "channel": ["DNA"] * 6,
            "fov_name": ["A/1/0", "A/1/0", "A/1/0", "A/1/1", "A/1/2", "B/1/0"],
            "signal": [1.0, 2.0, 9.0, 4.0, 10.0, np.nan],
        }
    )
    values = well_values(frames, ["signal"]).set_index("well")["signal"]
    assert values["A/1"] == 4.0
    assert np.isnan(values["B/1"])


def test_layouts() -> None:
    small, large, huge = (
        plate_layout(["A/1", "H/12"]),
        plate_layout(["A/01", "P/24"]),
        plate_layout(["AF/48"]),
    )
    assert small is not None and (small.n_rows, small.n_columns) == (8, 12)
    assert large is not None and (large.n_rows, large.n_columns) == (16, 24)
    assert huge is not None and huge.places["AF/48"] == (31, 47) and huge.row_names[-1] == "AF"
    for odd in (["AG/1"], ["A/49"], ["0/0"], ["A/0"], ["a/1"]):
        assert plate_layout(odd) is None


def test_a_grid_has_nan_where_no_well_is() -> None:
    layout = plate_layout(["A/1", "C/12"])
    assert layout is not None
    grid = layout.grid(pd.Series({"A/1": 3.0, "C/12": 5.0}))
    assert grid[0, 0] == 3.0 and grid[2, 11] == 5.0 and np.isnan(grid).sum() == 94
