"""Real plates of several microscopes, brought in by the command a lab types, and read back by others' libraries."""

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tifffile
from iohub import open_ome_zarr
from ndtiff import Dataset
from ome_zarr_models import open_ome_zarr as validate_ome_zarr

from cell_assets.assets.ingest_request import IngestRequest
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import cell_assets, opened
from cell_assets_tests.imaging.test_tiff_folder import NF1_PATTERN, plate_map_of
from cell_assets_tests.shared_data import shared_data

pytestmark = pytest.mark.needs_shared

NDTIFF = {
    "12bit": ("12_bit_pycromanager_mda", ("--interval-min", "5")),
    "mono": ("ndtiff3.2_monochrome", ("--interval-min", "5", "--channel-names", "phase")),
    "multi": ("ndtiff3.2_multichannel", ("--interval-min", "5")),
}


@pytest.fixture(scope="module")
def lab(new_lab: Callable[[], Settings], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A lab with the dose plate, the cell painting fields and three NDTiff acquisitions."""
    settings = new_lab()
    dose, painting = shared_data("sbs_plate"), shared_data("nf1_cell_painting") / "images"
    plate_map = plate_map_of(dose / "1049_Metadata.csv", tmp_path_factory.mktemp("map") / "map.csv")
    pixels = ("--pixel-size-um", "0.5,0.5")
    for plate, source, options in (
        ("dose", dose, ("--channel-names", "DNA,sensor", "--plate-map", str(plate_map), *pixels)),
        ("painting", painting, ("--pattern", NF1_PATTERN, *pixels)),
        *((plate, shared_data("ndtiff") / name, options) for plate, (name, options) in NDTIFF.items()),
    ):
        said = cell_assets(
            settings, "ingest", str(source), "--experiment", "E1", "--plate", plate, *options, "--json"
        )
        assert said.code == 0, said.err
        assert json.loads(said.out)["positions"] == {"dose": 36, "painting": 3}.get(plate, 1)
    yield settings


def stored(lab: Settings, plate: str) -> Path:
    with opened(lab) as session:
        folder, _ = session.store.read("raw_acquisition", plate)
        return folder / "plate.zarr"


def test_every_plate_is_valid_for_others(lab: Settings) -> None:
    wells = {
        "dose": {f"{row}/{column}" for row, column in product("ABC", range(1, 13))},
        "painting": {"B/7", "D/6", "D/7"},
        **{plate: {"A/1"} for plate in NDTIFF},
    }
    for plate, expected in wells.items():
        model = validate_ome_zarr(str(stored(lab, plate)))
        assert {well.path for well in model.attributes.ome.plate.wells} == expected


def test_the_dose_plate_is_the_sources(lab: Settings) -> None:
    source = shared_data("sbs_plate")
    with open_ome_zarr(stored(lab, "dose")) as plate:
        for index, (row, column) in enumerate(product("ABC", range(1, 13)), start=1):
            for channel in (1, 2):
                expected = tifffile.imread(source / f"Channel{channel}-{index:02d}-{row}-{column:02d}.tif")
                np.testing.assert_array_equal(plate[f"{row}/{column}/000"]["0"][0, channel - 1, 0], expected)


def test_the_painting_is_the_sources(lab: Settings) -> None:
    source = shared_data("nf1_cell_painting") / "images"
    fields = {"B/7/003": "B7_01_{}_3_{}_001", "D/6/002": "D6_01_{}_2_{}_001", "D/7/001": "D7_01_{}_1_{}_001"}
    with open_ome_zarr(stored(lab, "painting")) as plate:
        assert {name for name, _ in plate.positions()} == set(fields)
        for name, file in fields.items():
            for channel, stain in enumerate(("DAPI", "GFP", "RFP")):
                expected = tifffile.imread(source / f"{file.format(channel + 1, stain)}.tif")
                np.testing.assert_array_equal(plate[name]["0"][0, channel, 0], expected)


@pytest.mark.parametrize("name", NDTIFF)
def test_an_acquisition_is_what_its_own_package_reads(lab: Settings, name: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = Dataset(str(shared_data("ndtiff") / NDTIFF[name][0]))
    channels = sorted(dataset.axes.get("channel", [None]))
    with open_ome_zarr(stored(lab, name)) as plate:
        pixels = plate["A/1/000"]["0"][:]
    for t, c, z in product(*map(range, pixels.shape[:3])):
        axes = {"time": t, "channel": channels[c], "z": z}
        given = {axis: value for axis, value in axes.items() if axis in dataset.axes}
        np.testing.assert_array_equal(pixels[t, c, z], dataset.read_image(**given))
    assert pixels.shape[:3] == tuple(len(dataset.axes.get(axis, [0])) for axis in ("time", "channel", "z"))
    dataset.close()


def test_doses_are_recorded(lab: Settings) -> None:
    with opened(lab) as session:
        record = next(plate for plate in session.ledger.plates("E1") if plate.draft.name == "dose")
    wells = {well.name: well for well in record.draft.wells}
    assert [wells[f"A/{column}"].dose for column in range(1, 13)] == [0, 0, *range(1, 11)]
    assert sum(well.is_control is True for well in wells.values()) == 9


def test_a_wrong_pattern_leaves_nothing_behind(lab: Settings) -> None:
    source = shared_data("sbs_plate")
    options = ("--experiment", "E1", "--plate", "wrong", "--pattern", "{well}.tif", "--pixel-size-um", "1,1")
    said = cell_assets(lab, "ingest", str(source), *options)
    assert said.code == 1
    assert "Channel1-01-A-01.tif: does not fit the pattern '{well}.tif'; give another --pattern" in said.err
    with opened(lab) as session:
        assert {plate.draft.name for plate in session.ledger.plates("E1")} == {"dose", "painting", *NDTIFF}


def test_only_a_given_pattern_is_recorded() -> None:
    plain = IngestRequest(source="/a", experiment="E", plate="P")
    assert "pattern" not in plain.recorded()
    placed = IngestRequest(source="/a", experiment="E", plate="P", pattern="{well}.tif")
    assert placed.recorded()["pattern"] == "{well}.tif"
