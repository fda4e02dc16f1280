"""TIFFs placed by their names: two real plates, any layout that a pattern can name, and folders with a fault."""

import csv
import dataclasses
import os
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_assets.errors import BadInputError
from cell_assets.imaging.ingest import ingest, prepare_ingest
from cell_assets.imaging.ingest_checks import IngestOptions
from cell_assets.imaging.readers.registry import detect_format, open_source
from cell_assets_tests.imaging.source_plates import noise
from cell_assets_tests.imaging.written_plates import valid_plate
from cell_assets_tests.shared_data import shared_data

OPTIONS = IngestOptions(channel_names=("DNA", "sensor"), pixel_size_um=(0.5, 0.25))
NF1_PATTERN = "{well}_*_*_{fov}_{channel}_*.tif"


def plate_map_of(metadata: Path, target: Path) -> Path:
    """The screen's own table as a plate map: controls are -1 and 1; it names no compound and no unit."""
    with metadata.open(newline="") as file, target.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["well", "compound", "dose", "dose_unit", "is_control"])
        for row in csv.DictReader(file):
            control = "true" if row["SBS_Controls"] in ("-1", "1") else "false"
            writer.writerow([row["Row"] + row["Column"], "drug", row["SBS_Doses"], "a.u.", control])
    return target


@pytest.mark.needs_shared
def test_the_real_dose_plate_arrives_whole(tmp_path: Path) -> None:
    source = shared_data("sbs_plate")
    assert detect_format(source) == "tiff-folder"
    plate_map = plate_map_of(source / "1049_Metadata.csv", tmp_path / "map.csv")
    info = ingest(source, tmp_path / "out", dataclasses.replace(OPTIONS, plate_map=plate_map))
    written = valid_plate(tmp_path / "out")
    expected = {f"{row}/{column}/000" for row, column in product("ABC", range(1, 13))}
    assert set(written) == expected
    for index, (row, column) in enumerate(product("ABC", range(1, 13)), start=1):
        for channel in (1, 2):
            pixels = tifffile.imread(source / f"Channel{channel}-{index:02d}-{row}-{column:02d}.tif")
            assert np.array_equal(written[f"{row}/{column}/000"][0, channel - 1, 0], pixels)
    assert info.well_of("B/12/000").dose == 10
    assert [info.well_of(f"C/{column}/000").is_control for column in (1, 2, 3, 12)] == [
        True,
        True,
        False,
        True,
    ]


@pytest.mark.needs_shared
def test_the_real_cell_painting_fields_arrive_whole(tmp_path: Path) -> None:
    source = shared_data("nf1_cell_painting") / "images"
    options = IngestOptions(pattern=NF1_PATTERN, pixel_size_um=(0.5, 0.5))
    info = ingest(source, tmp_path / "out", options)
    assert info.channel_names == ("DAPI", "GFP", "RFP")
    written = valid_plate(tmp_path / "out")
    fields = {"B/7/003": "B7_01_{}_3_{}_001", "D/6/002": "D6_01_{}_2_{}_001", "D/7/001": "D7_01_{}_1_{}_001"}
    assert set(written) == set(fields)
    for name, file in fields.items():
        for channel, stain in enumerate(info.channel_names):
            pixels = tifffile.imread(source / f"{file.format(channel + 1, stain)}.tif")
            assert np.array_equal(written[name][0, channel, 0], pixels)


LAYOUTS = {
    "Channel{channel}-*-{row}-{column}.tif": "Channel{channel}-{index:02d}-{row}-{column:02d}.tif",
    "{well}_s{fov}_w{channel}_t{t}_z{z}.tif": "{row}{column:02d}_s{fov}_w{channel}_t{t:03d}_z{z}.tif",
    "r{row}c{column}f{fov}p{z}-ch{channel}sk{t}.tiff": (
        "r{row_number:02d}c{column:02d}f{fov:02d}p{z:02d}-ch{channel}sk{t}.tiff"
    ),
    "{well}/site {fov}/t{t}/{channel}.tif": "{row}{column}/site {fov}/t{t}/{channel}.tif",
    "t{t}.tif": "t{t:03d}.tif",
}


@settings(max_examples=40)
@given(
    pattern=st.sampled_from(sorted(LAYOUTS)),
    wells=st.sets(st.tuples(st.sampled_from("ABP"), st.integers(1, 24)), min_size=1, max_size=3),
    sizes=st.tuples(*[st.integers(1, 2)] * 4),
    start=st.integers(0, 1),
    depth=st.integers(1, 2),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
)
def test_every_layout_that_a_pattern_names(
    pattern: str, wells: set[tuple[str, int]], sizes: tuple[int, ...], start: int, depth: int, dtype: str
) -> None:
    n_fovs, n_channels, n_times, n_depths = sizes
    said = {field: f"{{{field}}}" in pattern for field in ("fov", "channel", "t", "z")}
    n_fovs = n_fovs if said["fov"] else 1
    n_channels = n_channels if said["channel"] else 1
    n_times = n_times if said["t"] else 1
    n_depths, depth = (n_depths, 1) if said["z"] else (1, depth)
    wells = wells if "well" in pattern or "row" in pattern else {("A", 1)}
    planes: dict[tuple[str, int, int, int], np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        places = product(sorted(wells), *map(range, (n_fovs, n_channels, n_times, n_depths)))
        for index, ((row, column), fov, channel, t, z) in enumerate(places):
            name = LAYOUTS[pattern].format(
                index=index,
                row=row,
                row_number=ord(row) - 64,
                column=column,
                fov=fov,
                channel=channel,
                t=t + start,
                z=z + start,
            )
            pixels = noise((8, 9) if depth == 1 else (depth, 8, 9), dtype, index)
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path / name, pixels, photometric="minisblack", metadata=None)
            planes[f"{row}/{column}/{fov:03d}", t, channel, z] = pixels.reshape(depth, 8, 9)
        source = open_source(path, pattern=pattern)
        source.check()
        assert {place.shape for place in source.positions} == {
            (n_times, n_channels, max(n_depths, depth), 8, 9)
        }
        assert len(source.positions) == len(wells) * n_fovs
        for (name, t, channel, z), pixels in planes.items():
            part = slice(z, z + 1) if n_depths > 1 else slice(None)
            read = source.read_volume(name, t, channel, part)
            assert read.dtype == np.dtype(dtype)
            assert np.array_equal(read, pixels)


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    """A sound plate of two wells, two channels, and files beside the images."""
    folder = tmp_path / "plate"
    folder.mkdir()
    for index, (channel, column) in enumerate(product((1, 2), (1, 2))):
        tifffile.imwrite(
            folder / f"Channel{channel}-{index:02d}-A-{column:02d}.tif", noise((16, 20), seed=index)
        )
    (folder / "notes.csv").write_text("a,b\n")
    return folder


def refusal(plate: Path, options: IngestOptions = OPTIONS) -> str:
    """The one sentence; nothing was written."""
    with pytest.raises(BadInputError) as caught:
        ingest(plate, plate.parent / "out", dataclasses.replace(options, format="tiff-folder"))
    assert not (plate.parent / "out").exists()
    message = str(caught.value)
    assert "\n" not in message
    message.encode()
    return message


def test_a_sound_plate(plate: Path) -> None:
    assert prepare_ingest(plate, OPTIONS).facts.channel_names == ("DNA", "sensor")


def test_what_names_do_not_say_is_asked_for(plate: Path) -> None:
    bare = IngestOptions()
    assert "carries no pixel size: give --pixel-size-um Y,X" in refusal(plate, bare)
    sized = dataclasses.replace(bare, pixel_size_um=(0.5, 0.5))
    assert "carries no channel names: give --channel-names" in refusal(plate, sized)


def test_a_file_that_does_not_fit(plate: Path) -> None:
    tifffile.imwrite(plate / "overview.tif", noise((16, 20)))
    assert refusal(plate).startswith(f"{plate}/overview.tif: does not fit the pattern 'Channel{{channel}}")


def test_two_files_of_one_place(plate: Path) -> None:
    tifffile.imwrite(plate / "Channel1-77-A-01.tif", noise((16, 20)))
    message = refusal(plate)
    assert "Channel1-77-A-01.tif: has the same place as Channel1-00-A-01.tif (A/1/000, channel 1)" in message


def test_a_hole(plate: Path) -> None:
    (plate / "Channel2-03-A-02.tif").unlink()
    assert "the file of A/2/000, channel 2 is missing" in refusal(plate)


def test_a_hole_in_time(tmp_path: Path) -> None:
    folder = tmp_path / "movie"
    folder.mkdir()
    for t in (1, 2, 4):
        tifffile.imwrite(folder / f"t{t}.tif", noise((16, 20)))
    assert "no file has t 3, though they go from 1 to 4" in refusal(folder, IngestOptions(pattern="t{t}.tif"))


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (noise((16, 21)), "has shape (1, 16, 21) (Z, Y, X), but Channel1-00-A-01.tif has (1, 16, 20)"),
        (noise((16, 20), "uint8"), "has pixels of type uint8, but Channel1-00-A-01.tif uint16"),
        (noise((16, 20, 3), "uint8"), "not one grey plane"),
    ],
)
def test_an_image_unlike_the_others(plate: Path, pixels: np.ndarray, said: str) -> None:
    tifffile.imwrite(plate / "Channel2-03-A-02.tif", pixels)
    message = refusal(plate)
    assert message.startswith(f"{plate}/Channel2-03-A-02.tif: ")
    assert said in message


def test_planes_that_are_times(plate: Path) -> None:
    for file in plate.glob("*.tif"):
        tifffile.imwrite(file, noise((3, 16, 20)), imagej=True, metadata={"axes": "TYX"})
    assert "says that its 3 planes are axis T" in refusal(plate)


def test_a_name_that_is_not_utf8(plate: Path) -> None:
    (Path(os.fsdecode(os.fsencode(plate) + b"/Channel1-\xff-A-03.tif"))).write_bytes(b"")
    assert r"/Channel1-\xff-A-03.tif: has a name that is not UTF-8; rename it" in refusal(plate)


@pytest.mark.parametrize("target", ["Channel1-09-A-03.tif", "nothing.tif"])
def test_a_link_to_nowhere(plate: Path, target: str) -> None:
    (plate / "Channel1-09-A-03.tif").symlink_to(target)
    assert "Channel1-09-A-03.tif: cannot be opened" in refusal(plate)


def test_a_folder_that_leads_into_itself(plate: Path) -> None:
    (plate / "again").symlink_to(plate)
    assert "again: is a link to a folder; put the folder itself there" in refusal(plate)


def test_a_truncated_file(plate: Path) -> None:
    file = plate / "Channel2-03-A-02.tif"
    file.write_bytes(file.read_bytes()[:-50])
    assert refusal(plate).startswith(f"{file}: is cut off")


def test_no_tiff(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty").endswith("has no TIFF; give another folder")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("{wel}.tif", "field {wel} is not known; write {well}, {row}"),
        ("{well}{well}.tif", "field {well} comes twice"),
        ("{well.tif", "has a brace without its partner"),
        ("{row}.tif", "has {row} or {column} alone"),
        ("{well}{row}{column}.tif", "has {well} beside {row} and {column}"),
        ("*-*-*-*-*-*-*.tif", "has 7 parts of any length"),
    ],
)
def test_a_pattern_with_a_fault(plate: Path, pattern: str, said: str) -> None:
    message = refusal(plate, IngestOptions(pattern=pattern))
    assert message.startswith(f"--pattern {pattern!r}: ")
    assert said in message


def test_a_pattern_for_another_format(plate: Path) -> None:
    with pytest.raises(BadInputError, match=r"--pattern 't\{t\}.tif': is not for format ctc"):
        prepare_ingest(plate, IngestOptions(format="ctc", pattern="t{t}.tif"))
