"""Micro-Manager's stacks, flat and nested, in one file and in several; read beside tifffile; and damage."""

import struct
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_assets.errors import BadInputError
from cell_assets.imaging.ingest import ingest
from cell_assets.imaging.ingest_checks import IngestOptions
from cell_assets.imaging.readers.registry import detect_format, open_source
from cell_assets_tests.imaging.micro_manager_files import Place, write_stack
from cell_assets_tests.imaging.source_plates import noise
from cell_assets_tests.imaging.test_ingest import peak_mib
from cell_assets_tests.imaging.written_plates import valid_plate

SUMMARY = {
    "MicroManagerVersion": "2.0",
    "ChNames": ["DNA", "sensor"],
    "Channels": 2,
    "Slices": 3,
    "Frames": 2,
    "Positions": 1,
    "Width": 20,
    "Height": 16,
    "PixelType": "GRAY16",
    "PixelSize_um": 0.325,
    "z-step_um": 1.5,
    "Interval_ms": 90_000,
    "AxisOrder": ["position", "time", "z", "channel"],
}
SHAPE = (2, 2, 3, 16, 20)


def planes_of(pixels: np.ndarray, position: int = 0) -> dict[Place, np.ndarray]:
    """The planes of (T, C, Z, Y, X) in the order in which Micro-Manager takes them."""
    n_times, n_channels, n_depths = pixels.shape[:3]
    places = product(range(n_times), range(n_depths), range(n_channels))
    return {(c, z, t, position): pixels[t, c, z] for t, z, c in places}


def test_all_that_the_summary_states_arrives(tmp_path: Path) -> None:
    pixels = noise(SHAPE)
    file = tmp_path / "plate" / "day1_MMStack_Pos0.ome.tif"
    write_stack(file, planes_of(pixels), SUMMARY)
    assert detect_format(tmp_path / "plate") == "micro-manager"
    info = ingest(tmp_path / "plate", tmp_path / "out", IngestOptions())
    assert (info.source_format, info.channel_names, info.interval_min) == (
        "micro-manager",
        ("DNA", "sensor"),
        1.5,
    )
    assert info.voxel_size_um.model_dump() == {"z": 1.5, "y": 0.325, "x": 0.325}
    written = valid_plate(tmp_path / "out")
    assert list(written) == ["A/1/000"]
    with tifffile.TiffFile(file) as tiff:
        (series,) = tiff.series
        assert (series.kind, series.axes) == ("mmstack", "TZCYX")
        assert np.array_equal(written["A/1/000"], series.asarray().transpose(0, 2, 1, 3, 4))
    assert np.array_equal(written["A/1/000"], pixels)


def test_what_was_not_set_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "plate" / "a_MMStack_Pos0.ome.tif"
    unset = {"PixelSize_um": 0, "z-step_um": 0, "Interval_ms": 0, "ChNames": []}
    write_stack(file, planes_of(noise(SHAPE)), {**SUMMARY, **unset})
    given = {"pixel_size_um": (1.0, 1.0), "z_step_um": 1.0, "interval_min": 1.0, "channel_names": ("a", "b")}
    options = {"pixel_size_um": "pixel-size-um", "z_step_um": "z-step-um", "interval_min": "interval-min"}
    for field, option in {**options, "channel_names": "channel-names"}.items():
        lacking = IngestOptions(**{key: value for key, value in given.items() if key != field})  # type: ignore[arg-type]
        assert f"give --{option}" in refusal(tmp_path / "plate", lacking)


def test_wells_of_the_plate_dialogue(tmp_path: Path) -> None:
    labels = ["A1-Site_0", "A1-Site_1", "H12-Site_0"]
    for position, label in enumerate(labels):
        pixels = noise(SHAPE, seed=position)
        file = tmp_path / f"a_MMStack_{label}.ome.tif"
        write_stack(file, planes_of(pixels, position), {**SUMMARY, "Positions": 3}, labels)
    source = open_source(tmp_path)
    source.check()
    assert [place.name for place in source.positions] == ["A/1/000", "A/1/001", "H/12/000"]
    assert np.array_equal(source.read_volume("H/12/000", 1, 1), noise(SHAPE, seed=2)[1, 1])


def test_nested_folders_are_positions(tmp_path: Path) -> None:
    for seed, well in enumerate(("B2", "B11")):
        write_stack(
            tmp_path / well / "a_1" / "a_1_MMStack_Default.ome.tif",
            planes_of(noise(SHAPE, seed=seed)),
            SUMMARY,
        )
    assert detect_format(tmp_path) == "micro-manager"
    source = open_source(tmp_path)
    assert [place.name for place in source.positions] == ["B/11/000", "B/2/000"]
    assert np.array_equal(source.read_volume("B/2/000", 0, 0), noise(SHAPE)[0, 0])


@settings(max_examples=25)
@given(
    sizes=st.tuples(*[st.integers(1, 3)] * 4),
    n_files=st.integers(1, 3),
    dtype=st.sampled_from(["uint8", "uint16"]),
    shuffle=st.randoms(use_true_random=False),
)
def test_any_sizes_over_any_files(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: tuple[int, ...],
    n_files: int,
    dtype: str,
    shuffle: object,
) -> None:
    folder = tmp_path_factory.mktemp("stacks")
    n_positions, *inner = sizes
    pixels = [noise((*inner, 8, 9), dtype, position) for position in range(n_positions)]
    planes = [item for position, image in enumerate(pixels) for item in planes_of(image, position).items()]
    shuffle.shuffle(planes)  # type: ignore[attr-defined]
    for number in range(min(n_files, len(planes))):
        write_stack(
            folder / f"a_MMStack_Pos0_{number}.ome.tif", dict(planes[number::n_files]), {"ChNames": []}
        )
    source = open_source(folder)
    source.check()
    assert len(source.positions) == n_positions
    for place, image in zip(source.positions, pixels, strict=True):
        assert (place.shape, place.dtype) == (image.shape, np.dtype(dtype))
        for t, channel in product(range(inner[0]), range(inner[1])):
            assert np.array_equal(source.read_volume(place.name, t, channel), image[t, channel])


FAULTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut": (lambda data: data[:-9000], "is cut off or no TIFF"),
    "cut map": (lambda data: data[:-30], "has no Micro-Manager summary and map of planes"),
    "no header": (lambda data: data[:8] + b"\0" * 32 + data[40:], "has no Micro-Manager summary"),
    "broken summary": (lambda data: data.replace(b'{"Micro', b'["Micro', 1), "has no Micro-Manager summary"),
    "summary of 4 GB": (lambda data: data[:36] + b"\xff" * 4 + data[40:], "has no Micro-Manager summary"),
    "more frames": (lambda data: data.replace(b'"Frames": 2', b'"Frames": 9'), "announces 9 frames, but the"),
    "plane twice": (
        lambda data: data[:-20] + data[-40:-20],
        "is nowhere (1 are missing)",
    ),
    "far plane": (
        lambda data: data[:-20] + struct.pack("<4I", 0, 0, 10**9, 0) + data[-4:],
        "not 1000000001 x 2 x 3 (T, C, Z)",
    ),
    "far position": (
        lambda data: data[:-20] + struct.pack("<4I", 0, 0, 0, 10**9) + data[-4:],
        "maps position 1000000000, but has 12 planes",
    ),
    "another width": (
        lambda data: data[: data.rindex(struct.pack("<HHII", 256, 4, 1, 20)) + 8] + b"\xa0\x86\x01\0"
        + data[data.rindex(struct.pack("<HHII", 256, 4, 1, 20)) + 12 :],
        "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_file(tmp_path: Path, fault: str) -> None:
    change, said = FAULTS[fault]
    file = tmp_path / "plate" / "a_MMStack_Pos0.ome.tif"
    write_stack(file, planes_of(noise(SHAPE)), SUMMARY)
    file.write_bytes(change(file.read_bytes()))
    message = refusal(tmp_path / "plate", IngestOptions(format="micro-manager"))
    assert message.startswith(str(file))
    assert said in message


def test_a_map_that_points_elsewhere(tmp_path: Path) -> None:
    write_stack(tmp_path / "plate" / "a_MMStack_Pos0.ome.tif", planes_of(noise(SHAPE)), SUMMARY, stray=6)
    assert "its map of 12 planes names one at byte" in refusal(tmp_path / "plate", IngestOptions())


def test_a_file_of_a_set_is_missing(tmp_path: Path) -> None:
    planes = list(planes_of(noise(SHAPE)).items())
    for number in range(2):
        file = tmp_path / "plate" / f"a_MMStack_Pos0_{number}.ome.tif"
        write_stack(file, dict(planes[6 * number : 6 * number + 6]), SUMMARY)
    (tmp_path / "plate" / "a_MMStack_Pos0_1.ome.tif").unlink()
    assert "announces 2 frames, but the files hold 1" in refusal(tmp_path / "plate", IngestOptions())


def test_memory_stays_within_two_time_points(tmp_path: Path) -> None:
    write_stack(tmp_path / "plate" / "a_MMStack_Pos0.ome.tif", planes_of(noise((2, 2, 10, 1024, 1024))), {
        **SUMMARY, "Slices": 10
    })  # fmt: skip
    assert peak_mib(tmp_path / "plate", tmp_path / "out", {}) <= 2 * 40


def refusal(source: Path, options: IngestOptions) -> str:
    """The one sentence; nothing was written."""
    target = source.parent / "out"
    with pytest.raises(BadInputError) as caught:
        ingest(source, target, options)
    assert not target.exists()
    message = str(caught.value)
    assert "\n" not in message
    return message
