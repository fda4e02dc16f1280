from pathlib import Path

import numpy as np
import pytest

from cell_assets.errors import BadInputError
from cell_assets.imaging.segmentation import (
    SegmentationBackend,
    SegmentationRequest,
    read_segmentation_frame,
    read_segmentation_record,
    resolve_segmentation,
    segment_position,
)
from cell_assets.imaging.threshold_segmentation import ForegroundRule, Polarity
from cell_assets_tests.imaging.array_source import ArraySource, dividing_movie, fov_of


def test_auto_takes_given_labels_where_there_are_any(tmp_path: Path) -> None:
    image, labels, _ = dividing_movie()
    source, fov = ArraySource(image, labels), fov_of(image)
    parameters = resolve_segmentation(source, fov, SegmentationRequest())
    assert parameters.backend is SegmentationBackend.GIVEN
    record = segment_position(source, fov, parameters, tmp_path)
    assert record.objects_per_frame == (2, 2, 2, 3, 3)
    assert read_segmentation_record(tmp_path) == record
    for t in range(5):
        np.testing.assert_array_equal(read_segmentation_frame(tmp_path, t), labels[t])


def test_auto_thresholds_where_there_are_none(tmp_path: Path) -> None:
    image, labels, _ = dividing_movie()
    source, fov = ArraySource(image), fov_of(image)
    parameters = resolve_segmentation(source, fov, SegmentationRequest(width_px=8))
    assert parameters.backend is SegmentationBackend.THRESHOLD
    assert parameters.threshold is not None
    assert (parameters.threshold.polarity, parameters.threshold.rule) == (
        Polarity.BRIGHT,
        ForegroundRule.OTSU,
    )
    record = segment_position(source, fov, parameters, tmp_path)
    assert record.objects_per_frame == (2, 2, 2, 3, 3)
    found = read_segmentation_frame(tmp_path, 3) > 0
    assert (found & (labels[3] > 0)).sum() / (found | (labels[3] > 0)).sum() > 0.8


def test_phase_channels_have_dark_objects() -> None:
    image = np.zeros((1, 2, 1, 8, 8), np.uint8)
    parameters = resolve_segmentation(
        ArraySource(image), fov_of(image, ("Phase", "GFP")), SegmentationRequest()
    )
    assert parameters.threshold is not None
    assert parameters.threshold.channel == "Phase"
    assert (parameters.threshold.polarity, parameters.threshold.rule) == (Polarity.DARK, ForegroundRule.LOCAL)


def test_the_nuclear_channel_is_the_default() -> None:
    image = np.zeros((1, 2, 1, 8, 8), np.uint8)
    parameters = resolve_segmentation(
        ArraySource(image), fov_of(image, ("Phase", "Nuclei")), SegmentationRequest()
    )
    assert parameters.threshold is not None
    assert parameters.threshold.channel == "Nuclei"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (SegmentationRequest(backend=SegmentationBackend.GIVEN), "carries none"),
        (SegmentationRequest(channel="DAPI"), "channel 'DAPI' does not exist; choose one of GFP0"),
        (SegmentationRequest(width_px=3, width_um=3), "both given"),
    ],
)
def test_what_does_not_go_is_said(request_: SegmentationRequest, message: str) -> None:
    image = np.zeros((1, 1, 1, 8, 8), np.uint8)
    with pytest.raises(BadInputError, match=message):
        resolve_segmentation(ArraySource(image), fov_of(image), request_)
