"""Quality of a real plate of a translocation screen, beside hand calculations on its TIFF files."""

from statistics import mean, stdev

import numpy as np
import pytest
from skimage.filters import threshold_otsu

from cell_assets.imaging.acquisition import Acquisition
from cell_assets.imaging.quality.plate_quality import PlateQuality, ScreeningTables, plate_quality
from cell_assets_tests.imaging.quality.sbs_plate import CHANNELS, acquire_sbs_plate, controls, read_wells

pytestmark = pytest.mark.needs_shared


@pytest.fixture(scope="module")
def acquisition(tmp_path_factory: pytest.TempPathFactory) -> Acquisition:
    return acquire_sbs_plate(tmp_path_factory.mktemp("sbs"))


@pytest.fixture(scope="module")
def quality(acquisition: Acquisition) -> PlateQuality:
    return plate_quality(acquisition)


@pytest.fixture(scope="module")
def tables(quality: PlateQuality) -> ScreeningTables:
    assert quality.screening is not None
    return quality.screening


def signal_by_hand(image: np.ndarray) -> float:
    """Bright less dark mean at scikit-image's Otsu threshold, which has one bin per value of 8-bit pixels."""
    threshold = threshold_otsu(image)
    return float(image[image > threshold].mean() - image[image <= threshold].mean())


@pytest.mark.parametrize("channel", [0, 1])
def test_z_prime_of_the_controls_by_hand(tables: ScreeningTables, channel: int) -> None:
    wells = read_wells()
    negative, positive = ([signal_by_hand(wells[well][channel]) for well in names] for names in controls())
    assert (len(negative), len(positive)) == (6, 3)
    gap = mean(positive) - mean(negative)
    table = tables.control_separation
    (row,) = table[
        (table["channel"] == CHANNELS[channel]) & (table["measure"] == "over_background")
    ].itertuples()
    assert (row.control, row.other_control, row.n_wells, row.n_other_wells) == ("drug", "vehicle", 3, 6)
    assert row.z_prime == pytest.approx(1 - 3 * (stdev(positive) + stdev(negative)) / abs(gap), rel=1e-9)
    assert row.ssmd == pytest.approx(gap / (stdev(positive) ** 2 + stdev(negative) ** 2) ** 0.5, rel=1e-9)


def test_saturation_by_hand(tables: ScreeningTables) -> None:
    assert tables.channels["saturation_level"].tolist() == [255, 255]
    shares = tables.frames.set_index(["channel", "fov_name"])["saturated_share"]
    assert len(shares) == 72
    for well, pixels in read_wells().items():
        for channel, name in enumerate(CHANNELS):
            assert shares[name, f"{well}/0"] == float((pixels[channel] == 255).mean())
