"""Features of single frames, by hand, against libraries of others, and under what must not change them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi
from scipy.spatial.distance import cdist
from skimage.feature import graycomatrix, graycoprops
from skimage.filters import threshold_otsu
from skimage.measure import regionprops

from cell_assets.errors import BadInputError
from cell_assets.imaging.features.frame_features import AT_EDGE, channel_columns
from cell_assets.imaging.features.labelled_plane import widest_planes
from cell_assets.imaging.features.parameters import FeatureParameters
from cell_assets_tests.imaging.features.small_frames import PARAMETERS, features_of, random_frame


def two_squares() -> tuple[np.ndarray, np.ndarray]:
    """Label 4: 2 by 2 pixels of 10, 20, 30, 40 at (2, 2); label 9: 3 by 3 of 50 at (2, 7). Ground 2, but 6 in the
    four pixels above and below label 4's left column and its right one."""
    labels, image = np.zeros((8, 12), np.uint32), np.full((8, 12), 2, np.uint16)
    labels[2:4, 2:4], labels[2:5, 7:10] = 4, 9
    image[2:4, 2:4] = [[10, 20], [30, 40]]
    image[2:5, 7:10] = 50
    image[[1, 1, 4, 4], [2, 3, 2, 3]] = 6
    return labels, image


def test_golden_values_by_hand() -> None:
    labels, image = two_squares()
    found = features_of(
        labels,
        image,
        spacing=(1.0, 0.5, 0.5),
        parameters=PARAMETERS.model_copy(update={"ring_width_um": 0.5}),
    )
    cell = found.loc[4]
    assert cell["Nuclei_AreaShape_Area"] == 4 * 0.25
    assert cell["Nuclei_AreaShape_Perimeter"] == 4 * 0.5  # through the centres of the outermost pixels
    assert cell["Nuclei_AreaShape_FormFactor"] == pytest.approx(4 * np.pi * 1 / 2**2)
    assert cell["Nuclei_AreaShape_EquivalentDiameter"] == pytest.approx(2 * np.sqrt(1 / np.pi))
    assert cell["Nuclei_AreaShape_Eccentricity"] == 0
    assert cell["Nuclei_AreaShape_Solidity"] == 1
    assert cell["Nuclei_Intensity_MeanIntensity_mCherry"] == 25
    assert cell["Nuclei_Intensity_StdIntensity_mCherry"] == pytest.approx(np.sqrt(125))
    assert cell["Nuclei_Intensity_LowerQuartileIntensity_mCherry"] == 17.5
    assert cell["Nuclei_Intensity_MedianIntensity_mCherry"] == 25
    assert cell["Nuclei_Intensity_UpperQuartileIntensity_mCherry"] == 32.5
    # One pixel to every side and no corner: four of 6, four of 2.
    assert cell["Cytoplasm_Intensity_MeanIntensity_mCherry"] == 4
    assert cell["Cytoplasm_Intensity_StdIntensity_mCherry"] == 2
    assert cell["Nuclei_Ring_Ratio_mCherry"] == (25 - 2) / (4 - 2)
    # Otsu's n n' (m - m')^2 is 32 (25 - 4)^2 = 14112 above 6, 27 (30 - 14/3)^2 = 17328 above 10, 20 (35 - 6.2)^2 =
    # 16589 above 20: the pixels of 20, 30 and 40 are bright.
    assert cell["Cells_AreaOccupied_AreaOccupied_mCherry"] == 3 * 0.25
    # All four pixels are as far from the centre as any.
    assert np.isnan(cell["Nuclei_RadialDistribution_MeanFrac_mCherry_1of2"])
    assert cell["Nuclei_RadialDistribution_MeanFrac_mCherry_2of2"] == 1
    # Two levels, 0 0 above 1 1: beside each other alike, above each other and across different.
    assert cell["Nuclei_Texture_Contrast_mCherry_1"] == pytest.approx(4 / 6)
    assert cell["Nuclei_Texture_AngularSecondMoment_mCherry_1"] == pytest.approx(
        2 * (1 / 6) ** 2 + 2 * (2 / 6) ** 2
    )
    assert cell["Nuclei_Texture_InverseDifferenceMoment_mCherry_1"] == pytest.approx(2 / 6 + 4 / 6 / 2)
    # Centroids (2.5, 2.5) and (3, 8) in pixels of half a µm.
    assert cell["Nuclei_Neighbors_FirstClosestDistance"] == pytest.approx(0.5 * np.hypot(0.5, 5.5))
    assert np.isnan(cell["Nuclei_Neighbors_SecondClosestDistance"])
    assert cell["Nuclei_Neighbors_NumberOfNeighbors_10"] == 1
    other = found.loc[9]
    assert other["Nuclei_Intensity_StdIntensity_mCherry"] == 0
    assert (
        other["Cells_AreaOccupied_AreaOccupied_mCherry"] == 9 * 0.25
    )  # all of the label, nothing of the ring
    assert np.isnan(other["Nuclei_Texture_Correlation_mCherry_1"])
    assert np.isnan(other["Nuclei_Ring_Ratio_mCherry"])  # its ring is as dark as the background
    assert not found[AT_EDGE].any()


@pytest.mark.parametrize("seed", range(4))
def test_as_scipy_and_scikit_image_say_of_each_cell_alone(seed: int) -> None:
    labels, image = random_frame(seed, side=96)
    parameters = FeatureParameters(ring_width_um=1.1, texture_levels=8, background_percentile=10)
    found = features_of(labels, image, spacing=(1.0, 0.4, 0.4), parameters=parameters)
    ids = np.unique(labels[labels > 0])
    assert list(found.index) == list(ids)
    for name, function in (("Mean", ndi.mean), ("Std", ndi.standard_deviation), ("Median", ndi.median)):
        column = f"Nuclei_Intensity_{name}Intensity_mCherry"
        np.testing.assert_allclose(found[column], function(image, labels, ids))
    n_rings = 0
    distances = [ndi.distance_transform_edt(labels != label, sampling=0.4) for label in ids]
    for region, distance, own in zip(
        regionprops(labels, spacing=(0.4, 0.4)), distances, found.itertuples(), strict=True
    ):
        cell = found.loc[own.Index]
        assert cell["Nuclei_AreaShape_Area"] == pytest.approx(region.num_pixels * 0.16)
        assert cell["Nuclei_AreaShape_Eccentricity"] == pytest.approx(region.eccentricity)
        assert cell["Nuclei_AreaShape_MajorAxisLength"] == pytest.approx(region.axis_major_length)
        nearer = np.min([other for other in distances if other is not distance], axis=0) < distance
        ring = (labels == 0) & (distance <= 1.1) & ~nearer
        tied = (
            (labels == 0)
            & ~nearer
            & (distance <= 1.1)
            & np.any([o == distance for o in distances if o is not distance], axis=0)
        )
        if not tied.any():
            n_rings += 1
            whole = image[ring | (labels == own.Index)]
            bright = np.count_nonzero(whole > threshold_otsu(whole))
            assert cell["Cells_AreaOccupied_AreaOccupied_mCherry"] == pytest.approx(bright * 0.16)
            assert cell["Cytoplasm_Intensity_MeanIntensity_mCherry"] == pytest.approx(image[ring].mean())
            ground = np.percentile(image, 10)
            ratio = (image[labels == own.Index].mean() - ground) / (image[ring].mean() - ground)
            assert cell["Nuclei_Ring_Ratio_mCherry"] == pytest.approx(ratio)
        values = image[labels == own.Index].astype(float)
        low, high = values.min(), values.max()
        grey = np.clip((image - low) / (high - low) * 8, 0, 7).astype(np.uint8)
        padded = np.where(labels == own.Index, grey + 1, 0).astype(np.uint8)
        pairs = graycomatrix(padded, [3], [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4], levels=9, symmetric=True)
        pairs = pairs[1:, 1:].sum(axis=3, keepdims=True)
        if pairs.sum():
            for known_as, column in (("contrast", "Contrast"), ("correlation", "Correlation")):
                assert cell[f"Nuclei_Texture_{column}_mCherry_3"] == pytest.approx(
                    graycoprops(pairs, known_as)[0, 0]
                )
    assert n_rings >= 2
    centres = np.array(ndi.center_of_mass(labels > 0, labels, ids)) * 0.4
    apart = np.sort(cdist(centres, centres), axis=1)
    np.testing.assert_allclose(found["Nuclei_Neighbors_FirstClosestDistance"], apart[:, 1])
    np.testing.assert_array_equal(
        found["Nuclei_Neighbors_NumberOfNeighbors_50"], (apart[:, 1:] <= 50).sum(axis=1)
    )


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), dy=st.integers(-8, 8), dx=st.integers(-8, 8))
def test_a_translation_changes_no_feature(seed: int, dy: int, dx: int) -> None:
    labels, image = random_frame(seed)
    before = features_of(labels, image, parameters=FeatureParameters())
    moved = (np.roll(pixels, (dy, dx), (0, 1)) for pixels in (labels, image))
    pd.testing.assert_frame_equal(before, features_of(*moved, parameters=FeatureParameters()), rtol=1e-9)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), gain=st.floats(0.5, 8), offset=st.integers(0, 500))
def test_gain_and_offset_of_the_camera_change_no_ratio_and_no_texture(
    seed: int, gain: float, offset: int
) -> None:
    labels, image = random_frame(seed)
    before = features_of(labels, image, parameters=FeatureParameters())
    after = features_of(labels, image * gain + offset, parameters=FeatureParameters())
    columns = before.columns[before.columns.str.contains("Ratio|RadialDistribution")]
    np.testing.assert_allclose(after[columns], before[columns], rtol=1e-6)
    shapes = before.columns[before.columns.str.contains("AreaShape|AreaOccupied|Neighbors")]
    pd.testing.assert_frame_equal(after[shapes], before[shapes])


def test_the_area_of_fluorescence_tells_a_sensor_in_the_nucleus_from_one_around_it() -> None:
    labels, image = np.zeros((9, 22), np.uint32), np.full((9, 22), 3, np.uint16)
    labels[3:6, 3:6], labels[3:6, 10:13], labels[3:6, 16:19] = 1, 2, 3
    around = [(y, x) for y in range(2, 7) for x in range(9, 14) if not (3 <= y < 6 and 10 <= x < 13)]
    image[3:6, 3:6] = 100
    image[tuple(np.transpose(around))] = 100
    found = features_of(labels, image, spacing=(1.0, 0.5, 0.4))["Cells_AreaOccupied_AreaOccupied_mCherry"]
    # One µm to every side is two pixels along y and two along x: rings are wider than what is bright around label 2.
    assert found.loc[1] == pytest.approx(9 * 0.2)
    assert found.loc[2] == pytest.approx(len(around) * 0.2)
    # Not a grey value differs within the third: no part of it is bright.
    assert np.isnan(found.loc[3])


def test_touching_cells_share_no_ring_and_a_cell_without_one_has_no_ratio() -> None:
    labels = np.full((7, 7), 2, np.uint32)
    labels[3, 3] = 1
    image = np.full((7, 7), 10, np.uint16)
    image[0, 0] = 1
    found = features_of(labels, image)
    assert np.isnan(
        found.loc[1, ["Cytoplasm_Intensity_MeanIntensity_mCherry", "Nuclei_Ring_Ratio_mCherry"]].astype(float)
    ).all()
    assert found.loc[1, "Nuclei_Intensity_MeanIntensity_mCherry"] == 10
    assert np.isnan(found.loc[2, "Cytoplasm_Intensity_MeanIntensity_mCherry"])
    left, right = np.zeros((2, 9, 9), np.uint32)
    left[3:6, 2:4], right[3:6, 4:6] = 1, 2
    ground = np.zeros((9, 9), np.uint16)
    ground[:, :4], ground[:, 4:] = 5, 9
    both = features_of(left + right, ground)
    # Each ring lies on its own side, nothing of it in the neighbour.
    assert list(both["Cytoplasm_Intensity_MeanIntensity_mCherry"]) == [5, 9]
    assert list(both["Cytoplasm_Intensity_StdIntensity_mCherry"]) == [0, 0]


def test_at_the_edge_of_the_field_what_is_seen_is_measured_and_said() -> None:
    labels, image = np.zeros((10, 10), np.uint32), np.full((10, 10), 3, np.uint16)
    labels[0:2, 4:6], labels[5:7, 5:7] = 1, 2
    image[0:2, 4:6] = 7
    found = features_of(labels, image)
    assert list(found[AT_EDGE]) == [True, False]
    assert found.loc[1, "Nuclei_AreaShape_Area"] == 4
    assert found.loc[1, "Cytoplasm_Intensity_MeanIntensity_mCherry"] == 3


def test_a_cell_alone_has_no_neighbour_and_a_frame_without_cells_no_rows() -> None:
    labels = np.zeros((6, 6), np.uint32)
    image = np.ones((6, 6), np.uint16)
    assert len(features_of(labels, image)) == 0
    labels[2, 2] = 5
    found = features_of(labels, image).loc[5]
    assert np.isnan(found["Nuclei_Neighbors_FirstClosestDistance"])
    assert found["Nuclei_Neighbors_NumberOfNeighbors_10"] == 0
    assert np.isnan(found["Nuclei_AreaShape_FormFactor"])
    assert np.isnan(found["Nuclei_AreaShape_Eccentricity"])
    assert np.isnan(found["Nuclei_Texture_Contrast_mCherry_1"])


def test_pixels_that_are_not_square_give_areas_and_no_perimeter() -> None:
    labels, image = two_squares()
    found = features_of(labels, image, spacing=(1.0, 0.5, 1.0))
    assert found.loc[4, "Nuclei_AreaShape_Area"] == 2
    assert np.isnan(found.loc[4, "Nuclei_AreaShape_FormFactor"])


def test_each_cell_of_a_volume_is_measured_in_its_widest_plane() -> None:
    labels, image = np.zeros((3, 12, 12), np.uint32), np.zeros((3, 12, 12), np.uint16)
    labels[0, 2:4, 2:4], labels[1, 2:6, 2:6] = 1, 1
    labels[1, 8:10, 8:10], labels[2, 8:10, 8:10] = 2, 2
    image[0], image[1], image[2] = 10, 20, 30
    image[1, 8:10, 8:10] = 40
    assert [list(one) for one in widest_planes(labels)] == [[1, 2], [1, 1]]
    labels[2, 8:11, 8:11] = 2
    assert [list(one) for one in widest_planes(labels)] == [[1, 2], [1, 2]]
    found = features_of(labels, image, spacing=(3.0, 1.0, 1.0))
    assert list(found["Nuclei_AreaShape_Area"]) == [16, 9]
    assert list(found["Nuclei_Intensity_MeanIntensity_mCherry"]) == [20, 30]
    assert list(found["Cytoplasm_Intensity_MeanIntensity_mCherry"]) == [20, 30]
    dz = (4 * 1 + 9 * 2) / 13 * 3.0 - 16 * 1 / 20 * 3.0
    dy = (4 * 8.5 + 9 * 9) / 13 - (4 * 2.5 + 16 * 3.5) / 20  # and as much along x
    apart = np.sqrt(dz**2 + 2 * dy**2)
    assert found["Nuclei_Neighbors_FirstClosestDistance"].tolist() == pytest.approx([apart, apart])


def test_phase_has_no_ratio_and_channels_keep_apart() -> None:
    labels, image = two_squares()
    found = features_of(labels, image, image * 2)
    assert [column for column in found.columns if "Ratio" in column or "Occupied" in column] == [
        "Nuclei_Ring_Ratio_mCherry",
        "Cells_AreaOccupied_AreaOccupied_mCherry",
    ]
    assert (
        found["Nuclei_Intensity_MeanIntensity_Phase"] == 2 * found["Nuclei_Intensity_MeanIntensity_mCherry"]
    ).all()
    assert channel_columns(["GFP EX488", "GFP-EX488", "µ"]) == {
        "GFP EX488": "GFP_EX488",
        "GFP-EX488": "GFP_EX488_2",
        "µ": "µ",
    }


def test_rings_of_the_radial_profile_are_of_equal_width() -> None:
    labels, image = np.zeros((5, 9), np.uint32), np.zeros((5, 9), np.uint16)
    labels[2, 2:7] = 1
    image[2, 2:7] = [20, 20, 40, 20, 20]
    found = features_of(labels, image).loc[1]
    # Half way out belongs to the outer of two rings; the mean of all is 24.
    assert found["Nuclei_RadialDistribution_MeanFrac_mCherry_1of2"] == pytest.approx(40 / 24)
    assert found["Nuclei_RadialDistribution_MeanFrac_mCherry_2of2"] == pytest.approx(20 / 24)


def test_a_ring_leaves_out_a_cell_that_is_measured_in_another_plane() -> None:
    labels, image = np.zeros((2, 10, 10), np.uint32), np.full((2, 10, 10), 5, np.uint16)
    labels[0, 3:6, 3:6] = 1
    labels[0, 3:6, 6], labels[1, 3:6, 5:9] = 2, 2
    image[0, 3:6, 6] = 100
    found = features_of(labels, image)
    assert list(found["Cytoplasm_Intensity_MeanIntensity_mCherry"]) == [5, 5]
    assert list(found["Nuclei_AreaShape_Area"]) == [9, 12]


def test_a_channel_is_phase_where_that_is_said_whatever_its_name() -> None:
    labels, image = random_frame(3)
    says = PARAMETERS.model_copy(update={"phase_channels": ("Ch0",)})
    found = features_of(labels, image, image, names=("Ch0", "Phase"), parameters=says)
    assert [column for column in found.columns if "Ratio" in column or "Occupied" in column] == [
        "Nuclei_Ring_Ratio_Phase",
        "Cells_AreaOccupied_AreaOccupied_Phase",
    ]
    with pytest.raises(BadInputError, match="phase_channels names 'Ch0', and the channels are Ch1; name one"):
        features_of(labels, image, names=("Ch1",), parameters=says)
