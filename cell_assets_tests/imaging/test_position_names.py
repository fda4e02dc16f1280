"""What positions are called by their microscope, and where that puts them on the plate."""

from pathlib import Path

import pytest

from cell_assets.errors import BadInputError
from cell_assets.imaging.position_names import fov_names


@pytest.mark.parametrize(
    ("labellings", "names"),
    [
        ((["A1-Site_0", "B12-Site_3"],), ("A/1/000", "B/12/003")),
        ((["a01", "P24"],), ("A/1/000", "P/24/000")),
        ((["A01_f2", "A01 s3"],), ("A/1/002", "A/1/003")),
        ((["A1", "A01"],), ("A/1/000", "A/1/001")),  # no sites: numbered within the well
        ((["", ""], ["B2", "B3"]), ("B/2/000", "B/3/000")),
        ((["Pos0", "Pos1", "Pos0"], ["B2", "B2", "C3"]), ("B/2/000", "B/2/001", "C/3/000")),
        ((["Q1"],), ("A/1/000",)),
    ],
)
def test_names(labellings: tuple[list[str], ...], names: tuple[str, ...]) -> None:
    assert fov_names(Path("plate"), *labellings) == names


@pytest.mark.parametrize(
    ("labellings", "said"),
    [
        (
            (["A1-Site_0", "calibration"],),
            "plate: position 'calibration' names no well, though 'A1-Site_0' does",
        ),
        ((["", ""], ["x", "B3"]), "plate: position 'x' names no well, though 'B3' does"),
        ((["A1-Site_0", "B2-Site_0", "A01_000"],), "plate: two positions are called 'A1-Site_0' or the like"),
    ],
)
def test_what_would_put_a_position_in_another_well(labellings: tuple[list[str], ...], said: str) -> None:
    with pytest.raises(BadInputError) as caught:
        fov_names(Path("plate"), *labellings)
    assert str(caught.value).startswith(said)
