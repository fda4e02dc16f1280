"""OME-TIFF by its own description: single files, folders, sets over several files, plates; and damage."""

import re
import uuid
from collections.abc import Callable, Mapping
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
from cell_assets_tests.imaging.source_plates import noise
from cell_assets_tests.imaging.test_ingest import peak_mib
from cell_assets_tests.imaging.written_plates import valid_plate
from cell_assets_tests.shared_data import shared_data

STATED = {
    "axes": "TCZYX",
    "PhysicalSizeX": 250.0,
    "PhysicalSizeXUnit": "nm",
    "PhysicalSizeY": 0.5,
    "PhysicalSizeYUnit": "µm",
    "PhysicalSizeZ": 2.0,
    "TimeIncrement": 90.0,
    "TimeIncrementUnit": "s",
    "Channel": {"Name": ["DNA", "sensor"]},
}
SHAPE = (3, 2, 4, 16, 20)


def write(file: Path, pixels: np.ndarray, **changes: object) -> None:
    tifffile.imwrite(file, pixels, ome=True, photometric="minisblack", metadata={**STATED, **changes})


def test_all_that_the_description_states_arrives(tmp_path: Path) -> None:
    pixels = noise(SHAPE)
    write(tmp_path / "a.ome.tif", pixels)
    info = ingest(tmp_path / "a.ome.tif", tmp_path / "out", IngestOptions())
    assert (info.source_format, info.channel_names, info.interval_min) == ("ome-tiff", ("DNA", "sensor"), 1.5)
    assert info.voxel_size_um.model_dump() == {"z": 2.0, "y": 0.5, "x": 0.25}
    written = valid_plate(tmp_path / "out")
    assert list(written) == ["A/1/000"]
    assert np.array_equal(written["A/1/000"], pixels)


@pytest.mark.needs_shared
def test_a_real_stack(tmp_path: Path) -> None:
    file = shared_data("hipsc_masks") / "TOMM20_pipeline_example_cell_segmentation.tiff"
    options = IngestOptions(format="ome-tiff", pixel_size_um=(0.1, 0.1), z_step_um=0.3)
    ingest(file, tmp_path / "out", options)
    assert np.array_equal(valid_plate(tmp_path / "out")["A/1/000"][0, 0], tifffile.imread(file))


def test_a_folder_of_files_named_for_wells(tmp_path: Path) -> None:
    for seed, name in enumerate(("B02_1", "B02_2", "C11_1")):
        write(tmp_path / f"{name}.ome.tif", noise(SHAPE, seed=seed))
    assert detect_format(tmp_path) == "ome-tiff"
    source = open_source(tmp_path)
    assert [place.name for place in source.positions] == ["B/2/001", "B/2/002", "C/11/001"]
    assert np.array_equal(source.read_volume("C/11/001", 2, 1), noise(SHAPE, seed=2)[2, 1])


def test_files_that_name_no_well_are_fovs_of_one(tmp_path: Path) -> None:
    for name in ("left", "right"):
        write(tmp_path / f"{name}.ome.tif", noise(SHAPE))
    assert [place.name for place in open_source(tmp_path).positions] == ["A/1/000", "A/1/001"]


def xml(
    size: Mapping[str, int], blocks: str, head: str = "", order: str = "XYZCT", kind: str = "uint16"
) -> str:
    sizes = " ".join(f'Size{axis}="{length}"' for axis, length in size.items())
    return (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        f'{head}<Image ID="Image:0" Name="one"><Pixels ID="Pixels:0" Type="{kind}" DimensionOrder="{order}" '
        f"{sizes}>{blocks}</Pixels></Image></OME>"
    )


def pages(file: Path, planes: np.ndarray, description: str) -> None:
    """Planes (n, Y, X), a directory each, with the description in the first."""
    with tifffile.TiffWriter(file) as tiff:
        for number, plane in enumerate(planes):
            tiff.write(
                plane,
                photometric="minisblack",
                metadata=None,
                contiguous=False,
                description=description.encode() if number == 0 else None,
            )


SIZE = {"X": 20, "Y": 16, "Z": 4, "C": 2, "T": 3}


@settings(max_examples=30)
@given(order=st.permutations("ZCT"), n_files=st.integers(1, 4), each=st.booleans(), seed=st.integers(0, 9))
def test_any_order_over_any_files(
    tmp_path_factory: pytest.TempPathFactory, order: list[str], n_files: int, each: bool, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("set")
    pixels = noise(SHAPE, seed=seed)
    axes = [("TCZ".index(axis)) for axis in reversed(order)]
    planes = pixels.transpose(*axes, 3, 4).reshape(-1, 16, 20)  # the fastest axis last
    parts = np.array_split(np.arange(len(planes)), n_files)
    blocks = ""
    for number, part in enumerate(parts):
        groups = [[k] for k in part] if each else [part]
        for group in groups:
            at = dict(
                zip(order, np.unravel_index(int(group[0]), [SIZE[a] for a in order], order="F"), strict=True)
            )
            blocks += (
                f'<TiffData IFD="{group[0] - part[0]}" PlaneCount="{len(group)}" FirstT="{at["T"]}" '
                f'FirstC="{at["C"]}" FirstZ="{at["Z"]}"><UUID FileName="{number}.ome.tif">urn:uuid:{uuid.uuid4()}'
                "</UUID></TiffData>"
            )
    for number, part in enumerate(parts):
        pages(folder / f"{number}.ome.tif", planes[part], xml(SIZE, blocks, order="XY" + "".join(order)))
    source = open_source(folder)
    source.check()
    (place,) = source.positions
    assert place.shape == SHAPE
    for t in range(3):
        for channel in range(2):
            assert np.array_equal(source.read_volume("A/1/000", t, channel), pixels[t, channel])
            assert np.array_equal(
                source.read_volume("A/1/000", t, channel, slice(1, 3)), pixels[t, channel, 1:3]
            )
    assert len(list(source.files())) == n_files


def test_a_companion_file_and_its_plate(tmp_path: Path) -> None:
    pixels = noise((24, 16, 20))
    binary = '<OME xmlns="http://x.org/OME"><BinaryOnly MetadataFile="p.companion.ome"/></OME>'
    for number in range(2):
        pages(tmp_path / f"{number}.ome.tif", pixels[12 * number : 12 * number + 12], binary)
    plate = (
        '<Plate ID="Plate:0"><Well ID="Well:0" Row="1" Column="2"><WellSample ID="WellSample:0" Index="0">'
        '<ImageRef ID="Image:0"/></WellSample></Well></Plate>'
    )
    blocks = "".join(
        f'<TiffData IFD="0" PlaneCount="12" FirstT="{first_t}" FirstC="{c}" FirstZ="0">'
        f'<UUID FileName="{n}.ome.tif">u</UUID></TiffData>'
        for n, first_t, c in ((0, 0, 0), (1, 1, 1))
    )
    (tmp_path / "p.companion.ome").write_text(xml(SIZE, blocks, plate), encoding="utf-8")
    source = open_source(tmp_path)
    assert [place.name for place in source.positions] == ["B/3/000"]
    assert np.array_equal(source.read_volume("B/3/000", 1, 1), pixels.reshape(3, 2, 4, 16, 20)[1, 1])
    assert tmp_path / "p.companion.ome" in set(source.files())


def test_a_set_is_read_once_though_a_file_of_it_holds_a_plane_more(tmp_path: Path) -> None:
    blocks = "".join(
        f'<TiffData IFD="0" PlaneCount="12" FirstT="{first_t}" FirstC="{channel}">'
        f'<UUID FileName="{number}.ome.tif">u</UUID></TiffData>'
        for number, first_t, channel in ((0, 0, 0), (1, 1, 1))
    )
    for number in range(2):
        pages(tmp_path / f"{number}.ome.tif", noise((13, 16, 20), seed=number), xml(SIZE, blocks))
    source = open_source(tmp_path)
    assert [place.name for place in source.positions] == ["A/1/000"]
    assert np.array_equal(source.read_volume("A/1/000", 2, 1), noise((13, 16, 20), seed=1)[8:12])


def test_what_the_description_lacks_is_asked_for(tmp_path: Path) -> None:
    pages(tmp_path / "a.ome.tif", noise((24, 16, 20)), xml(SIZE, "<TiffData/>"))
    assert "carries no pixel size: give --pixel-size-um Y,X" in refusal(tmp_path)


GOOD = xml(SIZE, "<TiffData/>")
FAULTS: dict[str, tuple[Callable[[str], str], str]] = {
    "cut XML": (lambda text: text[:200], "its OME description is no XML"),
    "other XML": (lambda text: "<OMERO>OME></OMERO>", "its description is <OMERO>, not <OME>"),
    "no description": (lambda text: "hello", "carries no OME description; read it by --format tiff-folder"),
    "entities": (
        lambda text: text.replace("?><OME", "?><!DOCTYPE a [<!ENTITY b 'c'>]><OME"),
        "has a DOCTYPE",
    ),
    "no image": (lambda text: re.sub("<Image.*</Image>", "", text), "has no Image"),
    "no pixels": (lambda text: re.sub("<Pixels.*</Pixels>", "", text), "Image 'Image:0' has no Pixels"),
    "size in words": (lambda text: text.replace('SizeZ="4"', 'SizeZ="four"'), "Pixels SizeZ is 'four'"),
    "no size": (lambda text: text.replace('SizeZ="4"', ""), "Pixels SizeZ is None"),
    "size of nothing": (lambda text: text.replace('SizeZ="4"', 'SizeZ="0"'), "Pixels SizeZ is '0'"),
    "too many planes": (
        lambda text: text.replace('SizeT="3"', 'SizeT="9"'),
        "claims 72 planes, but its files hold 24",
    ),
    "absurd planes": (
        lambda text: text.replace('SizeT="3"', 'SizeT="99999999"'),
        "claims 99999999 x 2 x 4 planes",
    ),
    "10 GB plane": (
        lambda text: text.replace('X="20"', 'X="100000"').replace('Y="16"', 'Y="50000"'),
        "has a plane of uint16 (16, 20), but its metadata says uint16 (50000, 100000)",
    ),
    "wrong type": (
        lambda text: text.replace("uint16", "uint8"),
        "has a plane of uint16 (16, 20), but its metadata says uint8",
    ),
    "no type": (lambda text: text.replace('Type="uint16"', 'Type="bit"'), "Pixels Type is 'bit'"),
    "wrong order": (lambda text: text.replace("XYZCT", "ZCTYX"), "Pixels DimensionOrder is 'ZCTYX'"),
    "colour": (
        lambda text: text.replace("<TiffData/>", '<Channel SamplesPerPixel="3"/><TiffData/>'),
        "colour",
    ),
    "file elsewhere": (
        lambda text: text.replace("<TiffData/>", '<TiffData><UUID FileName="../b.tif">u</UUID></TiffData>'),
        "names the file '../b.tif'; files lie beside it",
    ),
    "no such file": (
        lambda text: text.replace("<TiffData/>", '<TiffData><UUID FileName="b.tif">u</UUID></TiffData>'),
        "b.tif: there is no such file",
    ),
    "plane beyond": (
        lambda text: text.replace("<TiffData/>", '<TiffData IFD="24"/>'),
        "has 24 planes, but the OME",
    ),
    "plane twice": (
        lambda text: text.replace("<TiffData/>", '<TiffData IFD="0"/><TiffData IFD="0"/>'),
        "twice; keep one",
    ),
    "holes": (lambda text: text.replace("<TiffData/>", '<TiffData IFD="0"/>'), "is nowhere (23 are missing)"),
    "no data": (lambda text: text.replace("<TiffData/>", ""), "claims 24 planes, but its files hold 0"),
    "strange unit": (
        lambda text: text.replace("SizeX", 'PhysicalSizeX="1" PhysicalSizeXUnit="ell" SizeX'),
        "Unit is 'ell'",
    ),
    "strange length": (
        lambda text: text.replace("SizeX", 'PhysicalSizeX="wide" SizeX'),
        "PhysicalSizeX is 'wide'",
    ),
    "length of nothing": (
        lambda text: text.replace("SizeX", 'PhysicalSizeX="0" PhysicalSizeY="0" SizeX', 1),
        "states pixel size 0.0, which is not a positive number",
    ),
    "no companion": (
        lambda text: '<OME xmlns="a"><BinaryOnly MetadataFile="b.companion.ome"/></OME>',
        "b.companion.ome: cannot be read",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_description_with_a_fault(tmp_path: Path, fault: str) -> None:
    change, said = FAULTS[fault]
    pages(tmp_path / "a.ome.tif", noise((24, 16, 20)), change(GOOD))
    options = IngestOptions(channel_names=("a", "b"), z_step_um=1.0, interval_min=1.0)
    if "length" not in fault:
        options = IngestOptions(
            channel_names=("a", "b"), pixel_size_um=(1.0, 1.0), z_step_um=1.0, interval_min=1.0
        )
    assert said in refusal(tmp_path, options)


def test_every_cut_is_seen(tmp_path: Path) -> None:
    write(tmp_path / "a.ome.tif", noise((1, 2, 1, 8, 9)), TimeIncrement=1.0)
    content = (tmp_path / "a.ome.tif").read_bytes()
    refused = 0
    for kept in range(0, len(content), 97):
        (tmp_path / "a.ome.tif").write_bytes(content[:kept])
        assert str(tmp_path) in refusal(tmp_path)
        refused += 1
    assert refused > 10


def test_memory_stays_within_two_time_points(tmp_path: Path) -> None:
    write(tmp_path / "a.ome.tif", noise((2, 2, 10, 1024, 1024)))
    assert peak_mib(tmp_path / "a.ome.tif", tmp_path / "out", {}) <= 2 * 40


def refusal(source: Path, options: IngestOptions | None = None) -> str:
    """The one sentence; nothing was written."""
    target = source / "out"
    with pytest.raises(BadInputError) as caught:
        ingest(source, target, options or IngestOptions(format="ome-tiff"))
    assert not target.exists()
    message = str(caught.value)
    assert "\n" not in message
    return message
