"""Thresholds: which can be set, and which cannot."""

import pytest
from pydantic import ValidationError

from cell_assets.imaging.quality.thresholds import Action, Level, Measure, Threshold, excluding


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"measure": "drift_um"}, "give low, high or both"),
        ({"measure": "drift_um", "low": 3, "high": 2}, "low 3 is above high 2"),
        ({"measure": "sharpness", "low": 3}, "focus_slope.*z_prime"),
        ({"measure": "drift_um", "high": float("nan")}, "finite"),
        ({"measure": "drift_um", "high": 1, "action": "drop"}, "'warn' or 'exclude'"),
        ({"measure": "drift_um", "high": 1, "unit": "um"}, "not permitted"),
        ({"measure": "z_prime", "low": 0.5}, "say of which value, of: over_background, background"),
        ({"measure": "drift_um", "of": "background", "high": 1}, "leave `of` out"),
        ({"measure": "n_cells", "channel": "DNA", "low": 1}, "leave channel out"),
        ({"measure": "ssmd", "of": "n_cells", "channel": "DNA", "low": 1}, "leave channel out"),
    ],
)
def test_what_cannot_be_a_threshold(fields: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Threshold.model_validate(fields)


def test_a_threshold_warns_unless_told_otherwise() -> None:
    warning = Threshold(measure=Measure.DRIFT_UM, high=1)
    strict = Threshold.model_validate({"measure": "drift_um", "high": 1, "action": "exclude"})
    assert warning.action is Action.WARN
    assert excluding([warning, strict]) == (strict,)


def test_every_measure_is_about_one_level() -> None:
    levels = {level: {m.value for m in Measure if m.level is level} for level in Level}
    assert levels[Level.FOV] == {"bleaching_rate_per_min"}
    assert levels[Level.WELL] == {"n_cells"}
    assert "z_prime" in levels[Level.PLATE] and "flatness_cv" in levels[Level.PLATE]
    assert levels[Level.FRAME] == {
        "focus_slope", "high_frequency_share", "background", "over_background", "saturated_share", "drift_um",
    }  # fmt: skip
