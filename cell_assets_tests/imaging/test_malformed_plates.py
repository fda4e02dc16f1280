"""Damaged plates of every TIFF-like format: one sentence whatever the bytes, and no memory for what they claim."""

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_assets.errors import BadInputError
from cell_assets.imaging.ingest import prepare_ingest
from cell_assets.imaging.ingest_checks import IngestOptions
from cell_assets_tests.imaging.micro_manager_files import write_stack
from cell_assets_tests.imaging.source_plates import noise
from cell_assets_tests.imaging.test_micro_manager import SHAPE, SUMMARY, planes_of
from cell_assets_tests.imaging.test_ome_tiff import STATED
from cell_assets_tests.shared_data import shared_data

OPTIONS = {"channel_names": ("a", "b"), "pixel_size_um": (1.0, 1.0), "z_step_um": 1.0, "interval_min": 1.0}


def compressed(folder: Path) -> None:
    for channel in (1, 2):
        file = folder / f"Channel{channel}-01-A-01.tif"
        tifffile.imwrite(file, noise((16, 20), seed=channel), compression="zlib")


def stacks(folder: Path) -> None:
    for channel in (1, 2):
        file = folder / f"Channel{channel}-01-A-01.tif"
        tifffile.imwrite(file, noise((3, 16, 20), seed=channel), imagej=True, metadata={"axes": "ZYX"})


def ome(folder: Path) -> None:
    tifffile.imwrite(folder / "a.ome.tif", noise(SHAPE), ome=True, photometric="minisblack", metadata=STATED)


def micro_manager(folder: Path) -> None:
    write_stack(folder / "a_MMStack_Pos0.ome.tif", planes_of(noise(SHAPE)), SUMMARY)


def ndtiff(folder: Path) -> None:
    for file in (shared_data("ndtiff") / "12_bit_pycromanager_mda").iterdir():
        shutil.copyfile(file, folder / file.name)


PLATES: dict[str, tuple[Callable[[Path], None], IngestOptions]] = {
    "compressed": (compressed, IngestOptions("tiff-folder", **OPTIONS)),  # type: ignore[arg-type]
    "stacks": (stacks, IngestOptions("tiff-folder", **OPTIONS)),  # type: ignore[arg-type]
    "ome": (ome, IngestOptions("ome-tiff")),
    "micro-manager": (micro_manager, IngestOptions("micro-manager")),
    "ndtiff": (ndtiff, IngestOptions("ndtiff", interval_min=1.0)),
}

WORDS = [b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", b"\x00\xca\x9a\x3b", b"\x01\0\0\0"]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["byte", "word", "cut out", "put in"]),
        st.floats(0, 1, exclude_max=True),
        st.sampled_from([64, 700, 10**9]),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=5,
)


def damaged(data: bytes, changes: list[tuple[str, float, int, int]]) -> bytes:
    """`data` with bytes changed, most of them near its head, where directories and maps are."""
    out = bytearray(data)
    for how, where, within, value in changes:
        at = int(where * min(len(out), within))
        word = WORDS[value % len(WORDS)]
        old, new = {
            "byte": (1, bytes([value])),
            "word": (4, word),
            "cut out": (value, b""),
            "put in": (0, word),
        }[how]
        out[at : at + old] = new
    return bytes(out)


def read_all(folder: Path, options: IngestOptions) -> None:
    """Everything that an ingest reads."""
    source = prepare_ingest(folder, options).source
    for place in source.positions:
        for t in range(place.shape[0]):
            frame = source.read_frame(place.name, t)
            assert frame.shape == place.shape[1:]


@pytest.mark.needs_shared
@pytest.mark.parametrize("plate", PLATES)
def test_any_damage_is_one_sentence(tmp_path: Path, plate: str) -> None:
    write, options = PLATES[plate]
    write(tmp_path)
    read_all(tmp_path, options)
    files = sorted(file for file in tmp_path.iterdir() if file.suffix in (".tif", ".index"))
    sound = {file: file.read_bytes() for file in files}
    refused = 0

    @settings(max_examples=150, derandomize=True, database=None)
    @given(file=st.sampled_from(files), changes=CHANGES)
    def damage(file: Path, changes: list[tuple[str, float, int, int]]) -> None:
        nonlocal refused
        file.write_bytes(damaged(sound[file], changes))
        try:
            read_all(tmp_path, options)
        except BadInputError as error:
            refused += 1
            assert "\n" not in str(error)
            assert str(tmp_path) in str(error)
        finally:
            file.write_bytes(sound[file])

    damage()
    assert refused > 30


def set_tags(file: Path, **values: int) -> None:
    """Change tags of the first directory in place."""
    with tifffile.TiffFile(file, mode="r+b") as tiff:
        for name, value in values.items():
            tiff.pages[0].tags[name].overwrite(value)


CLAIM = {"ImageWidth": 100_000, "ImageLength": 50_000, "RowsPerStrip": 50_000}
"""5 billion pixels of two bytes: 10 GB."""


def claim_in_tags(folder: Path) -> None:
    for file in folder.glob("*.tif"):
        set_tags(file, **CLAIM)


def claim_in_description(folder: Path) -> None:
    file = folder / "a.ome.tif"
    data = file.read_bytes()
    claimed = data.replace(b'SizeX="20" SizeY="16"', b'SizeX="100000" SizeY="50000"')
    claimed = claimed.replace(b'"tifffile.py', b'"tiff')  # so that no byte after the description moves
    assert len(claimed) == len(data)
    assert claimed != data
    file.write_bytes(claimed)


def claim_in_index(folder: Path) -> None:
    index = folder / "NDTiff.index"
    data = index.read_bytes()
    index.write_bytes(data[:78] + struct.pack("<2I", 100_000, 50_000) + data[86:106])


MEASURE = """
import json, sys
from pathlib import Path
from cell_assets.errors import BadInputError
from cell_assets_tests.imaging.test_malformed_plates import PLATES, read_all

def peak():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

before, seen = None, {}
for case in sys.argv[2:]:
    plate = case.split(":")[0]
    folder = Path(sys.argv[1]) / case
    said = ""
    try:
        read_all(folder, PLATES[plate][1])
    except BadInputError as error:
        said = str(error)
    seen[case] = (said, 0.0 if before is None else peak() - before)
    before = peak()
print(json.dumps(seen))
"""


@pytest.mark.needs_shared
def test_no_memory_for_ten_gigabytes_that_are_not_there(tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is measured by Linux's /proc")
    claims: dict[str, Callable[[Path], None]] = {
        "compressed:tags": claim_in_tags,
        "stacks:tags": claim_in_tags,
        "ome:tags": claim_in_tags,
        "ome:description": claim_in_description,
        "micro-manager:tags": claim_in_tags,
        "ndtiff:index": claim_in_index,
    }
    cases = ["compressed:sound", "stacks:sound", "ome:sound", "micro-manager:sound", "ndtiff:sound", *claims]
    for case in cases:
        (tmp_path / case).mkdir()
        PLATES[case.split(":")[0]][0](tmp_path / case)
        if case in claims:
            claims[case](tmp_path / case)
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path), *cases],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    seen = json.loads(result.stdout)
    for case in cases:
        said, mib = seen[case]
        assert (said == "") == case.endswith(":sound"), case
        if case in claims:
            assert mib < 64, (case, mib)
    assert "its header claims 10000000000 bytes for plane 0" in seen["compressed:tags"][0]
