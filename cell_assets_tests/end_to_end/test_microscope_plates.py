"""Real plates of several microscopes, brought in by the command a lab types, and read back by others' libraries."""

import json
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tifffile
from iohub import open_ome_zarr
from ome_zarr_models import open_ome_zarr as validate_ome_zarr

from cell_assets.assets.ingest_request import IngestRequest
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import cell_assets, opened
from cell_assets_tests.imaging.test_tiff_folder import NF1_PATTERN, plate_map_of
from cell_assets_tests.shared_data import shared_data

pytestmark = pytest.mark.needs_shared


@pytest.fixture(scope="module")
def lab(new_lab: Callable[[], Settings], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A lab with the dose plate, the cell painting fields and an NDTiff acquisition."""
    settings = new_lab()
    dose, painting = shared_data("sbs_plate"), shared_data("nf1_cell_painting") / "images"
    ndtiff = shared_data("ndtiff") / "ndtiff3.2_multichannel"
    plate_map = plate_map_of(dose / "1049_Metadata.csv", tmp_path_factory.mktemp("map") / "map.csv")
    pixels = ("--pixel-size-um", "0.5,0.5")
    for plate, source, options in (
        ("dose", dose, ("--channel-names", "DNA,sensor", "--plate-map", str(plate_map), *pixels)),
        ("painting", painting, ("--pattern", NF1_PATTERN, *pixels)),
        ("stack", ndtiff, ("--interval-min", "5")),
    ):
        said = cell_assets(
            settings, "ingest", str(source), "--experiment", "E1", "--plate", plate, *options, "--json"
        )
        assert said.code == 0, said.err
        assert json.loads(said.out)["positions"] == {"dose": 36, "painting": 3, "stack": 1}[plate]
    yield settings


def stored(lab: Settings, plate: str) -> Path:
    with opened(lab) as session:
        folder, _ = session.store.read("raw_acquisition", plate)
        return folder / "plate.zarr"


def test_every_plate_is_valid_for_others(lab: Settings) -> None:
    wells = {
        "dose": {f"{row}/{column}" for row, column in product("ABC", range(1, 13))},
        "painting": {"B/7", "D/6", "D/7"},
        "stack": {"A/1"},
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
        assert {plate.draft.name for plate in session.ledger.plates("E1")} == {"dose", "painting", "stack"}


def test_only_a_given_pattern_is_recorded() -> None:
    plain = IngestRequest(source="/a", experiment="E", plate="P")
    assert "pattern" not in plain.recorded()
    placed = IngestRequest(source="/a", experiment="E", plate="P", pattern="{well}.tif")
    assert placed.recorded()["pattern"] == "{well}.tif"
