"""Instance labels inside OME-Zarr plates: read back as written whatever their layout, refused where unsound."""

import json
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cell_assets.assets.ingest_request import IngestRequest
from cell_assets.errors import BadInputError
from cell_assets.imaging.acquisition import open_acquisition
from cell_assets.imaging.ingest import ingest, prepare_ingest
from cell_assets.imaging.ingest_checks import IngestOptions
from cell_assets.imaging.readers.registry import open_source
from cell_assets.landing.side_files import parse_plate_file
from cell_assets_tests.imaging.plate_labels import write_labels
from cell_assets_tests.imaging.source_plates import CTC_OPTIONS, noise, write_ctc, write_zarr
from cell_assets_tests.imaging.test_ingest_checks import refusal

NOTHING = IngestOptions()
SHAPE = (3, 2, 4, 16, 20)


def cells(shape: tuple[int, ...], dtype: str = "uint16", seed: int = 0) -> NDArray[np.generic]:
    """Labels 0..40 without order."""
    return np.random.default_rng(seed).integers(0, 41, shape).astype(dtype)


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    """Two FOVs of two channels without labels."""
    return write_zarr(tmp_path / "plate.zarr", {name: noise(SHAPE) for name in ("A/1/0", "B/1/0")})


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    ("image", "axes"), [((3, 2, 4, 16, 20), "tczyx"), ((3, 2, 4, 16, 20), "tzyx"), ((1, 2, 1, 16, 20), "yx")]
)
def test_what_was_written_is_ingested(
    tmp_path: Path, version: str, image: tuple[int, ...], axes: str
) -> None:
    names = ("A/1/0", "A/1/1", "B/2/0")
    source = write_zarr(tmp_path / "plate.zarr", {name: noise(image) for name in names}, version)
    whole = (image[0], 1, *image[2:])
    kept = tuple(n for axis, n in zip("tczyx", whole, strict=True) if axis in axes)
    written = {name: cells(kept, "int32", seed) for seed, name in enumerate(names[:2])}
    for name, labels in written.items():
        write_labels(source, name, "nuclei", labels, version, axes)
    info = ingest(source, tmp_path / "out", NOTHING)
    assert [position.has_labels for position in info.positions] == [True, True, False]
    acquisition = open_acquisition(tmp_path / "out")
    for name, labels in written.items():
        read = [acquisition.given_labels(name, t) for t in range(image[0])]
        assert np.array_equal(np.stack(read), labels.reshape(image[0], *image[2:]))
    assert acquisition.given_labels("B/2/0", 0) is None
    # Image data are those of the image, not of its labels.
    assert np.array_equal(acquisition.image("A/1/0").read().result(), noise(image))


@given(
    zyx=st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)),
    n_times=st.integers(1, 3),
    without=st.sets(st.sampled_from("tcz")),
    dtype=st.sampled_from(["uint8", "uint16", ">u2", "int16", "uint32", "int64", "uint64"]),
    version=st.sampled_from(["0.4", "0.5"]),
    data=st.data(),
)
@settings(max_examples=30)
def test_any_layout_reads_back(
    tmp_path_factory: pytest.TempPathFactory,
    zyx: tuple[int, int, int],
    n_times: int,
    without: set[str],
    dtype: str,
    version: str,
    data: st.DataObject,
) -> None:
    """Whatever axes are left out, however chunked, whatever whole numbers, in slabs along z."""
    n_times = 1 if "t" in without else n_times
    zyx = (1, *zyx[1:]) if "z" in without else zyx
    source = write_zarr(
        tmp_path_factory.mktemp("labels") / "plate.zarr", {"A/1/0": noise((n_times, 2, *zyx))}, version
    )
    sizes = dict(zip("tczyx", (n_times, 1, *zyx), strict=True))
    axes = "".join(axis for axis in "tczyx" if axis not in without)
    labels = cells(tuple(sizes[axis] for axis in axes), dtype)
    chunks = tuple(data.draw(st.integers(1, sizes[axis])) for axis in axes)
    write_labels(source, "A/1/0", "cells", labels, version, axes, chunks)
    opened = open_source(source)
    opened.check()
    announced = opened.label_dtype("A/1/0")
    assert announced == np.dtype(dtype).newbyteorder("=")
    depth = data.draw(st.integers(1, zyx[0]))
    for t in range(n_times):
        slabs = [
            opened.given_labels("A/1/0", t, slice(z, min(z + depth, zyx[0]))) for z in range(0, zyx[0], depth)
        ]
        assert all(slab is not None and slab.dtype == announced for slab in slabs)
        assert np.array_equal(np.concatenate(slabs), labels.reshape(n_times, *zyx)[t])


def test_of_several_the_named_one_is_read(plate: Path, tmp_path: Path) -> None:
    for name in ("A/1/0", "B/1/0"):
        write_labels(plate, name, "nuclei", cells((3, 1, 4, 16, 20), seed=1))
        write_labels(plate, name, "membranes", cells((3, 1, 4, 16, 20), seed=2))
    assert refusal(plate, NOTHING) == (
        f"{plate}: has label images nuclei, membranes; say with --labels which one outlines the cells"
    )
    ingest(plate, tmp_path / "named", IngestOptions(labels="membranes"))
    labels = open_acquisition(tmp_path / "named").given_labels("B/1/0", 2)
    assert np.array_equal(labels, cells((3, 1, 4, 16, 20), seed=2)[2, 0])


def test_fovs_with_one_each_but_of_other_names_are_no_plate_of_one_kind(plate: Path) -> None:
    write_labels(plate, "A/1/0", "nuclei", cells((3, 1, 4, 16, 20)))
    write_labels(plate, "B/1/0", "membranes", cells((3, 1, 4, 16, 20)))
    assert "has label images nuclei, membranes; say with --labels" in refusal(plate, NOTHING)


def test_a_fov_that_lacks_the_named_one(plate: Path) -> None:
    write_labels(plate, "A/1/0", "nuclei", cells((3, 1, 4, 16, 20)))
    assert refusal(plate, IngestOptions(labels="nuclei")) == (
        f"--labels nuclei: position B/1/0 of {plate} has no label image of this name, but none at all; give one "
        "that every FOV has"
    )
    assert "position A/1/0" in refusal(plate, IngestOptions(labels="cells"))


@pytest.mark.parametrize(
    ("labels", "axes", "said"),
    [
        (
            cells((3, 1, 4, 16, 21)),
            "tczyx",
            "has shape (3, 1, 4, 16, 21) (T, C, Z, Y, X), but its image needs",
        ),
        (cells((3, 2, 4, 16, 20)), "tczyx", "needs labels of (3, 1, 4, 16, 20)"),
        (
            cells((4, 16, 20)),
            "zyx",
            "has shape (4, 16, 20) (Z, Y, X), but its image needs labels of (3, 1, 4",
        ),
        (cells((3, 4, 16, 20)), "tczyx", "has shape (3, 4, 16, 20)"),
        (cells((3, 4, 16, 20)), "ztyx", "has axes 'ztyx'; they must be t, c, z, y, x"),
        (
            cells((3, 1, 4, 16, 20), "float32"),
            "tczyx",
            "has values of type float32; labels are whole numbers",
        ),
        (cells((3, 1, 4, 16, 20)) > 0, "tczyx", "has values of type bool; labels are whole numbers"),
    ],
    ids=["larger", "two channels", "no time", "axes too many", "order", "float", "bool"],
)
def test_labels_that_do_not_fit(plate: Path, labels: NDArray[np.generic], axes: str, said: str) -> None:
    write_labels(plate, "A/1/0", "nuclei", cells((3, 1, 4, 16, 20)))
    write_labels(plate, "B/1/0", "nuclei", labels, axes=axes)
    message = refusal(plate, NOTHING)
    assert message.startswith(f"{plate}: position B/1/0, label image 'nuclei': ")
    assert said in message


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["nuclei", "gone"], "position A/1/0, label image 'gone': is listed, but cannot be read"),
        (["../../../../B/1/0"], "cannot be read"),
        ("nuclei", "position A/1/0's labels has no list of names"),
        ([1], "position A/1/0's labels has no list of names"),
        (None, "the metadata of position A/1/0's labels lists no names"),
    ],
)
def test_a_list_of_names_with_a_fault(plate: Path, names: object, said: str) -> None:
    write_labels(plate, "A/1/0", "nuclei", cells((3, 1, 4, 16, 20)))
    ome = {"version": "0.5"} if names is None else {"version": "0.5", "labels": names}
    zarr.open_group(plate / "A" / "1" / "0" / "labels", mode="r+").attrs["ome"] = ome
    options = IngestOptions(labels="gone") if names == ["nuclei", "gone"] else NOTHING
    if options.labels:
        write_labels(plate, "B/1/0", "gone", cells((3, 1, 4, 16, 20)))
    assert said in refusal(plate, options)


def test_an_empty_list_is_a_fov_without_labels(plate: Path) -> None:
    group = zarr.open_group(plate / "A" / "1" / "0", mode="r+").create_group("labels")
    group.attrs["ome"] = {"version": "0.5", "labels": []}
    assert open_source(plate).label_dtype("A/1/0") is None


def test_a_chunk_that_is_gone(plate: Path) -> None:
    array = write_labels(plate, "B/1/0", "nuclei", cells((3, 1, 4, 16, 20)), chunks=(1, 1, 4, 16, 20))
    (array / "c" / "2" / "0" / "0" / "0" / "0").unlink()
    message = refusal(plate, NOTHING)
    assert message.startswith(
        f"{plate}: position B/1/0, label image 'nuclei': has no chunk c/2/0/0/0/0 at t=2 "
    )


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_chunk_that_is_damaged(tmp_path: Path, version: str) -> None:
    plate = write_zarr(tmp_path / "plate.zarr", {"A/1/0": noise(SHAPE)}, version)
    array = write_labels(
        plate, "A/1/0", "nuclei", cells((3, 1, 4, 16, 20)), version, chunks=(1, 1, 4, 16, 20)
    )
    file = array / ("1/0/0/0/0" if version == "0.4" else "c/1/0/0/0/0")
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(BadInputError, match="position A/1/0, label image 'nuclei': t=1 cannot be decoded"):
        ingest(plate, tmp_path / "out", NOTHING)


@pytest.mark.parametrize("value", [-1, 2**24, 2**40])
def test_a_value_that_is_no_label(plate: Path, tmp_path: Path, value: int) -> None:
    labels = cells((3, 1, 4, 16, 20), "int64")
    labels[1, 0, 2, 3, 4] = value
    write_labels(plate, "B/1/0", "nuclei", labels)
    with pytest.raises(
        BadInputError, match=f"position B/1/0, label image 'nuclei': has label {value} at t=1"
    ):
        ingest(plate, tmp_path / "out", NOTHING)


def test_other_formats_have_no_named_labels(tmp_path: Path) -> None:
    source = write_ctc(tmp_path / "movie", [noise((32, 40))])
    options = IngestOptions(
        labels="nuclei", channel_names=("phase",), pixel_size_um=(1.0, 1.0), interval_min=1.0
    )
    assert refusal(source, options) == "--labels 'nuclei': is not for format ctc; leave one of them out"
    assert prepare_ingest(source, CTC_OPTIONS).source.label_dtype("A/1/000") is None


def test_a_request_says_which_and_older_records_stay_current() -> None:
    plain = IngestRequest(source="/a", experiment="E", plate="P")
    assert "labels" not in plain.recorded()
    landed = parse_plate_file(b"experiment: E\nplate: P\nlabels: nuclei\n", "plate.yaml")
    request = IngestRequest.of_landed("/landing/p", landed)
    assert request.recorded()["labels"] == "nuclei"
    assert request.options().labels == "nuclei"
    assert not request.says_the_same(json.loads(json.dumps(plain.recorded())), request)
