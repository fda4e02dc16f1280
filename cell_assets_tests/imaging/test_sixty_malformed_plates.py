"""Sixty ways in which a real plate arrives broken: one sentence each, nothing kept, and no memory for what is claimed.

`python -m pytest -s` on this file prints the sentences as a user reads them.
"""

import functools
import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import tifffile

from cell_assets.errors import BadInputError
from cell_assets.imaging.ingest import prepare_ingest
from cell_assets.imaging.ingest_checks import IngestOptions
from cell_assets.ledger.ledger import Ledger
from cell_assets.store.store import FormatName, Store
from cell_assets_tests.imaging.micro_manager_files import write_stack
from cell_assets_tests.imaging.source_plates import noise, write_zarr
from cell_assets_tests.imaging.test_micro_manager import SHAPE, SUMMARY, planes_of
from cell_assets_tests.imaging.test_ome_tiff import STATED
from cell_assets_tests.imaging.test_tiff_folder import NF1_PATTERN
from cell_assets_tests.shared_data import shared_data
from cell_assets_tests.store.drafts import leftovers, run_draft

pytestmark = pytest.mark.needs_shared

PIXELS = {"pixel_size_um": (0.5, 0.5)}
MOST_MIB = 64


def copied(name: str, names: str, folder: Path) -> Path:
    """The files `names` of a real input, writable."""
    source = shared_data(name)
    for file in sorted(source.glob(names)):
        target = folder / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return folder


def dose_plate(folder: Path) -> Path:
    return copied("sbs_plate", "Channel*-A-0[1-3].tif", folder / "sbs")


def painting(folder: Path) -> Path:
    return copied("nf1_cell_painting", "images/D*.tif", folder / "nf1") / "images"


def bacteria(folder: Path) -> Path:
    """Three frames with their masks, and a list that ends with them."""
    movie = copied("ctc_ecoli", "01/t00[0-2].tif", folder / "ctc")
    copied("ctc_ecoli", "01_GT/TRA/man_track00[0-2].tif", movie)
    whole = (shared_data("ctc_ecoli") / "01_GT/TRA/man_track.txt").read_text().splitlines()
    rows = [list(map(int, line.split())) for line in whole]
    listed = [f"{label} {begin} {min(end, 2)} {parent}" for label, begin, end, parent in rows if begin <= 2]
    (movie / "01_GT/TRA/man_track.txt").write_text("\n".join(listed) + "\n")
    return movie


def ndtiff(name: str) -> Callable[[Path], Path]:
    return lambda folder: copied(f"ndtiff/{name}", "*", folder / "ndtiff")


def ome_tiff(folder: Path) -> Path:
    (folder / "ome").mkdir()
    for well in ("B2", "B3"):
        tifffile.imwrite(
            folder / "ome" / f"{well}.ome.tif", noise(SHAPE), photometric="minisblack", metadata=STATED
        )
    return folder / "ome"


def micro_manager(folder: Path) -> Path:
    for position, label in enumerate(("A1-Site_0", "A2-Site_0")):
        planes = planes_of(noise(SHAPE, seed=position), position)
        file = folder / "mm" / f"day1_MMStack_{label}.ome.tif"
        write_stack(file, planes, {**SUMMARY, "Positions": 2}, ["A1-Site_0", "A2-Site_0"])
    return folder / "mm"


def hcs(version: str) -> Callable[[Path], Path]:
    images = {name: noise((2, 2, 3, 16, 20)) for name in ("A/1/0", "B/2/0")}
    return lambda folder: write_zarr(folder / "plate.zarr", images, version)  # type: ignore[arg-type]


PLATES: dict[str, tuple[Callable[[Path], Path], IngestOptions]] = {
    "sbs": (dose_plate, IngestOptions(channel_names=("DNA", "sensor"), **PIXELS)),  # type: ignore[arg-type]
    "nf1": (painting, IngestOptions(pattern=NF1_PATTERN, **PIXELS)),  # type: ignore[arg-type]
    "ctc": (bacteria, IngestOptions(channel_names=("phase",), interval_min=5.0, **PIXELS)),  # type: ignore[arg-type]
    "ndtiff12": (ndtiff("12_bit_pycromanager_mda"), IngestOptions(interval_min=5.0)),
    "ndtiffmono": (ndtiff("ndtiff3.2_monochrome"), IngestOptions(interval_min=5.0, channel_names=("phase",))),
    "ndtiffmulti": (ndtiff("ndtiff3.2_multichannel"), IngestOptions(interval_min=5.0)),
    "ome": (ome_tiff, IngestOptions()),
    "mm": (micro_manager, IngestOptions()),
    "zarr4": (hcs("0.4"), IngestOptions()),
    "zarr5": (hcs("0.5"), IngestOptions()),
}

Change = Callable[[Path], object]


def cut(name: str, keep: int) -> Change:
    return lambda plate: (plate / name).write_bytes((plate / name).read_bytes()[:keep])


def written(name: str, content: bytes) -> Change:
    return lambda plate: (plate / name).write_bytes(content)


def replaced(name: str, old: bytes, new: bytes) -> Change:
    def change(plate: Path) -> None:
        data = (plate / name).read_bytes()
        assert old in data
        (plate / name).write_bytes(data.replace(old, new))

    return change


def removed(name: str) -> Change:
    return lambda plate: shutil.rmtree(plate / name) if (plate / name).is_dir() else (plate / name).unlink()


def packed(compressor: object, content: bytes, filters: object = None) -> Change:
    """One FOV's chunks, as another codec packs them."""

    def change(plate: Path) -> None:
        edited("A/1/0/0/.zarray", "compressor", value=compressor)(plate)
        edited("A/1/0/0/.zarray", "filters", value=filters)(plate)
        for chunk in (plate / "A/1/0/0").rglob("*"):
            if chunk.is_file() and not chunk.name.startswith("."):
                chunk.write_bytes(content)

    return change


@functools.cache
def bomb(codec: str) -> bytes:
    """128 MB of zeros, packed."""
    return bytes(numcodecs.get_codec({"id": codec}).encode(bytes(2**27)))


def a_folder(name: str) -> Change:
    def change(plate: Path) -> None:
        removed(name)(plate)
        (plate / name).mkdir()

    return change


def a_link(name: str, to: str) -> Change:
    def change(plate: Path) -> None:
        if (plate / name).exists():
            removed(name)(plate)
        (plate / name).symlink_to(to)

    return change


def imaged(name: str, pixels: np.ndarray, **options: object) -> Change:
    return lambda plate: tifffile.imwrite(plate / name, pixels, photometric="minisblack", **options)


def not_utf8(folder: str, suffix: bytes) -> Change:
    return lambda plate: Path(os.fsdecode(os.fsencode(plate / folder) + b"/\xff\xfe" + suffix)).write_bytes(
        b"x"
    )


def tagged(name: str, **values: int) -> Change:
    def change(plate: Path) -> None:
        with tifffile.TiffFile(plate / name, mode="r+b") as tiff:
            for tag, value in values.items():
                tiff.pages[0].tags[tag].overwrite(value)

    return change


def edited(name: str, *at: str | int, value: object) -> Change:
    """One value of a JSON file set, or taken out where the value is `...`."""

    def change(plate: Path) -> None:
        whole = json.loads((plate / name).read_text())
        inside = whole
        for key in at[:-1]:
            inside = inside[key]
        if value is ...:
            del inside[at[-1]]
        else:
            inside[at[-1]] = value
        (plate / name).write_text(json.dumps(whole))

    return change


GIGABYTES = {"ImageWidth": 60_000, "ImageLength": 60_000}
TEN_GB = {"ImageWidth": 100_000, "ImageLength": 50_000}
SBS = "Channel1-01-A-01.tif"
SBS2 = "Channel2-02-A-02.tif"
NF1 = "D6_01_1_2_DAPI_001.tif"
FRAME, MASK, LIST = "01/t001.tif", "01_GT/TRA/man_track001.tif", "01_GT/TRA/man_track.txt"
INDEX = "NDTiff.index"
STACK = "12_bit_pycromanager_mda_NDTiffStack.tif"
MONO, MULTI = "NDTiff3.2_monochrome_NDTiffStack.tif", "NDTiff3.2_multichannel_NDTiffStack.tif"
OME, MM = "B2.ome.tif", "day1_MMStack_A2-Site_0.ome.tif"


@dataclass(frozen=True)
class Case:
    """A plate, what is done to it, and what the sentence must name."""

    plate: str
    change: Change
    says: tuple[str, ...]
    options: Mapping[str, object] | None = None


CASES: dict[str, Case] = {
    "sbs: a file cut in the middle": Case("sbs", cut(SBS, 200_000), (SBS, "cut off")),
    "sbs: an empty file": Case("sbs", written(SBS2, b""), (SBS2, "0 bytes")),
    "sbs: a text file for a TIFF": Case("sbs", written(SBS, b"see other disk"), (SBS, "no TIFF")),
    "sbs: a header of gigabytes": Case("sbs", tagged(SBS, **GIGABYTES), (SBS, "header claims")),
    "sbs: a folder for a file": Case("sbs", a_folder(SBS), ("A/1/000", "channel 1", "missing")),
    "sbs: a file of channel 2 missing": Case("sbs", removed(SBS2), ("A/2/000", "channel 2", "missing")),
    "sbs: a thumbnail among images": Case("sbs", imaged(SBS2, noise((8, 8), "uint8")), (SBS2, "(1, 8, 8)")),
    "sbs: colour": Case(
        "sbs",
        lambda p: tifffile.imwrite(p / SBS, noise((20, 20, 3), "uint8"), photometric="rgb"),
        (SBS, "grey"),
    ),
    "sbs: one well twice": Case(
        "sbs",
        lambda p: shutil.copy(p / SBS, p / "Channel1-99-A-01.tif"),
        ("Channel1-99-A-01.tif", SBS, "same place"),
    ),
    "sbs: a TIFF that is no part of it": Case(
        "sbs",
        lambda p: shutil.copy(p / SBS, p / "overview.tif"),
        ("overview.tif", "does not fit the pattern"),
    ),
    "sbs: a link to itself": Case("sbs", a_link(SBS, SBS), (SBS, "symbolic links")),
    "sbs: a folder that leads into itself": Case("sbs", a_link("more", "."), ("more", "link to a folder")),
    "sbs: a name that is not UTF-8": Case("sbs", not_utf8("", b".tif"), ("\\xff\\xfe.tif", "UTF-8")),
    "sbs: a stack among planes": Case(
        "sbs", imaged(SBS2, noise((3, 20, 20), "uint8")), (SBS2, "(3, 20, 20)")
    ),
    "sbs: an unknown field in the pattern": Case(
        "sbs", lambda p: None, ("{site}",), {"pattern": "{site}.tif"}
    ),
    "sbs: a pattern of half the folder": Case(
        "sbs", lambda p: None, ("Channel2", "does not fit"), {"pattern": "Channel1-*-{row}-{column}.tif"}
    ),
    "sbs: no pixel size": Case("sbs", lambda p: None, ("--pixel-size-um",), {"pixel_size_um": None}),
    "nf1: a missing stain": Case("nf1", removed(NF1), ("D/6/002", "DAPI", "missing")),
    "nf1: another shape": Case("nf1", imaged(NF1, noise((904, 1225))), (NF1, "(1, 904, 1225)")),
    "nf1: half numbers among whole": Case(
        "nf1", imaged(NF1, np.full((904, 1224), 0.5, "float32")), (NF1, "float32")
    ),
    "nf1: strips without a place": Case("nf1", tagged(NF1, StripOffsets=2**31), (NF1, "places for")),
    "nf1: three channel names for two": Case(
        "nf1", lambda p: None, ("2 names",), {"channel_names": ("a", "b")}
    ),
    "ctc: a frame cut": Case("ctc", cut(FRAME, 5000), (FRAME, "cut off")),
    "ctc: a frame missing": Case("ctc", removed(FRAME), ("t001", "missing")),
    "ctc: a frame of another shape": Case(
        "ctc", imaged(FRAME, noise((10, 10), "uint8")), (FRAME, "(1, 10, 10)")
    ),
    "ctc: a frame of 16 bits": Case("ctc", imaged(FRAME, noise((1305, 1009))), (FRAME,)),
    "ctc: a folder for a frame": Case("ctc", a_folder(FRAME), (FRAME, "directory")),
    "ctc: a link round in a circle": Case("ctc", a_link(FRAME, "t001.tif"), (FRAME, "symbolic links")),
    "ctc: a mask missing": Case(
        "ctc", removed("01_GT/TRA/man_track002.tif"), ("TRA", "2 masks for 3 frames")
    ),
    "ctc: a mask with half labels": Case(
        "ctc", imaged(MASK, np.zeros((1305, 1009), "float32")), (MASK, "float32")
    ),
    "ctc: an empty mask": Case("ctc", imaged(MASK, np.zeros((1305, 1009), "uint16")), (MASK, "no pixels")),
    "ctc: no track list": Case("ctc", removed(LIST), (LIST, "missing")),
    "ctc: words in the track list": Case("ctc", written(LIST, b"1 0 two 0\n"), (LIST, "line 1")),
    "ctc: a track list of binary": Case("ctc", written(LIST, b"\xff\xfe\0"), (LIST,)),
    "ndtiff: the index cut": Case("ndtiff12", cut(INDEX, 500), (INDEX, "cut off")),
    "ndtiff: an empty index": Case("ndtiff12", written(INDEX, b""), (INDEX, "no plane")),
    "ndtiff: the stack missing": Case("ndtiff12", removed(STACK), (STACK, "restore")),
    "ndtiff: the stack a folder": Case("ndtiff12", a_folder(STACK), (STACK, "no regular file")),
    "ndtiff: the stack cut": Case("ndtiffmono", cut(MONO, 1_000_000), (MONO, "cut off")),
    "ndtiff: a plane of 10 GB": Case(
        "ndtiffmono",
        replaced(INDEX, struct.pack("<2I", 64, 64), struct.pack("<2I", 100_000, 50_000)),
        (MONO, "cut off"),
    ),
    "ndtiff: broken JSON of a plane": Case("ndtiffmulti", replaced(INDEX, b'{"', b'["'), (INDEX, "damaged")),
    "ndtiff: a channel stopped early": Case("ndtiffmulti", cut(INDEX, 28512 - 112), (INDEX,)),
    "ndtiff: no little-endian head": Case("ndtiffmulti", replaced(MULTI, b"II*\0", b"MM\0*"), (MULTI,)),
    "ome: broken XML": Case("ome", replaced(OME, b"</OME>", b"</OMA>"), (OME, "no XML")),
    "ome: 10 GB in the XML": Case(
        "ome",
        lambda p: (
            replaced(OME, b'SizeX="20" SizeY="16"', b'SizeX="100000" SizeY="50000"')(p),
            replaced(OME, b'"tifffile.py', b'"tiff')(p),  # so that no byte after the description moves
        ),
        (OME, "metadata says uint16 (50000, 100000)"),
    ),
    "ome: an axis without size": Case("ome", replaced(OME, b'SizeC="2"', b'SizeK="2"'), (OME, "SizeC")),
    "ome: a type that is not": Case("ome", replaced(OME, b'"uint16"', b'"uint99"'), (OME, "uint99")),
    "ome: a text with entities": Case("ome", replaced(OME, b"<?xml version", b"<!DOCTYPE a>x"), (OME,)),
    "ome: the file cut": Case("ome", cut(OME, 9000), (OME, "cut off")),
    "ome: an interval below nothing": Case(
        "ome", replaced(OME, b'TimeIncrement="', b'TimeIncrement="-'), ("B/2/000", "interval", "-1.5")
    ),
    "mm: the file cut": Case("mm", cut(MM, 4000), (MM, "cut off")),
    "mm: no map of planes": Case(
        "mm", lambda p: cut(MM, (p / MM).stat().st_size - 30)(p), (MM, "map of planes")
    ),
    "mm: a position missing": Case("mm", removed(MM), ("2 positions", "hold 1")),
    "mm: a summary that is no JSON": Case("mm", replaced(MM, b'{"Micro', b'["Micro'), (MM, "summary")),
    "mm: a plane of 10 GB": Case("mm", tagged(MM, **TEN_GB), (MM, "claims 10000000000 bytes")),
    "zarr 0.4: broken JSON": Case("zarr4", written("B/2/0/.zattrs", b'{"multiscales": ['), ("B/2/0",)),
    "zarr 0.4: a chunk cut": Case("zarr4", cut("A/1/0/0/1/1/0/0/0", 40), ("A/1/0", "channel 1, t=1")),
    "zarr 0.4: a chunk missing": Case("zarr4", removed("A/1/0/0/1/1/0/0/0"), ("A/1/0", "'sensor'", "t=1")),
    "zarr 0.4: an array of 10 GB": Case(
        "zarr4", edited("A/1/0/0/.zarray", "shape", value=[2, 2, 3, 50_000, 33_333]), ("A/1/0",)
    ),
    "zarr 0.4: chunks of 10 GB": Case(
        "zarr4",
        lambda p: (
            edited("A/1/0/0/.zarray", "shape", value=[2, 2, 1, 50_000, 100_000])(p),
            edited("A/1/0/0/.zarray", "chunks", value=[1, 1, 1, 50_000, 100_000])(p),
        ),
        ("A/1/0",),
    ),
    "zarr 0.4: pickles for chunks": Case(
        "zarr4",
        packed({"id": "pickle", "protocol": 5}, pickle.dumps(print)),
        ("A/1/0", "pickle"),
    ),
    "zarr 0.4: a pickle for a filter": Case(
        "zarr4",
        packed(None, pickle.dumps(print), [{"id": "pickle", "protocol": 5}]),
        ("A/1/0", "pickle"),
    ),
    **{
        f"zarr 0.4: {codec} that unpacks to 128 MB": Case(
            "zarr4", lambda p, codec=codec: packed({"id": codec}, bomb(codec))(p), ("A/1/0",)
        )
        for codec in ("gzip", "zlib", "bz2", "zstd", "lzma", "lz4")
    },
    "zarr 0.4: a dtype that is not": Case(
        "zarr4", edited("B/2/0/0/.zarray", "dtype", value="<q9"), ("B/2/0",)
    ),
    "zarr 0.4: a name that is not UTF-8": Case("zarr4", not_utf8("A", b""), ("UTF-8",)),
    "zarr 0.4: a chunk that leads round": Case(
        "zarr4", a_link("A/1/0/0/0/0/0/0/0", "0"), ("A/1/0", "missing")
    ),
    "zarr 0.5: no axes": Case(
        "zarr5",
        edited("A/1/0/zarr.json", "attributes", "ome", "multiscales", 0, "axes", value=...),
        ("A/1/0",),
    ),
    "zarr 0.5: a well listed that is not there": Case("zarr5", removed("B/2"), ("B/2",)),
    "zarr 0.5: a position listed twice": Case(
        "zarr5",
        edited("A/1/zarr.json", "attributes", "ome", "well", "images", value=[{"path": "0"}, {"path": "0"}]),
        ("A/1/0", "twice"),
    ),
    "zarr 0.5: metadata in another encoding": Case(
        "zarr5", written("zarr.json", b"\xff\xfe{\0"), ("plate.zarr",)
    ),
    "zarr 0.5: a folder for its metadata": Case("zarr5", a_folder("B/2/0/zarr.json"), ("B/2/0",)),
    "zarr 0.5: an array of no pixels": Case(
        "zarr5", edited("B/2/0/0/zarr.json", "shape", value=[2, 2, 3, 0, 20]), ("B/2/0",)
    ),
    "zarr 0.5: one NaN": Case(
        "zarr5",
        lambda p: (
            shutil.rmtree(p),
            write_zarr(
                p, {"A/1/0": np.where(np.arange(640).reshape(1, 2, 1, 16, 20) == 7, np.nan, 1).astype("f4")}
            ),
        ),
        ("A/1/0", "nan", "x=7"),
    ),
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        yield Store(tmp_path / "store", ledger)


def peak_mib() -> float:
    text = Path("/proc/self/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def resident_mib() -> float:
    text = Path("/proc/self/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


@pytest.mark.parametrize("name", CASES)
def test_one_sentence_and_nothing_kept(tmp_path: Path, store: Store, name: str) -> None:
    case = CASES[name]
    make, options = PLATES[case.plate]
    plate = make(tmp_path)
    case.change(plate)
    if case.options is not None:
        options = replace(options, **case.options)  # type: ignore[arg-type]
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_mib()
    with pytest.raises(BadInputError) as caught:
        prepared = prepare_ingest(plate, options)
        prepared.source_digest  # noqa: B018
        with store.write("raw_acquisition", "P1") as staged:
            prepared.write(staged.path)
            store.publish(staged, run_draft(), (), FormatName("cell_assets.acquisition", "1"))
    sentence = str(caught.value)
    print(f"\n{name}\n    {sentence.replace(str(tmp_path), '…')}")
    assert peak_mib() - before < MOST_MIB
    assert "\n" not in sentence
    assert sentence.encode().decode() == sentence
    for part in case.says:
        assert part in sentence
    assert store.ledger.artifacts() == ()
    assert store.ledger.plates() == ()
    assert store.ledger.open_intents() == ()
    assert leftovers(store) == []


@pytest.mark.parametrize("plate", PLATES)
def test_every_plate_is_sound_before_it_is_changed(tmp_path: Path, plate: str) -> None:
    make, options = PLATES[plate]
    info = prepare_ingest(make(tmp_path), options).write(tmp_path / "out")
    assert info.positions


def test_there_are_sixty() -> None:
    assert len(CASES) >= 60
