import numpy as np
import pytest
import scipy.ndimage as ndi
import tifffile
from numpy.typing import NDArray

from cell_assets.imaging.threshold_segmentation import (
    ForegroundRule,
    Polarity,
    ThresholdParameters,
    foreground_maps,
    threshold_labels,
)
from cell_assets_tests.shared_data import shared_data

NUCLEI = ThresholdParameters(
    channel="GFP", polarity=Polarity.BRIGHT, rule=ForegroundRule.OTSU, width_um=12, min_size=40, max_size=4000
)
RODS = ThresholdParameters(
    channel="Phase",
    polarity=Polarity.DARK,
    rule=ForegroundRule.LOCAL,
    width_um=10,
    min_size=200,
    max_size=2000,
)
UNIT = (1.0, 1.0, 1.0)


def balls(
    shape: tuple[int, int, int], centres: list[tuple[int, int, int]], radius: float
) -> NDArray[np.float32]:
    grid = np.indices(shape)
    image = np.zeros(shape, np.float32)
    for centre in centres:
        distance = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(grid, centre, strict=True)))
        image += distance <= radius
    noise = np.random.default_rng(1).normal(0, 0.05, shape)
    return (ndi.gaussian_filter(image, 0.7) + noise).astype(np.float32) * 1000 + 200


@pytest.mark.parametrize("depth", [1, 9], ids=["2-D", "3-D"])
def test_touching_nuclei_are_parted(depth: int) -> None:
    z = depth // 2
    centres = [(z, 16, 16), (z, 16, 27), (z, 40, 40)]
    labels = threshold_labels(balls((depth, 64, 64), centres, 6), NUCLEI, UNIT)
    assert labels.max() == 3
    assert len({labels[centre] for centre in centres}) == 3


def phase_contrast(rods: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Dark where `rods`, a bright halo around them, blurred by a pixel."""
    halo = ndi.binary_dilation(rods, iterations=5) & ~rods
    image = np.where(rods, 0.0, np.where(halo, 200.0, 120.0))
    return ndi.gaussian_filter(image, 1)[None]


def test_rods_with_a_thin_line_between_them_are_parted() -> None:
    rods = np.zeros((80, 120), bool)
    rods[28:38, 30:80] = True
    rods[40:50, 36:86] = True
    labels = threshold_labels(phase_contrast(rods), RODS, UNIT)
    assert labels.max() == 2
    assert labels[0, 33, 55] != labels[0, 45, 55]


def test_rods_in_one_saturated_blob_have_a_boundary_between_them() -> None:
    rods = np.zeros((80, 120), bool)
    rods[30:50, 30:80] = True  # two rods of width 10 without a line between them
    boundary = foreground_maps(phase_contrast(rods), RODS, UNIT).boundary
    assert boundary[0, 40, 55] > boundary[0, [34, 45], 55].max() + 0.3


def test_dust_is_dropped_and_labels_count_up() -> None:
    image = balls((1, 64, 64), [(0, 16, 16), (0, 48, 48)], 6)
    image[0, 2, 60] = 3000
    labels = threshold_labels(image, NUCLEI, UNIT)
    assert np.unique(labels).tolist() == [0, 1, 2]


@pytest.mark.parametrize("parameters", [NUCLEI, RODS], ids=["otsu", "local"])
def test_a_constant_frame_has_no_foreground(parameters: ThresholdParameters) -> None:
    frame = np.full((1, 32, 32), 7, np.uint16)
    assert not foreground_maps(frame, parameters, UNIT).foreground.any()
    assert threshold_labels(frame, parameters, UNIT).max() == 0


def test_width_follows_the_voxel_size() -> None:
    image = balls((1, 64, 64), [(0, 16, 16), (0, 16, 27)], 6)
    half = NUCLEI.model_copy(update={"width_um": 6.0})
    np.testing.assert_array_equal(
        threshold_labels(image, NUCLEI, UNIT), threshold_labels(image, half, (0.5, 0.5, 0.5))
    )


def test_real_nuclei_overlap_their_given_labels() -> None:
    folder = shared_data("mitocheck")
    image = tifffile.imread(folder / "xy_8bit__mitocheck_incenp_t1.tif")
    given = tifffile.imread(folder / "xy_8bit_labels__mitocheck_incenp_t1.tif")
    parameters = NUCLEI.model_copy(update={"width_um": 24.0})
    found = threshold_labels(image[None], parameters, UNIT)[0]
    ious = []
    for label in np.unique(given)[1:]:
        mask = given == label
        best = np.bincount(found[mask]).argmax()
        ious.append((mask & (found == best)).sum() / (mask | (found == best)).sum() if best else 0.0)
    assert len(ious) == 7
    assert np.mean(ious) > 0.85
