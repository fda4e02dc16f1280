"""Thresholds: which frames break them, by hand, and ranges that cannot be."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from cell_assets.imaging.quality.thresholds import Breach, FrameMeasure, FrameThreshold, breaches


def frames() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "channel": ["DNA", "DNA", "DNA", "GFP"],
            "fov_name": ["A/1/0", "A/1/0", "A/2/0", "A/1/0"],
            "t": pd.array([0, 1, 0, 0], dtype="Int64"),
            "focus_slope": [-2.0, -4.0, np.nan, -5.0],
            "drift_um": [np.nan, 3.0, np.nan, 2.0],
        }
    )


def test_frames_beyond_a_limit_are_named() -> None:
    found = breaches(
        frames(),
        [
            FrameThreshold(measure=FrameMeasure.FOCUS_SLOPE, low=-3.5),
            FrameThreshold(measure=FrameMeasure.DRIFT_UM, channel="DNA", high=2.0),
            FrameThreshold(measure=FrameMeasure.DRIFT_UM, channel="GFP", high=2.0),
        ],
    )
    assert found == (
        Breach("A/1/0", "DNA", 1, FrameMeasure.FOCUS_SLOPE, -4.0, -3.5),
        Breach("A/1/0", "GFP", 0, FrameMeasure.FOCUS_SLOPE, -5.0, -3.5),
        Breach("A/1/0", "DNA", 1, FrameMeasure.DRIFT_UM, 3.0, 2.0),
    )
    assert str(found[0]) == "A/1/0 DNA t=1: focus_slope -4 is below -3.5"
    assert str(found[2]) == "A/1/0 DNA t=1: drift_um 3 is above 2"


def test_no_thresholds_no_breaches() -> None:
    assert breaches(frames(), []) == ()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"measure": "drift_um"}, "give low, high or both"),
        ({"measure": "drift_um", "low": 3, "high": 2}, "low 3 is above high 2"),
        ({"measure": "sharpness", "low": 3}, "focus_slope"),
        ({"measure": "drift_um", "high": float("nan")}, "finite"),
        ({"measure": "drift_um", "high": 1, "action": "x"}, "not permitted"),
    ],
)
def test_what_cannot_be_a_threshold(fields: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        FrameThreshold.model_validate(fields)
