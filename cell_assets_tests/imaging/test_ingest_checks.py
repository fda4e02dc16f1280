"""Bad input: each is one clear sentence that names file, field and value, before anything is written."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cell_assets.errors import BadInputError
from cell_assets.imaging.ingest import ingest, prepare_ingest
from cell_assets.imaging.ingest_checks import IngestOptions
from cell_assets_tests.imaging.source_plates import CTC_OPTIONS, masks, noise, write_ctc, write_zarr

NOTHING = IngestOptions()
HEADER = "track_id,t,z,y,x,id,parent_track_id,parent_id\n"


def refusal(source: Path, options: IngestOptions) -> str:
    """What a person reads; also checks that it is one line and that nothing was written."""
    target = source.parent / "out"
    with pytest.raises(BadInputError) as caught:
        ingest(source, target, options)
    message = str(caught.value)
    assert "\n" not in message
    assert not target.exists()
    return message


def with_options(**changes: object) -> IngestOptions:
    return dataclasses.replace(CTC_OPTIONS, **changes)  # type: ignore[arg-type]


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    """A sound Cell Tracking Challenge folder of five 2-D frames."""
    return write_ctc(tmp_path / "movie", [noise((32, 40), seed=t) for t in range(5)])


@pytest.fixture
def tracked(tmp_path: Path) -> Path:
    """A sound one with masks and tracks."""
    return write_ctc(tmp_path / "tracked", [noise((32, 40), seed=t) for t in range(4)], truth=masks())


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    """A sound OME-Zarr plate of two wells, two channels, three time points."""
    return write_zarr(
        tmp_path / "plate.zarr", {n: noise((3, 2, 4, 16, 20)) for n in ("A/1/0", "B/1/0")}, "0.4"
    )


def test_a_truncated_tiff(movie: Path) -> None:
    file = movie / "01" / "t003.tif"
    file.write_bytes(file.read_bytes()[:-200])
    assert refusal(movie, CTC_OPTIONS).startswith(f"{file}: is cut off")


def test_frames_of_different_shapes(movie: Path) -> None:
    tifffile.imwrite(movie / "01" / "t002.tif", noise((32, 41)))
    message = refusal(movie, CTC_OPTIONS)
    assert message.startswith(f"{movie / '01' / 't002.tif'}: has shape (1, 32, 41)")
    assert "t000.tif has (1, 32, 40)" in message


def test_frames_of_different_types(movie: Path) -> None:
    tifffile.imwrite(movie / "01" / "t002.tif", noise((32, 40), "uint8"))
    assert "t002.tif: has pixels of type uint8, but t000.tif uint16" in refusal(movie, CTC_OPTIONS)


def test_a_missing_time_point(movie: Path) -> None:
    (movie / "01" / "t003.tif").unlink()
    assert f"{movie / '01'}: the frame of time point t003 is missing" in refusal(movie, CTC_OPTIONS)


def test_a_time_point_given_twice(movie: Path) -> None:
    shutil.copy(movie / "01" / "t003.tif", movie / "01" / "t0003.tif")
    assert "t=3 is also in t0003.tif" in refusal(movie, CTC_OPTIONS)


def test_a_colour_tiff(movie: Path) -> None:
    tifffile.imwrite(movie / "01" / "t000.tif", noise((32, 40, 3), "uint8"), photometric="rgb")
    assert "t000.tif: has shape (32, 40, 3) and axes YXS" in refusal(movie, CTC_OPTIONS)


def test_a_text_file_in_place_of_a_tiff(movie: Path) -> None:
    (movie / "01" / "t001.tif").write_text("not an image")
    assert "t001.tif: is cut off or no TIFF (12 bytes)" in refusal(movie, CTC_OPTIONS)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (with_options(channel_names=None), "carries no channel names: give --channel-names with 1 name"),
        (with_options(pixel_size_um=None), "carries no pixel size: give --pixel-size-um Y,X"),
        (with_options(interval_min=None), "carries no time interval: give --interval-min MINUTES"),
        (with_options(channel_names=("a", "b")), "--channel-names gives 2 names (a, b), but"),
        (with_options(channel_names=(" ",)), "channel name ' ' is blank"),
        (with_options(pixel_size_um=(0.0, 1.0)), "--pixel-size-um: pixel size 0.0 is not a positive number"),
        (
            with_options(interval_min=float("nan")),
            "--interval-min: time interval nan is not a positive number",
        ),
        (with_options(format="tiff"), "--format 'tiff' is not known; give auto or one of ctc, "),
        (with_options(format="ome-zarr"), "is not a readable OME-Zarr HCS plate"),
        (with_options(tracks=Path("/nowhere")), "--tracks /nowhere: there is no such folder"),
        (
            with_options(states=Path("/nowhere.csv")),
            "--states /nowhere.csv: annotates tracks, but the plate has none",
        ),
        (with_options(plate_map=Path("/nowhere.csv")), "/nowhere.csv: there is no such plate map"),
    ],
)
def test_what_is_missing_or_wrong_is_asked_for_by_name(
    movie: Path, options: IngestOptions, expected: str
) -> None:
    assert expected in refusal(movie, options)


def test_a_stack_needs_its_z_step(tmp_path: Path) -> None:
    source = write_ctc(tmp_path / "movie", [noise((3, 32, 40))])
    assert "carries no z step: give --z-step-um Z" in refusal(source, CTC_OPTIONS)


def test_one_time_point_needs_no_interval(tmp_path: Path) -> None:
    source = write_ctc(tmp_path / "movie", [noise((32, 40))])
    info = ingest(source, tmp_path / "out", with_options(interval_min=None))
    assert info.interval_min is None


@pytest.mark.parametrize("given", [{"scale": (1.0,) * 5}, {"space_unit": None}])
def test_a_placeholder_is_no_size(tmp_path: Path, given: dict[str, object]) -> None:
    images = {"A/1/0": noise((1, 2, 1, 16, 20))}
    source = write_zarr(tmp_path / "plate.zarr", images, **given)  # type: ignore[arg-type]
    assert "carries no pixel size: give --pixel-size-um" in refusal(source, NOTHING)
    info = ingest(source, tmp_path / "out", IngestOptions(pixel_size_um=(0.5, 0.25)))
    assert info.voxel_size_um.model_dump() == {"z": None, "y": 0.5, "x": 0.25}


@pytest.mark.parametrize(
    ("scale", "unit"), [((1.0, 1.0, 2.0, 0.5, 0.5), "second"), ((3.0, 1.0, 2.0, 0.5, 0.5), None)]
)
def test_a_placeholder_is_no_interval(tmp_path: Path, scale: tuple[float, ...], unit: str | None) -> None:
    source = write_zarr(tmp_path / "p.zarr", {"A/1/0": noise((2, 2, 1, 16, 20))}, scale=scale, time_unit=unit)
    assert "carries no time interval: give --interval-min" in refusal(source, NOTHING)
    assert ingest(source, tmp_path / "out", IngestOptions(interval_min=7.5)).interval_min == 7.5


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (IngestOptions(channel_names=("DNA", "other")), "--channel-names DNA,other contradicts"),
        (IngestOptions(pixel_size_um=(0.5, 0.5)), "--pixel-size-um: pixel size 0.5 contradicts"),
        (IngestOptions(z_step_um=1.0), "--z-step-um: z step 1 contradicts"),
        (IngestOptions(interval_min=600.0), "--interval-min: time interval 600 contradicts"),
    ],
)
def test_an_option_that_contradicts_the_source(plate: Path, options: IngestOptions, expected: str) -> None:
    message = refusal(plate, options)
    assert message.startswith(expected)
    assert "which states" in message


def test_an_option_that_repeats_the_source_is_fine(plate: Path, tmp_path: Path) -> None:
    options = IngestOptions(
        channel_names=("DNA", "sensor"), pixel_size_um=(0.5, 0.25), z_step_um=2.0, interval_min=10.0
    )
    assert ingest(plate, tmp_path / "out", options).interval_min == 10.0


def edit_json(path: Path, change: Callable[[dict], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_channel_that_the_metadata_names_but_the_array_lacks(plate: Path) -> None:
    def add(attributes: dict) -> None:
        channels = attributes["omero"]["channels"]
        channels.append(dict(channels[0], label="phase"))

    edit_json(plate / "B" / "1" / "0" / ".zattrs", add)
    assert "position B/1/0 names 3 channels but holds 2; channel 'phase' is missing" in refusal(
        plate, NOTHING
    )


def test_a_position_with_fewer_channels(tmp_path: Path) -> None:
    source = write_zarr(tmp_path / "plate.zarr", {"A/1/0": noise((3, 2, 4, 16, 20))}, "0.5")
    other = write_zarr(
        tmp_path / "other.zarr", {"B/1/0": noise((3, 1, 4, 16, 20))}, "0.5", channel_names=("DNA",)
    )
    shutil.copytree(other / "B", source / "B")

    def add(content: dict) -> None:
        plate = content["attributes"]["ome"]["plate"]
        plate["rows"].append({"name": "B"})
        plate["wells"].append({"path": "B/1", "rowIndex": 1, "columnIndex": 0})

    edit_json(source / "zarr.json", add)
    message = refusal(source, NOTHING)
    assert (
        "position B/1/0 has channels DNA, but A/1/0 has DNA, sensor; channel 'sensor' is missing" in message
    )


def test_positions_of_different_pixel_types_and_sizes(plate: Path) -> None:
    def change(attributes: dict) -> None:
        attributes["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"][4] = 0.3

    edit_json(plate / "B" / "1" / "0" / ".zattrs", change)
    message = refusal(plate, NOTHING)
    assert "position B/1/0 has pixel size 0.3, but A/1/0 has 0.25; a plate has one pixel size" in message


def test_a_listed_position_that_is_not_there(plate: Path) -> None:
    shutil.rmtree(plate / "B" / "1" / "0")
    assert "position B/1/0, which the plate lists, has no readable image" in refusal(plate, NOTHING)


def test_malformed_image_metadata_says_one_thing(plate: Path, caplog: pytest.LogCaptureFixture) -> None:
    def spoil(attributes: dict) -> None:
        attributes["multiscales"][0]["datasets"] = "none"

    edit_json(plate / "B" / "1" / "0" / ".zattrs", spoil)
    assert "position B/1/0, which the plate lists, has no readable image" in refusal(plate, NOTHING)
    assert caplog.messages == []


def test_a_listed_well_that_is_not_there(plate: Path) -> None:
    shutil.rmtree(plate / "B")
    assert "well B/1, which the plate lists, has no readable metadata" in refusal(plate, NOTHING)


def test_broken_metadata(plate: Path) -> None:
    (plate / "B" / "1" / "0" / "0" / ".zarray").write_text('{"zarr_format": 2, ')
    assert "position B/1/0, which the plate lists, has no readable image" in refusal(plate, NOTHING)


@pytest.mark.parametrize(
    ("version", "file", "place"),
    [
        ("0.4", "B/1/0/0/1/0/0/0/0", "channel 'DNA' at t=1"),
        ("0.4", "A/1/0/0/2/1/0/0/0", "channel 'sensor' at t=2"),
        ("0.5", "B/1/0/0/c/0/1/0/0/0", "channel 'sensor' at t=0"),
    ],
)
def test_a_missing_chunk(tmp_path: Path, version: str, file: str, place: str) -> None:
    images = {n: noise((3, 2, 4, 16, 20)) for n in ("A/1/0", "B/1/0")}
    source = write_zarr(tmp_path / "plate.zarr", images, version)  # type: ignore[arg-type]
    (source / file).unlink()
    message = refusal(source, NOTHING)
    assert message.startswith(f"{source / file}: position {file[:5]} has no chunk for {place}")


def test_all_chunks_missing(plate: Path) -> None:
    for folder in ("0", "1", "2"):
        shutil.rmtree(plate / "A" / "1" / "0" / "0" / folder)
    assert "position A/1/0 has no chunk for channel 'DNA' at t=0" in refusal(plate, NOTHING)


def test_a_damaged_chunk(plate: Path, tmp_path: Path) -> None:
    chunk = plate / "B/1/0/0/1/0/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:100])
    with pytest.raises(BadInputError, match="position B/1/0, channel 0, t=1 cannot be decoded"):
        ingest(plate, tmp_path / "out", NOTHING)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_pixels(tmp_path: Path, value: float) -> None:
    pixels = noise((3, 2, 4, 16, 20), "float32")
    pixels[1, 1, 2, 5, 7] = value
    source = write_zarr(tmp_path / "plate.zarr", {"A/1/0": pixels})
    expected = f"position A/1/0, channel 'sensor', t=1 has a pixel {value} at z=2, y=5, x=7"
    with pytest.raises(BadInputError, match=expected):
        ingest(source, tmp_path / "out", NOTHING)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("1,3,0,1,1,1,,", "line 2: track 1 has t=3, outside the image (the image has t 0 to 2)"),
        ("1,0,0,16,1,1,,", "line 2: track 1 at t=0 has y=16, outside the image (y 0 to 15)"),
        ("1,0,0,1,-0.6,1,,", "line 2: track 1 at t=0 has x=-0.6, outside the image (x 0 to 19)"),
        ("1,0,4.5,1,1,1,,", "line 2: track 1 at t=0 has z=4.5, outside the image (z 0 to 3)"),
        ("1,0,0,1,1,1,7,", "line 2: parent 7 of track 1 does not exist"),
        ("1,1,0,1,1,1,2,\n2,0,0,1,1,2,1,", "line 2: the parents of track 1 form a cycle (1 → 2 → 1)"),
    ],
)
def test_bad_track_rows(plate: Path, tmp_path: Path, row: str, expected: str) -> None:
    folder = tmp_path / "tracks"
    folder.mkdir()
    (folder / "A_1_0.csv").write_text(HEADER + row + "\n")
    message = refusal(plate, IngestOptions(tracks=folder))
    assert message.startswith(f"{folder / 'A_1_0.csv'}, {expected}")


def test_track_files_that_fit_no_position(plate: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tracks"
    folder.mkdir()
    assert "has no CSV or GEFF; name each A_1_0.csv after its FOV" in refusal(
        plate, IngestOptions(tracks=folder)
    )
    (folder / "A_2_0.csv").write_text(HEADER)
    assert f"{folder / 'A_2_0.csv'}: is named for no FOV" in refusal(plate, IngestOptions(tracks=folder))


def test_one_position_with_two_track_files(plate: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tracks"
    folder.mkdir()
    for name in ("A_1_0.csv", "tracks_A_1_0.csv"):
        (folder / name).write_text(HEADER)
    assert "FOV A/1/0 also has" in refusal(plate, IngestOptions(tracks=folder))


def test_tracks_beside_a_source_that_has_its_own(tracked: Path, tmp_path: Path) -> None:
    message = refusal(tracked, with_options(tracks=tmp_path))
    assert "already has tracks for A/1/000" in message


@pytest.mark.parametrize(
    ("man_track", "expected"),
    [
        ("1 0 1 0\n2 2 3 9\n", "line 2: parent 9 of track 2 does not exist"),
        ("1 0 3 0\n2 2 3 1\n", "line 2: track 2 begins at t=2, but its parent 1 still lives at t=3"),
        ("1 0 1 0\n1 2 3 0\n", "line 2: track 1 is given twice"),
        ("1 0 1\n", "line 1: '1 0 1' is not four whole numbers"),
        ("1 2 1 0\n", "line 1: '1 2 1 0' needs a label from 1"),
        ("1 0 1 1\n", "line 1: the parents of track 1 form a cycle"),
    ],
)
def test_bad_track_lists(tracked: Path, man_track: str, expected: str) -> None:
    file = tracked / "01_GT" / "TRA" / "man_track.txt"
    file.write_text(man_track)
    assert refusal(tracked, CTC_OPTIONS).startswith(f"{file}, {expected}")


@pytest.mark.parametrize(
    ("man_track", "expected"),
    [
        (
            "1 0 1 0\n2 2 3 1\n3 2 2 1\n",
            "man_track003.tif: label 3 is in the mask, but man_track.txt has no such track",
        ),
        ("1 0 1 0\n2 2 3 1\n", "man_track002.tif: label 3 is in the mask, but not in man_track.txt"),
        ("1 0 1 0\n2 2 3 1\n3 2 3 1\n4 1 1 0\n", "man_track001.tif: track 4 lives at t=1 by man_track.txt"),
        ("1 0 1 0\n2 2 3 1\n3 2 4 1\n", "man_track.txt: track 3 ends at t=4, but the last mask is t=3"),
    ],
)
def test_masks_and_list_disagree(tracked: Path, tmp_path: Path, man_track: str, expected: str) -> None:
    (tracked / "01_GT" / "TRA" / "man_track.txt").write_text(man_track)
    with pytest.raises(BadInputError) as caught:
        ingest(tracked, tmp_path / "out", CTC_OPTIONS)
    assert expected in str(caught.value)


def test_a_missing_mask(tracked: Path) -> None:
    (tracked / "01_GT" / "TRA" / "man_track002.tif").unlink()
    assert "the mask of time point t002 is missing" in refusal(tracked, CTC_OPTIONS)


def test_a_mask_of_another_shape(tracked: Path) -> None:
    tifffile.imwrite(tracked / "01_GT" / "TRA" / "man_track002.tif", np.zeros((32, 39), np.uint16))
    assert "man_track002.tif: has shape (1, 32, 39)" in refusal(tracked, CTC_OPTIONS)


def test_no_format_fits(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    message = refusal(empty, NOTHING)
    assert "no known plate format (looked for ctc: a folder 01 with t000.tif; " in message
    assert "; ome-zarr: a Zarr group" in message


def test_a_source_that_does_not_exist(tmp_path: Path) -> None:
    assert "there is no such file or folder" in refusal(tmp_path / "nothing", NOTHING)


def test_a_target_in_use(movie: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "mine.txt").write_text("keep")
    with pytest.raises(BadInputError, match="is not empty"):
        prepare_ingest(movie, CTC_OPTIONS).write(target)
    assert [path.name for path in target.iterdir()] == ["mine.txt"]


def test_a_source_that_changes_between_the_passes(
    movie: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare_ingest(movie, CTC_OPTIONS)
    read = prepared.source.read_volume
    calls: list[int] = []

    def unsteady(position: str, t: int, channel: int, z: slice) -> np.ndarray:
        calls.append(t)
        pixels = read(position, t, channel, z).copy()
        if len(calls) == 5 + 3:
            pixels[0, 9, 11] += 1
        return pixels

    monkeypatch.setattr(prepared.source, "read_volume", unsteady)
    with pytest.raises(
        BadInputError, match=r"A/1/000, channel 'phase', t=2: the stored pixel at z=0, y=9, x=11"
    ):
        prepared.write(tmp_path / "out")
