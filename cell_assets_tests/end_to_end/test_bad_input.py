"""Bad input through the real command: one clear line, a non-zero exit, and nothing that store or ledger can reach."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cell_assets.automation.session import Session
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import (
    CHECKOUT,
    PlateFolder,
    Said,
    assert_dagster_agrees,
    assert_nothing_left,
    assert_published_is_whole,
    cell_assets,
    opened,
)
from cell_assets_tests.imaging.source_plates import noise, write_ctc, write_zarr
from cell_assets_tests.imaging.test_sixty_malformed_plates import CASES as MALFORMED
from cell_assets_tests.imaging.test_sixty_malformed_plates import PLATES as MALFORMED_PLATES

TRACK_COLUMNS = "track_id,t,z,y,x,id,parent_track_id,parent_id\n"
CTC = ("--channel-names", "phase", "--pixel-size-um", "0.25,0.25", "--interval-min", "5")


@dataclass(frozen=True)
class Lab:
    """A lab that holds one sound plate, P0, beside which every bad one must leave no trace."""

    settings: Settings
    session: Session
    good: PlateFolder

    def ingest(self, source: Path, *options: str, plate: str = "P1", experiment: str = "E1") -> Said:
        return cell_assets(
            self.settings,
            *("ingest", str(source), "--experiment", experiment, "--plate", plate, *options),
        )


@pytest.fixture(scope="module")
def lab(new_lab: Callable[[], Settings], two_fovs: PlateFolder) -> Iterator[Lab]:
    settings = new_lab()
    with opened(settings) as session:
        lab = Lab(settings, session, two_fovs)
        assert cell_assets(settings, "ingest", *two_fovs.arguments("E0", "P0")).code == 0
        yield lab


def assert_refused(lab: Lab, said: Said, *expected: str) -> None:
    """One line that names what is expected, and a lab that holds what it held before."""
    assert said.code == 1, said
    assert said.out == ""
    assert "Traceback" not in said.err
    (line,) = said.error_lines
    assert line.startswith("error: ")
    for part in expected:
        assert part in line
    session = lab.session
    assert [plate.draft.name for plate in session.ledger.plates()] == ["P0"]
    assert {artifact.partition for artifact in session.ledger.artifacts()} == {"P0"}
    assert_nothing_left(session)
    assert_published_is_whole(session)
    assert_dagster_agrees(session)


def movie(folder: Path) -> Path:
    """A sound Cell Tracking Challenge folder of five frames."""
    return write_ctc(folder / "movie", [noise((32, 40), seed=t) for t in range(5)])


def plate(folder: Path, dtype: str = "uint16") -> Path:
    """A sound OME-Zarr plate of two wells, two channels (DNA, sensor), three time points."""
    images = {name: noise((3, 2, 4, 16, 20), dtype) for name in ("A/1/0", "B/1/0")}
    return write_zarr(folder / "plate.zarr", images, "0.4")


Case = Callable[[Path], tuple[Path, Sequence[str], Sequence[str]]]
"""Makes a bad source in a folder; returns it, further options, and what the line must name."""


def truncated_tiff(folder: Path) -> tuple[Path, Sequence[str], Sequence[str]]:
    source = movie(folder)
    file = source / "01" / "t003.tif"
    file.write_bytes(file.read_bytes()[:-200])
    return source, CTC, (str(file), "cut off")


def frames_of_different_shapes(folder: Path) -> tuple[Path, Sequence[str], Sequence[str]]:
    source = movie(folder)
    tifffile.imwrite(source / "01" / "t002.tif", noise((32, 41)))
    return source, CTC, (str(source / "01" / "t002.tif"), "shape (1, 32, 41)", "(1, 32, 40)")


def missing_channel(folder: Path) -> tuple[Path, Sequence[str], Sequence[str]]:
    source = plate(folder)
    attributes = source / "B" / "1" / "0" / ".zattrs"
    content = json.loads(attributes.read_text())
    channels = content["omero"]["channels"]
    channels.append(dict(channels[0], label="phase"))
    attributes.write_text(json.dumps(content))
    return source, (), ("B/1/0", "3 channels but holds 2", "'phase'")


def plate_map_of(text: str, *expected: str) -> Case:
    def case(folder: Path) -> tuple[Path, Sequence[str], Sequence[str]]:
        path = folder / "map.csv"
        path.write_text("well,compound,dose,dose_unit\n" + text)
        return plate(folder), ("--plate-map", str(path)), (str(path), *expected)

    return case


def track_row(row: str, *expected: str) -> Case:
    def case(folder: Path) -> tuple[Path, Sequence[str], Sequence[str]]:
        tracks = folder / "tracks"
        tracks.mkdir()
        for name in ("A_1_0.csv", "B_1_0.csv"):
            (tracks / name).write_text(TRACK_COLUMNS + "1,0,0,1,1,1,,\n")
        (tracks / "B_1_0.csv").write_text(TRACK_COLUMNS + row)
        return plate(folder), ("--tracks", str(tracks)), (str(tracks / "B_1_0.csv"), "line 2", *expected)

    return case


def nan_pixels(folder: Path) -> tuple[Path, Sequence[str], Sequence[str]]:
    pixels = noise((3, 2, 4, 16, 20), "float32")
    pixels[1, 1, 2, 5, 7] = np.nan
    source = write_zarr(folder / "plate.zarr", {"A/1/0": pixels})
    return source, (), (str(source), "A/1/0", "'sensor'", "t=1", "nan", "z=2, y=5, x=7")


def missing_listed_position(folder: Path) -> tuple[Path, Sequence[str], Sequence[str]]:
    source = plate(folder)
    shutil.rmtree(source / "B" / "1" / "0")
    return source, (), (str(source), "B/1/0", "which the plate lists")


def missing_chunk_with_siblings(folder: Path) -> tuple[Path, Sequence[str], Sequence[str]]:
    source = plate(folder)
    chunk = source / "B/1/0/0/1/0/0/0/0"
    chunk.unlink()
    return source, (), (str(chunk), "B/1/0", "channel 'DNA' at t=1")


CASES: dict[str, Case] = {
    "truncated TIFF": truncated_tiff,
    "frames of different shapes": frames_of_different_shapes,
    "missing channel": missing_channel,
    "plate map with an unknown well": plate_map_of("A1,taxol,1,µM\nH9,taxol,1,µM\n", "line 3", "H9"),
    "plate map with a duplicate": plate_map_of("A1,taxol,1,µM\nA01,water,,\n", "line 3", "A01"),
    "track row outside the image": track_row("1,0,0,16,1,1,,\n", "y=16", "outside the image"),
    "track with a parent that does not exist": track_row("1,0,0,1,1,1,7,\n", "parent 7", "does not exist"),
    "tracks with a cycle": track_row("1,1,0,1,1,1,2,\n2,0,0,1,1,2,1,\n", "cycle", "1 → 2 → 1"),
    "NaN pixels": nan_pixels,
    "missing position that the source lists": missing_listed_position,
    "missing chunk whose siblings exist": missing_chunk_with_siblings,
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_bad_source_is_refused(lab: Lab, tmp_path: Path, case: Case) -> None:
    source, options, expected = case(tmp_path)
    assert_refused(lab, lab.ingest(source, *options), *expected)


@pytest.mark.parametrize("name", ["P..1", "..", "P|1", "P/1", "../P1"])
def test_a_plate_name_that_could_leave_its_folder(lab: Lab, name: str) -> None:
    said = lab.ingest(lab.good.folder / "plate.zarr", plate=name)
    assert_refused(lab, said, f"plate name {name!r}")


def test_an_experiment_name_that_could_leave_its_folder(lab: Lab) -> None:
    said = lab.ingest(lab.good.folder / "plate.zarr", experiment="E/1")
    assert_refused(lab, said, "experiment name 'E/1'")


def test_the_same_plate_name_with_other_bytes(lab: Lab, tmp_path: Path) -> None:
    before = lab.session.ledger.latest("raw_acquisition", "P0")
    said = lab.ingest(plate(tmp_path), plate="P0", experiment="E0")
    assert_refused(lab, said, "plate P0 was ingested before from other bytes")
    assert lab.session.ledger.latest("raw_acquisition", "P0") == before


def test_the_same_plate_name_in_another_experiment(lab: Lab) -> None:
    said = lab.ingest(lab.good.folder / "plate.zarr", plate="P0", experiment="E9")
    assert_refused(lab, said, "plate P0 belongs to experiment E0, not E9")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("run", "--experiment", "E7"), "experiment E7 has no plate"),
        (("run", "--experiment", "E0", "--tau-min", "-1"), "tau_min"),
        (("run", "--experiment", "E0", "--method", "nobody"), "nobody"),
        (("explain", "999999"), "999999"),
    ],
)
def test_what_cannot_be_run_or_explained(lab: Lab, arguments: tuple[str, ...], expected: str) -> None:
    choices = lab.session.ledger.choices("E0")
    assert_refused(lab, cell_assets(lab.settings, *arguments), expected)
    assert lab.session.ledger.choices("E0") == choices


def in_a_child(lab: Lab, home: Path, source: Path, before: str = "") -> Said:
    """The command as a process of its own, whose store lies in `home`; `before` is Python that it runs first."""
    script = f"{before}\nfrom cell_assets.cli import main\nmain()"
    command = [sys.executable, "-c", script, "ingest", str(source), "--experiment", "E1", "--plate", "P1"]
    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        env={
            **os.environ,
            "CELL_ASSETS_HOME": str(home),
            "CELL_ASSETS_KEEP_FREE_BYTES": "0",
            "CELL_ASSETS_DATABASE_URL": str(lab.settings.database_url),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.mark.needs_shared
@pytest.mark.parametrize(
    "name",
    [
        "sbs: a name that is not UTF-8",
        "ndtiff: the index cut",
        "ome: broken XML",
        "mm: a position missing",
        "zarr 0.4: a name that is not UTF-8",
    ],
)
def test_the_command_refuses_a_malformed_plate(lab: Lab, tmp_path: Path, name: str) -> None:
    case = MALFORMED[name]
    source = MALFORMED_PLATES[case.plate][0](tmp_path)
    case.change(source)
    said = in_a_child(lab, tmp_path / "home", source)
    assert_refused(lab, said, *case.says)


def large_plate(folder: Path) -> Path:
    """8 MiB of noise, which no codec makes smaller."""
    pixels = np.random.default_rng(0).integers(0, 2**16, (4, 1, 4, 512, 512)).astype("uint16")
    return write_zarr(folder / "large.zarr", {"A/1/0": pixels}, channel_names=("DNA",))


def assert_found_full(lab: Lab, home: Path, said: Said) -> None:
    assert_refused(lab, said, "disk", "is full", str(home), "writing raw_acquisition P1", "free space")
    assert [path for path in (home / "store").rglob("*") if path.is_file()] == []


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own at the new folder `folder`."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_without_room(lab: Lab, tmp_path: Path) -> None:
    source = large_plate(tmp_path)
    with small_disk(tmp_path / "disk", "size=3m") as home:
        said = in_a_child(lab, home, source)
        assert_refused(lab, said, "plate P1 will write up to 8.4 MB", str(home), "MB free", "larger disk")
        assert [path for path in home.rglob("*") if path.is_file()] == []


def test_a_disk_that_fills_up(lab: Lab, tmp_path: Path) -> None:
    """It has the bytes and runs out of files, which nobody foresees."""
    source = large_plate(tmp_path)
    with small_disk(tmp_path / "disk", "size=64m,nr_inodes=18") as home:
        assert_found_full(lab, home, in_a_child(lab, home, source))


def test_a_limit_on_the_size_of_files(lab: Lab, tmp_path: Path) -> None:
    source, home = large_plate(tmp_path), tmp_path / "limited"
    home.mkdir()
    limit = "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))"
    assert_found_full(lab, home, in_a_child(lab, home, source, limit))
