"""Ingest: every pixel and every property arrives, whatever the source; two real and many small sources."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from iohub.ngff import open_ome_zarr
from ome_zarr_models.v05.hcs import HCS

from cell_assets.imaging.acquisition import open_acquisition
from cell_assets.imaging.geff_files import write_geff
from cell_assets.imaging.ingest import ingest, prepare_ingest
from cell_assets.imaging.ingest_checks import IngestOptions
from cell_assets.imaging.ome_zarr_plate import mark_simulated
from cell_assets.imaging.track_tables import division_count
from cell_assets_tests.imaging.array_source import dividing_movie
from cell_assets_tests.imaging.plate_labels import write_labels
from cell_assets_tests.imaging.source_plates import CTC_OPTIONS, masks, noise, write_ctc, write_zarr
from cell_assets_tests.shared_data import shared_data


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.needs_shared
def test_the_real_movie_of_bacteria_arrives_whole(tmp_path: Path) -> None:
    source = shared_data("ctc_ecoli")
    info = ingest(source, tmp_path / "out", CTC_OPTIONS)
    acquisition = open_acquisition(tmp_path / "out")
    assert acquisition.info == info
    (position,) = info.positions
    assert position.shape == (45, 1, 1, 1305, 1009)
    assert (position.name, position.dtype) == ("A/1/000", "uint8")
    for t in range(45):
        expected = tifffile.imread(source / "01" / f"t{t:03d}.tif")
        assert np.array_equal(acquisition.read_frame("A/1/000", t)[0, 0], expected)
        given = tifffile.imread(source / "01_GT" / "TRA" / f"man_track{t:03d}.tif")
        labels = acquisition.given_labels("A/1/000", t)
        assert labels is not None
        assert np.array_equal(labels[0], given)
    tracks = acquisition.given_tracks("A/1/000")
    assert tracks is not None
    assert tracks["track_id"].nunique() == 262
    assert division_count(tracks) == 130


@pytest.mark.needs_shared
def test_a_fixture_of_the_challenges_own_scorer(tmp_path: Path) -> None:
    with zipfile.ZipFile(shared_data("track_fixtures") / "ctcmetrics_test" / "test_data.zip") as archive:
        archive.extractall(tmp_path)
    truth = tmp_path / "GT" / "TRA"
    given = [tifffile.imread(truth / f"man_track{t:03d}.tif") for t in range(6)]
    source = write_ctc(
        tmp_path / "source",
        [(mask > 0).astype(np.uint8) for mask in given],
        truth=given,
        man_track=(truth / "man_track.txt").read_text(),
    )
    ingest(source, tmp_path / "out", CTC_OPTIONS)
    tracks = open_acquisition(tmp_path / "out").given_tracks("A/1/000")
    assert tracks is not None
    lives = tracks.groupby("track_id")["t"].agg(["min", "max"])
    listed = pd.read_csv(truth / "man_track.txt", sep=" ", header=None).set_index(0)
    assert lives["min"].to_dict() == listed[1].to_dict()
    assert lives["max"].to_dict() == listed[2].to_dict()


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
def test_pixels_and_properties_of_ome_zarr(tmp_path: Path, version: str, dtype: str) -> None:
    images = {
        "A/1/0": noise((3, 2, 4, 16, 20), dtype, 1),
        "A/1/1": noise((2, 2, 4, 16, 20), dtype, 2),
        "B/03/000": noise((3, 2, 4, 16, 24), dtype, 3),
    }
    source = write_zarr(tmp_path / "source.zarr", images, version)
    info = ingest(source, tmp_path / "out", IngestOptions())
    assert info.channel_names == ("DNA", "sensor")
    assert info.voxel_size_um.model_dump() == {"z": 2.0, "y": 0.5, "x": 0.25}
    assert info.interval_min == 10.0
    assert [well.name for well in info.wells] == ["A/1", "B/03"]
    assert info.source_format == "ome-zarr"
    acquisition = open_acquisition(tmp_path / "out")
    assert acquisition.positions == tuple(images)
    for name, pixels in images.items():
        written = acquisition.image(name)
        assert np.array_equal(np.asarray(written.read().result()), pixels)
        assert written.dtype.numpy_dtype == np.dtype(dtype)
        # The same pixels through another library than the one that compared them.
        assert np.array_equal(zarr.open_array(tmp_path / "out" / "plate.zarr" / name / "0")[:], pixels)


def test_the_plate_opens_in_iohub_and_is_valid(tmp_path: Path) -> None:
    pixels = noise((3, 2, 4, 16, 20))
    source = write_zarr(tmp_path / "source.zarr", {"A/1/0": pixels, "C/12/7": pixels}, "0.4")
    ingest(source, tmp_path / "out", IngestOptions())
    HCS.from_zarr(zarr.open_group(tmp_path / "out" / "plate.zarr", mode="r"))
    with open_ome_zarr(tmp_path / "out" / "plate.zarr", mode="r") as plate:
        assert plate.version == "0.5"
        found = dict(plate.positions())
        assert sorted(found) == ["A/1/0", "C/12/7"]
        assert found["C/12/7"].channel_names == ["DNA", "sensor"]
        assert found["C/12/7"].scale == [10.0, 1.0, 2.0, 0.5, 0.25]
        assert np.array_equal(found["C/12/7"]["0"][:], pixels)


def test_what_was_ingested_ingests_again_with_equal_pixels(tmp_path: Path) -> None:
    images = {"A/1/0": noise((3, 2, 4, 16, 20)), "A/2/0": np.zeros((3, 2, 4, 16, 20), np.uint16)}
    first = ingest(write_zarr_with_zeros(tmp_path / "source.zarr", images), tmp_path / "one", IngestOptions())
    second = ingest(tmp_path / "one" / "plate.zarr", tmp_path / "two", IngestOptions())
    assert second.content_digest == first.content_digest
    assert second.source_digest != first.source_digest
    one, two = files_of(tmp_path / "one" / "plate.zarr"), files_of(tmp_path / "two" / "plate.zarr")
    assert one == two


def test_same_source_same_bytes(tmp_path: Path) -> None:
    source = write_ctc(tmp_path / "source", [noise((32, 40), seed=t) for t in range(4)], truth=masks())
    ingest(source, tmp_path / "one", CTC_OPTIONS)
    ingest(shutil.copytree(source, tmp_path / "elsewhere"), tmp_path / "two", CTC_OPTIONS)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_the_content_digest_does_not_know_chunks_or_versions(tmp_path: Path) -> None:
    pixels = noise((4, 2, 4, 16, 20))
    digests = set()
    for number, (version, chunks, ratio) in enumerate(
        [
            ("0.4", None, None),
            ("0.4", (1, 1, 1, 8, 8), None),
            ("0.4", (2, 2, 4, 16, 20), None),
            ("0.5", (1, 1, 3, 16, 20), None),
            ("0.5", (1, 1, 2, 8, 20), (2, 2, 2, 2, 1)),
        ]
    ):
        source = write_zarr(
            tmp_path / f"{number}.zarr", {"A/1/0": pixels}, version, chunks=chunks, shards_ratio=ratio
        )
        digests.add(ingest(source, tmp_path / str(number), IngestOptions()).content_digest)
    assert len(digests) == 1


def test_sequences_become_wells_and_masks_become_tracks(tmp_path: Path) -> None:
    frames = [noise((32, 40), "uint8", t) for t in range(4)]
    source = write_ctc(tmp_path / "source", frames, "01", masks())
    write_ctc(source, [noise((24, 20), "uint8", 9)] * 2, "02")
    plate_map = tmp_path / "map.csv"
    plate_map.write_text("well,compound,dose,dose_unit,is_control\nA1,DMSO,,,true\nA/2,taxol,2.5,µM,false\n")
    options = IngestOptions(
        channel_names=("phase",), pixel_size_um=(0.25, 0.25), interval_min=5.0, plate_map=plate_map
    )
    info = ingest(source, tmp_path / "out", options)
    acquisition = open_acquisition(tmp_path / "out")
    assert acquisition.positions == ("A/1/000", "A/2/000")
    assert info.well_of("A/2/000").dose == 2.5
    assert info.well_of("A/1/000").is_control is True
    assert acquisition.given_labels("A/2/000", 0) is None
    assert acquisition.given_tracks("A/2/000") is None
    tracks = acquisition.given_tracks("A/1/000")
    assert tracks is not None
    by_hand = [  # track, t, id, parent track, parent id, z, y, x
        (1, 0, 1_000_001, -1, -1, 0.0, 11.5, 12.0),
        (1, 1, 2_000_001, -1, 1_000_001, 0.0, 11.5, 13.0),
        (2, 2, 3_000_002, 1, 2_000_001, 0.0, 5.5, 7.0),
        (2, 3, 4_000_002, 1, 3_000_002, 0.0, 5.5, 7.0),
        (3, 2, 3_000_003, 1, 2_000_001, 0.0, 21.0, 21.5),
        (3, 3, 4_000_003, 1, 3_000_003, 0.0, 21.0, 22.0),
    ]
    columns = ["track_id", "t", "id", "parent_track_id", "parent_id", "z", "y", "x"]
    assert [tuple(row) for row in tracks[columns].itertuples(index=False)] == by_hand


def test_stacks_of_the_challenge(tmp_path: Path) -> None:
    stack = [noise((5, 16, 20), seed=t) for t in range(2)]
    labels = np.zeros((5, 16, 20), np.uint16)
    labels[1:4, 2:5, 3:9] = 1
    source = write_ctc(tmp_path / "source", stack, truth=[labels, labels], man_track="1 0 1 0\n")
    options = IngestOptions(
        channel_names=("nuclei",), pixel_size_um=(0.2, 0.1), z_step_um=1.5, interval_min=2.0
    )
    info = ingest(source, tmp_path / "out", options)
    assert info.positions[0].shape == (2, 1, 5, 16, 20)
    assert info.voxel_size_um.model_dump() == {"z": 1.5, "y": 0.2, "x": 0.1}
    acquisition = open_acquisition(tmp_path / "out")
    assert np.array_equal(acquisition.read_frame("A/1/000", 1)[0], stack[1])
    given = acquisition.given_labels("A/1/000", 1)
    assert given is not None
    assert np.array_equal(given, labels)
    tracks = acquisition.given_tracks("A/1/000")
    assert tracks is not None
    assert tracks[["z", "y", "x"]].iloc[0].tolist() == [2.0, 3.0, 5.5]


def test_tracks_and_states_beside_the_plate(tmp_path: Path) -> None:
    source = write_zarr(tmp_path / "source.zarr", {"A/1/0": noise((3, 2, 4, 16, 20))})
    folder = tmp_path / "tracks" / "A" / "1" / "0"
    folder.mkdir(parents=True)
    (folder / "tracks_A_1_0.csv").write_text(
        "track_id,t,z,y,x,id,parent_track_id,parent_id\n"
        "5,1,0.5,3.25,4.125,11,,\n5,2,0.5,3.3333333333333335,4,12,,11\n"
    )
    states = tmp_path / "states.csv"
    states.write_text("fov_name,track_id,t,infection_state,score\n/A/1/0,5,2,infected,0.5\nA/1/0,5,1,,1.5\n")
    ingest(source, tmp_path / "out", IngestOptions(tracks=tmp_path / "tracks", states=states))
    acquisition = open_acquisition(tmp_path / "out")
    tracks = acquisition.given_tracks("A/1/0")
    assert tracks is not None
    assert tracks["y"].tolist() == [3.25, 3.3333333333333335]
    assert tracks["parent_id"].tolist() == [-1, 11]
    given = acquisition.given_states()
    assert given is not None
    assert given.columns.tolist() == ["fov_name", "track_id", "t", "infection_state", "score"]
    assert given["t"].tolist() == [1, 2]
    assert given["infection_state"].isna().tolist() == [True, False]
    assert given["score"].tolist() == [1.5, 0.5]


def test_tracks_beside_the_plate_may_be_geff(tmp_path: Path) -> None:
    source = write_zarr(tmp_path / "source.zarr", {"A/1/000": noise((5, 2, 1, 64, 64))})
    _, _, table = dividing_movie()
    (tmp_path / "tracks").mkdir()
    write_geff(table, tmp_path / "tracks" / "A_1_000.geff", (1.0, 1.0, 1.0), 5.0)
    ingest(source, tmp_path / "out", IngestOptions(tracks=tmp_path / "tracks"))
    tracks = open_acquisition(tmp_path / "out").given_tracks("A/1/000")
    assert tracks is not None
    pd.testing.assert_frame_equal(tracks, table)


@pytest.mark.parametrize("simulated", [False, True])
def test_a_simulated_plate_says_so_however_often_it_is_ingested(tmp_path: Path, simulated: bool) -> None:
    source = write_zarr(tmp_path / "source.zarr", {"A/1/0": noise((1, 2, 1, 16, 20))})
    if simulated:
        mark_simulated(source)
    first = ingest(source, tmp_path / "one", IngestOptions())
    second = ingest(tmp_path / "one" / "plate.zarr", tmp_path / "two", IngestOptions())
    assert (first.simulated, second.simulated) == (simulated, simulated)


def test_nothing_is_written_by_preparing(tmp_path: Path) -> None:
    source = write_ctc(tmp_path / "source", [noise((32, 40))])
    prepared = prepare_ingest(source, CTC_OPTIONS)
    assert prepared.bytes_at_most > 32 * 40 * 2
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_progress_counts_to_its_total(tmp_path: Path) -> None:
    source = write_ctc(tmp_path / "source", [noise((32, 40))] * 3)
    seen: list[tuple[int, int]] = []
    ingest(source, tmp_path / "out", CTC_OPTIONS, lambda done, total, _: seen.append((done, total)))
    assert seen == [(n, 6) for n in range(1, 7)]


def test_no_path_or_time_in_the_description(tmp_path: Path) -> None:
    source = write_ctc(tmp_path / "source", [noise((32, 40))])
    ingest(source, tmp_path / "out", CTC_OPTIONS)
    text = (tmp_path / "out" / "acquisition.json").read_text()
    assert str(tmp_path) not in text
    assert sorted(json.loads(text)) == [
        "channel_names",
        "format",
        "interval_min",
        "positions",
        "simulated",
        "source_digest",
        "source_format",
        "version",
        "voxel_size_um",
        "wells",
    ]


MEASURE = """
import sys
from pathlib import Path
from cell_assets.imaging.ingest import ingest
from cell_assets_tests.imaging.source_plates import IngestOptions

def megabytes(field):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024

options = IngestOptions(**eval(sys.argv[3]))
Path("/proc/self/clear_refs").write_text("5")
before = megabytes("VmRSS")
ingest(Path(sys.argv[1]), Path(sys.argv[2]), options)
print(megabytes("VmHWM") - before)
"""


def peak_mib(source: Path, target: Path, options: dict[str, object]) -> float:
    """Peak resident memory of an ingest above that of its process before it, measured by the kernel."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("peak memory is measured by Linux's /proc")
    command = [sys.executable, "-c", MEASURE, str(source), str(target), repr(options)]
    result = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=Path(__file__).resolve().parents[2]
    )
    return float(result.stdout)


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        pytest.param((6, 2, 15, 512, 512), None, id="15 MiB frames"),
        pytest.param((2, 2, 15, 1024, 1024), None, id="60 MiB frames, a volume per chunk"),
        pytest.param((2, 1, 20, 1024, 1024), (1, 1, 1, 1024, 1024), id="40 MiB frames, a plane per chunk"),
        pytest.param((2, 1, 20, 1024, 1024), None, id="40 MiB frames, one chunk each"),
        pytest.param((64, 2, 1, 256, 256), None, id="quarter MiB frames"),
    ],
)
def test_memory_stays_within_two_time_points(
    tmp_path: Path, shape: tuple[int, ...], chunks: tuple[int, ...] | None
) -> None:
    pixels = np.broadcast_to(noise((1, *shape[1:])), shape)
    source = write_zarr(
        tmp_path / "source.zarr", {"A/1/0": pixels}, chunks=chunks, channel_names=["a", "b"][: shape[1]]
    )
    frame_mib = np.prod(shape[1:]) * 2 / 2**20
    assert peak_mib(source, tmp_path / "out", {}) <= max(64, 2 * frame_mib)


@pytest.mark.slow
def test_memory_of_labelled_stacks_stays_within_two_time_points(tmp_path: Path) -> None:
    shape = (2, 1, 20, 1024, 1024)
    source = write_zarr(tmp_path / "source.zarr", {"A/1/0": noise(shape)}, channel_names=["a"])
    labels = noise(shape, "uint32")
    write_labels(source, "A/1/0", "cells", labels, chunks=(1, 1, 20, 1024, 1024))
    # A time point is 40 MiB of pixels and 80 MiB of labels.
    assert peak_mib(source, tmp_path / "out", {}) <= 2 * 120


def test_memory_of_tiff_stacks_stays_within_two_time_points(tmp_path: Path) -> None:
    source = write_ctc(tmp_path / "source", [noise((20, 1024, 1024))] * 2)
    options = {"channel_names": ("a",), "pixel_size_um": (1.5, 1.5), "z_step_um": 1.0, "interval_min": 1.0}
    assert peak_mib(source, tmp_path / "out", options) <= 2 * 40


def write_zarr_with_zeros(path: Path, images: dict[str, np.ndarray]) -> Path:
    with zarr.config.set({"array.write_empty_chunks": True}):
        return write_zarr(path, images)
