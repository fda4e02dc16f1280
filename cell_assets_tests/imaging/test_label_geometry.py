import numpy as np
import pytest
from skimage.draw import ellipse
from skimage.measure import regionprops

from cell_assets.imaging.label_geometry import compact_labels, label_geometry


def test_agrees_with_scikit_image_on_random_labels() -> None:
    random = np.random.default_rng(0)
    labels = (random.random((1, 40, 50)) > 0.5) * random.integers(0, 9, (1, 40, 50))
    found = label_geometry(labels, (1.0, 1.0, 1.0))
    expected = regionprops(labels[0])
    assert found.label.tolist() == [region.label for region in expected]
    assert found.area.tolist() == [region.area for region in expected]
    np.testing.assert_allclose(found.centroid[:, 1:], [region.centroid for region in expected])
    # scikit-image counts pixels as points; as squares they add 1/12 to each second moment.
    lengths = [np.sqrt(region.axis_major_length**2 + 16 / 12) for region in expected]
    np.testing.assert_allclose(found.length_um, lengths)


def test_centroids_keep_their_fraction() -> None:
    labels = np.zeros((1, 8, 8), int)
    labels[0, 2, 2:4] = 5
    found = label_geometry(labels, (1.0, 1.0, 1.0))
    assert found.centroid.tolist() == [[0.0, 2.0, 2.5]]


def test_length_is_in_micrometres_along_the_long_axis() -> None:
    labels = np.zeros((1, 64, 64), int)
    rows, columns = ellipse(32, 32, 8, 20)
    labels[0, rows, columns] = 1
    (length,) = label_geometry(labels, (1.0, 0.5, 0.25)).length_um
    assert length == pytest.approx(2 * 20 * 0.25, rel=0.03)


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.2, np.pi / 2, 2.5])
def test_elongation_lies_along_the_long_axis(angle: float) -> None:
    labels = np.zeros((1, 64, 64), int)
    rows, columns = ellipse(32, 32, 20, 8, rotation=angle)
    labels[0, rows, columns] = 1
    found = label_geometry(labels, (1.0, 0.5, 0.5))
    (region,) = regionprops(labels[0])
    # scikit-image's angle is from the rows' axis.
    expected = np.array([np.cos(region.orientation), np.sin(region.orientation)])
    (vector,) = found.elongation_um
    assert np.linalg.norm(vector) == pytest.approx((40 - 16) * 0.5, rel=0.05)
    assert abs(vector @ expected) / np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def test_length_of_a_volume_is_that_of_its_projection() -> None:
    labels = np.zeros((4, 16, 16), int)
    labels[0, 4, 4:9] = 1
    labels[1:, 4, 8:12] = 1
    flat = labels.max(axis=0, keepdims=True)
    volume, plane = label_geometry(labels, (1, 1, 1)), label_geometry(flat, (1, 1, 1))
    assert volume.length_um == pytest.approx(plane.length_um)
    assert volume.area.tolist() == [5 + 3 * 4]


def test_no_labels_have_no_rows() -> None:
    found = label_geometry(np.zeros((2, 4, 4), int), (1, 1, 1))
    assert len(found.label) == len(found.length_um) == 0
    assert found.centroid.shape == (0, 3)


def test_compact_labels_renumbers_what_is_kept() -> None:
    keep = np.array([True, False, True, True])
    assert compact_labels(np.array([0, 1, 2, 3]), keep).tolist() == [0, 0, 1, 2]
