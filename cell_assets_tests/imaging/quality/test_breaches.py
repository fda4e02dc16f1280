"""What lies beyond thresholds at every level, by hand."""

from dataclasses import replace

import pytest

from cell_assets.imaging.quality.breaches import held_against
from cell_assets.imaging.quality.thresholds import Threshold
from cell_assets_tests.imaging.quality.small_quality import small_quality


def said(quality: object, **fields: object) -> list[str]:
    held = held_against(quality, [Threshold.model_validate(fields)])  # type: ignore[arg-type]
    return [str(breach) for breach in held.breaches] + [why for _, why in held.not_told]


def test_frames_beyond_a_limit_are_named() -> None:
    quality = small_quality(focus={("A/1/000", 1): -4.0, ("A/2/000", 2): -3.5})
    assert said(quality, measure="focus_slope", low=-3.5) == ["A/1/000 GFP t=1: focus_slope -4 is below -3.5"]
    assert said(quality, measure="focus_slope", low=-3.5, channel="DNA") == []
    both = said(quality, measure="focus_slope", low=-3.6, high=-3.2, action="exclude")
    assert len(both) == 11
    assert both[:3] == [
        "A/1/000 GFP t=0: focus_slope -2 is above -3.2; left out",
        "A/1/000 GFP t=1: focus_slope -4 is below -3.6; left out",
        "A/1/000 GFP t=2: focus_slope -2 is above -3.2; left out",
    ]


def test_an_empty_frame_is_beyond_every_threshold_of_focus_but_of_no_other() -> None:
    quality = small_quality(empty=(("A/2/000", "DNA", 1),))
    assert said(quality, measure="focus_slope", low=-9) == [
        "A/2/000 DNA t=1: focus_slope has no value, the frame is empty"
    ]
    assert said(quality, measure="drift_um", high=2) == []
    assert said(quality, measure="saturated_share", high=0.5) == []


def test_fovs_wells_and_plates_are_named() -> None:
    quality = small_quality(n_cells={"A/1": 7.0, "A/2": 40.0})
    assert said(quality, measure="bleaching_rate_per_min", high=0.01) == [
        "A/1/000 GFP: bleaching_rate_per_min 0.02 is above 0.01"
    ]
    assert said(quality, measure="n_cells", low=10) == ["A/1: n_cells 7 is below 10"]
    assert said(quality, measure="z_prime", of="over_background", low=0.5) == [
        "plate GFP: z_prime of over_background, drug against vehicle, 0.4 is below 0.5"
    ]
    # The sign of SSMD says only whose name sorts first.
    assert said(quality, measure="ssmd", of="over_background", low=3) == [
        "plate GFP: ssmd of over_background, drug against vehicle, 2.5 is below 3"
    ]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"measure": "focus_slope", "low": 0, "channel": "GPF"}, "no channel GPF, its channels are GFP, DNA"),
        ({"measure": "n_cells", "low": 1}, "no label images came with the plate"),
        ({"measure": "z_prime", "of": "over_background", "channel": "GFP", "low": 0}, "no control wells"),
        ({"measure": "ssmd", "of": "background", "low": 0}, "the plate has no value of it"),
    ],
)
def test_a_threshold_without_a_value_to_hold_is_told_apart(fields: dict[str, object], why: str) -> None:
    (found,) = said(small_quality(z_prime=None), **fields)
    assert why in found


def test_a_plate_measured_by_an_earlier_version_is_told_apart() -> None:
    (found,) = said(replace(small_quality(), screening=None), measure="focus_slope", low=0)
    assert "earlier version" in found
