"""NDTiff: three real acquisitions and one of the package's own writer, read beside that package; and damage."""

import contextlib
import io
import json
import shutil
import struct
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from ndtiff import Dataset, NDTiffDataset

from cell_assets.errors import BadInputError
from cell_assets.imaging.ingest import ingest, prepare_ingest
from cell_assets.imaging.ingest_checks import IngestOptions
from cell_assets.imaging.readers.registry import detect_format, open_source
from cell_assets_tests.imaging.source_plates import noise
from cell_assets_tests.imaging.written_plates import valid_plate
from cell_assets_tests.shared_data import shared_data

INTERVAL = IngestOptions(interval_min=5.0)
ACQUISITIONS = {
    "12_bit_pycromanager_mda": (INTERVAL, (4, 2, 1, 64, 64), None),
    "ndtiff3.2_monochrome": (
        IngestOptions(interval_min=5.0, channel_names=("phase",)),
        (8, 1, 16, 64, 64),
        0.4,
    ),
    "ndtiff3.2_multichannel": (INTERVAL, (8, 2, 16, 64, 64), 0.4),
}


def opened(folder: Path) -> Dataset:
    """The acquisition in its own package, which talks while it opens."""
    with contextlib.redirect_stdout(io.StringIO()):
        return Dataset(str(folder))


@pytest.mark.needs_shared
@pytest.mark.parametrize("name", ACQUISITIONS)
def test_a_real_acquisition_arrives_whole(tmp_path: Path, name: str) -> None:
    folder = shared_data("ndtiff") / name
    options, shape, z_um = ACQUISITIONS[name]
    info = ingest(folder, tmp_path / "out", options)
    assert info.source_format == "ndtiff"
    assert info.voxel_size_um.model_dump() == {"z": z_um, "y": 1.0, "x": 1.0}
    written = valid_plate(tmp_path / "out")
    assert list(written) == ["A/1/000"]
    assert written["A/1/000"].shape == shape
    dataset = opened(folder)
    channels = sorted(dataset.axes.get("channel", [None]))
    assert info.channel_names == (tuple(channels) if channels != [None] else ("phase",))
    for t, c, z in product(*map(range, shape[:3])):
        axes = {"time": t, "channel": channels[c], "z": z}
        given = {axis: value for axis, value in axes.items() if axis in dataset.axes}
        assert np.array_equal(written["A/1/000"][t, c, z], dataset.read_image(**given))


@pytest.mark.needs_shared
def test_what_the_acquisition_lacks_is_asked_for() -> None:
    folder = shared_data("ndtiff") / "ndtiff3.2_monochrome"
    with pytest.raises(BadInputError, match="carries no time interval: give --interval-min MINUTES"):
        prepare_ingest(folder, IngestOptions(channel_names=("phase",)))
    with pytest.raises(BadInputError, match="carries no channel names: give --channel-names with 1 name"):
        prepare_ingest(folder, INTERVAL)


@pytest.mark.needs_shared
def test_a_folder_of_acquisitions_is_a_plate(tmp_path: Path) -> None:
    real = shared_data("ndtiff") / "12_bit_pycromanager_mda"
    for well in ("B2", "B11"):
        shutil.copytree(real, tmp_path / "plate" / well / "Full resolution")
    assert detect_format(tmp_path / "plate") == "ndtiff"
    source = open_source(tmp_path / "plate")
    assert [place.name for place in source.positions] == ["B/11/000", "B/2/000"]
    source.check()
    expected = opened(real).read_image(time=3, channel="FITC")
    assert np.array_equal(source.read_volume("B/2/000", 3, 1)[0], expected)


@pytest.mark.parametrize(
    ("positions", "names"),
    [
        (("A1-Site_0", "A1-Site_1", "C12-Site_0"), ("A/1/000", "A/1/001", "C/12/000")),
        (("Pos0", "Pos1"), ("A/1/000", "A/1/001")),
        ((0, 1), ("A/1/000", "A/1/001")),
    ],
)
def test_positions_of_the_packages_writer(
    tmp_path: Path, positions: tuple[int | str, ...], names: tuple[str, ...]
) -> None:
    summary = {"PixelSize_um": 0.325, "Interval_ms": 90_000, "z-step_um": 1.5}
    dataset = NDTiffDataset(str(tmp_path / "plate"), summary_metadata=summary, writable=True)
    planes = {}
    for seed, (position, t, channel, z) in enumerate(product(positions, range(2), ("b", "a"), range(3))):
        pixels = noise((12, 10), seed=seed)
        dataset.put_image({"position": position, "time": t, "channel": channel, "z": z}, pixels, {"a": 1})
        planes[position, t, channel, z] = pixels
    dataset.finish()
    dataset.close()
    source = open_source(tmp_path / "plate")
    source.check()
    assert tuple(place.name for place in source.positions) == names
    (place, *_) = source.positions
    assert place.shape == (2, 2, 3, 12, 10)
    assert place.channel_names == ("b", "a")
    assert (place.z_um, place.y_um, place.x_um, place.interval_min) == (1.5, 0.325, 0.325, 1.5)
    for (position, t, channel, z), pixels in planes.items():
        name = names[positions.index(position)]
        assert np.array_equal(source.read_volume(name, t, "ba".index(channel), slice(z, z + 1))[0], pixels)


def entry(axes: object, file: str, *numbers: int) -> bytes:
    """One entry of the index: axes, file, then offset, width, height, type, compression, metadata."""
    texts = (json.dumps(axes).encode(), file.encode())
    return b"".join(struct.pack("<I", len(t)) + t for t in texts) + struct.pack("<8I", *numbers)


FILE = "12_bit_pycromanager_mda_NDTiffStack.tif"
NEXT = {"time": 4, "channel": "DAPI"}
DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "index cut": (lambda index: index[:-30], "NDTiff.index: is cut off or damaged at byte"),
    "index empty": (lambda index: b"", "NDTiff.index: lists no plane"),
    "length of 4 GB": (
        lambda index: b"\xff" * 4 + index[4:],
        "NDTiff.index: is cut off or damaged at byte 0",
    ),
    "broken JSON": (lambda index: index.replace(b"{", b"[", 1), "NDTiff.index: is cut off or damaged"),
    "axes no object": (lambda index: entry([1], FILE, *[0] * 8), "NDTiff.index: is cut off or damaged"),
    "not UTF-8": (
        lambda index: index.replace(b"DAPI", b"\xff\xfePI", 1),
        "NDTiff.index: is cut off or damaged",
    ),
    "plane twice": (lambda index: index + index[:106], "lists the plane"),
    "a hole": (
        lambda index: index + entry(NEXT, FILE, 0, 64, 64, 4, 0, 0, 0, 0),
        "has no plane at position 0, time 4",
    ),
    "colour": (lambda index: entry({}, FILE, 0, 64, 64, 2, 0, 0, 0, 0), "has pixel type 2, not grey"),
    "compressed": (lambda index: entry({}, FILE, 0, 64, 64, 1, 7, 0, 0, 0), "has pixel compression 7"),
    "another shape": (
        lambda index: index + entry(NEXT, FILE, 0, 65, 64, 4, 0, 0, 0, 0),
        "(64, 65) (Y, X), unlike",
    ),
    "another type": (lambda index: index + entry(NEXT, FILE, 0, 64, 64, 0, 0, 0, 0, 0), "is uint8 (64, 64)"),
    "claims 10 GB": (
        lambda index: index[:78] + struct.pack("<2I", 10**5, 5 * 10**4) + index[86:106],
        "is cut off: a plane ends at",
    ),
    "other folder": (
        lambda index: entry({}, "../" + FILE, 0, 64, 64, 4, 0, 0, 0, 0),
        "is cut off or damaged",
    ),
    "no such file": (lambda index: entry({}, "b.tif", 0, 64, 64, 4, 0, 0, 0, 0), "b.tif: cannot be opened"),
    "unknown axis": (
        lambda index: entry({"row": 3}, FILE, 0, 64, 64, 4, 0, 0, 0, 0),
        "has an axis 'row' with value 3",
    ),
    "named time": (
        lambda index: entry({"time": "a"}, FILE, 0, 64, 64, 4, 0, 0, 0, 0),
        "axis 'time' has names",
    ),
    "axis of half": (lambda index: entry({"z": 0.5}, FILE, 0, 64, 64, 4, 0, 0, 0, 0), "axis 'z' is 0.5"),
    "metadata beyond": (
        lambda index: entry({}, FILE, 500, 64, 64, 4, 0, 2**31, 9, 0),
        "9 bytes of metadata end at",
    ),
    "metadata no JSON": (
        lambda index: entry({}, FILE, 500, 64, 64, 4, 0, 0, 9, 0),
        "metadata of a plane is no JSON",
    ),
}


@pytest.mark.needs_shared
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_index(tmp_path: Path, damage: str) -> None:
    change, said = DAMAGE[damage]
    folder = copy_of_12_bit(tmp_path)
    index = folder / "NDTiff.index"
    index.write_bytes(change(index.read_bytes()))
    message = refusal(folder)
    assert message.startswith(str(folder))
    assert said in message


@pytest.mark.needs_shared
@pytest.mark.parametrize("kept", [0, 10, 27, 300, 50_000, 95_000])
def test_a_truncated_stack(tmp_path: Path, kept: int) -> None:
    folder = copy_of_12_bit(tmp_path)
    (folder / FILE).write_bytes((folder / FILE).read_bytes()[:kept])
    assert refusal(folder).startswith(f"{folder / FILE}: ")


def copy_of_12_bit(tmp_path: Path) -> Path:
    folder = tmp_path / "plate"
    shutil.copytree(shared_data("ndtiff") / "12_bit_pycromanager_mda", folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    return folder


def refusal(folder: Path) -> str:
    """The one sentence; nothing was written."""
    with pytest.raises(BadInputError) as caught:
        ingest(folder, folder.parent / "out", IngestOptions(interval_min=5.0, format="ndtiff"))
    assert not (folder.parent / "out").exists()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.needs_shared
def test_a_pyramid_is_read_once_at_full_resolution(tmp_path: Path) -> None:
    for name in ("Full resolution", "Downsampled_x2"):
        shutil.copytree(shared_data("ndtiff") / "12_bit_pycromanager_mda", tmp_path / "plate" / name)
    source = open_source(tmp_path / "plate")
    assert [place.name for place in source.positions] == ["A/1/000"]
    assert all(file.parent.name == "Full resolution" for file in source.files())
