"""What positions are called by their microscope, and where that puts them on the plate."""

import pytest

from cell_assets.imaging.position_names import fov_names


@pytest.mark.parametrize(
    ("labellings", "names"),
    [
        ((["A1-Site_0", "B12-Site_3"],), ("A/1/000", "B/12/003")),
        ((["a01", "P24"],), ("A/1/000", "P/24/000")),
        ((["A01_f2", "A01 s3"],), ("A/1/002", "A/1/003")),
        ((["A1", "Pos1"],), ("A/1/000", "A/1/001")),  # one label without a well: none is believed
        ((["A1", "A01"],), ("A/1/000", "A/1/001")),  # two of one place: numbers tell them apart
        ((["", ""], ["B2", "B3"]), ("B/2/000", "B/3/000")),
        ((["", ""], ["x", "B3"]), ("A/1/000", "A/1/001")),
        ((["Q1"],), ("A/1/000",)),
    ],
)
def test_names(labellings: tuple[list[str], ...], names: tuple[str, ...]) -> None:
    assert fov_names(*labellings) == names
