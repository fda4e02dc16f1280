"""The folder as a whole: same seed same bytes, readable by others' tools, whole or not there."""

import errno
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from iohub.ngff import open_ome_zarr
from ome_zarr_models.v05 import Image, ImageLabel
from ome_zarr_models.v05.hcs import HCS

from cell_assets.errors import BadInputError
from cell_assets.imaging.ome_zarr_plate import OmeZarrPlate
from cell_assets.imaging.plate_map import read_plate_map
from cell_assets.imaging.readers.registry import open_source
from cell_assets.imaging.track_files import read_state_csv, read_track_csv
from cell_assets.imaging.track_tables import ImageExtent
from cell_assets.simulation import plate_files
from cell_assets.simulation.layout import fields
from cell_assets.simulation.parameters import SimulationParameters
from cell_assets.simulation.simulate import SimulationResult, simulate
from cell_assets_tests.simulation.conftest import TINY, image, label_image


def tree(folder: Path) -> dict[str, str]:
    """Digest of every file by relative name."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_seed_same_bytes_whatever_the_workers(tmp_path: Path) -> None:
    chosen = TINY.model_copy(update={"fovs_per_well": 2})
    trees = [
        tree(simulate(tmp_path / str(number), chosen, workers=workers).folder)
        for number, workers in enumerate((1, 1, 2))
    ]
    assert len(trees[0]) > 20
    assert trees[0] == trees[1]
    assert trees[0] == trees[2]


def test_another_seed_gives_other_pixels_and_tracks(tmp_path: Path) -> None:
    one = tree(simulate(tmp_path / "one", TINY).folder)
    other = tree(simulate(tmp_path / "other", TINY.model_copy(update={"seed": 4})).folder)
    differing = {name for name in one if one[name] != other.get(name)}
    chunks = {name for name in one if "/c/" in name and name.startswith("plate.zarr/")}
    assert len(chunks) == 4, "one shard per field for pixels, one for labels"
    assert chunks <= differing
    assert "tracks/A_1_000.csv" in differing


def test_adding_a_field_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    small = tree(simulate(tmp_path / "small", TINY).folder)
    more = TINY.model_copy(update={"fovs_per_well": 2, "wells_per_condition": 2})
    large = tree(simulate(tmp_path / "large", more).folder)
    kept = [name for name in small if "/000/0/c/" in name or name.startswith("tracks/")]
    assert len(kept) == 2 * (1 + 1)
    kept += [name for name in small if "/000/labels/" in name]
    assert len(kept) == 2 * (1 + 1 + 4)
    for name in kept:
        assert small[name] == large[name]


def test_plate_opens_in_iohub_with_sizes_names_and_interval(
    plate: SimulationResult, parameters: SimulationParameters
) -> None:
    with open_ome_zarr(plate.plate, mode="r") as opened:
        assert [name for name, _ in opened.positions()] == ["A/1/000", "A/1/001", "A/2/000", "A/2/001"]
        position = opened["A/2/001"]
        assert position.channel_names == ["Phase", "mCherry"]
        assert position.scale == [30.0, 1.0, 3.0, 0.5, 0.5]
        assert [getattr(axis, "unit", None) for axis in position.axes] == [
            "minute",
            None,
            *["micrometer"] * 3,
        ]
        assert position.data.shape == (20, 2, 5, 160, 160)
        assert position.data.dtype == np.uint16


def test_imaging_reads_everything_back(
    plate: SimulationResult, parameters: SimulationParameters, tracks: pd.DataFrame
) -> None:
    """The readers that ingest uses accept the plate, its map, its tracks and its states."""
    stated = OmeZarrPlate(plate.plate).images
    assert [image.name for image in stated] == [place.name for place in fields(parameters)]
    assert {(image.z_um, image.y_um, image.x_um, image.interval_min) for image in stated} == {
        (3.0, 0.5, 0.5, 30.0)
    }
    mock, infected = read_plate_map(plate.plate_map, ["A/1", "A/2"])
    assert (mock.perturbation_type, mock.perturbation, mock.dose, mock.is_control) == (
        "virus",
        "mock",
        0.0,
        True,
    )
    assert (infected.perturbation, infected.dose, infected.dose_unit, infected.is_control) == (
        "DENV",
        5.0,
        "MOI",
        False,
    )
    extent = ImageExtent.of(stated[0].shape)
    read = {
        place.name: read_track_csv(plate.tracks / f"{place.file_stem}.csv", place.name, extent)
        for place in fields(parameters)
    }
    assert sum(len(table) for table in read.values()) == len(tracks)
    states = read_state_csv(plate.states, read)
    assert len(states) == len(tracks)
    assert states.hours_post_infection.notna().equals(states.infection_state == "infected")


def test_the_plate_and_its_labels_are_valid_ome_zarr(plate: SimulationResult) -> None:
    root = zarr.open_group(plate.plate, mode="r")
    model = HCS.from_zarr(root)
    assert len(model.attributes.ome.plate.wells) == 2
    for name in ("A/1/000", "A/1/001", "A/2/000", "A/2/001"):
        image = Image.from_zarr(root[name])
        assert image.labels.attributes.ome.labels == ["nuclei"]
        label = ImageLabel.from_zarr(root[f"{name}/labels/nuclei"])
        assert label.attributes.ome.image_label.source.image == "../../"
        assert label.attributes.ome.multiscales == image.attributes.ome.multiscales


def test_every_chunk_is_written_also_empty_label_frames(tmp_path: Path) -> None:
    lonely = TINY.model_copy(update={"cells_per_fov": 1, "drift_um_per_hour": 30.0, "time_points": 6})
    result = simulate(tmp_path / "plate", lonely)
    frames = [label_image(result, name)[t] for name in ("A/1/000", "A/2/000") for t in range(6)]
    assert any(not np.asarray(frame).any() for frame in frames)
    written = open_source(result.plate)
    assert all(written.label_dtype(position.name) == np.uint16 for position in written.positions)
    written.check()


def test_plate_map_description_and_counts(
    plate: SimulationResult, parameters: SimulationParameters, tracks: pd.DataFrame, states: pd.DataFrame
) -> None:
    plate_map = pd.read_csv(plate.plate_map, keep_default_na=False)
    assert plate_map.to_dict("records") == [
        {"well": "A/1", "virus": "mock", "moi": 0.0, "dose_unit": "MOI", "moa": "", "is_control": True},
        {"well": "A/2", "virus": "DENV", "moi": 5.0, "dose_unit": "MOI", "moa": "", "is_control": False},
    ]
    description = json.loads((plate.folder / "simulation.json").read_text())
    assert description["format"] == "cell_assets.simulated_plate"
    assert description["version"] == "1"
    assert description["simulated"] is True
    assert SimulationParameters(**description["parameters"]) == parameters
    assert description["n_cell_timepoints"] == plate.n_cell_timepoints == len(tracks) == len(states)
    assert plate.n_tracks == len(tracks.drop_duplicates(["fov_name", "track_id"]))


def test_pixels_use_the_camera_range(plate: SimulationResult) -> None:
    values = np.asarray(image(plate, "A/2/000")[::6])
    assert values.max() < 65_535
    assert values[:, 0].min() > 1000
    assert 80 < values[:, 1].min() < 140


def test_one_frame_and_one_plane_is_a_plate_too(tmp_path: Path) -> None:
    result = simulate(tmp_path / "plate", TINY.model_copy(update={"time_points": 1}))
    assert image(result, "A/1/000").shape == (1, 2, 1, 64, 64)
    assert json.loads((result.folder / "simulation.json").read_text())["interval_min"] is None
    assert result.n_cell_timepoints >= 2


def test_without_true_labels_the_plate_is_the_same_but_for_them(tmp_path: Path) -> None:
    bare = simulate(tmp_path / "bare", TINY.model_copy(update={"write_true_labels": False}))
    whole = simulate(tmp_path / "whole", TINY)
    assert (bare.labels, whole.labels) == (None, "nuclei")
    kept = {name: digest for name, digest in tree(whole.plate).items() if "/labels/" not in name}
    assert tree(bare.plate) == kept


def test_progress_counts_fields(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    simulate(tmp_path / "plate", TINY, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BadInputError, match="not an empty folder"):
        simulate(tmp_path, TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(plate_files, "write_tables", full)
    with pytest.raises(BadInputError, match="is full"):
        simulate(tmp_path / "plate", TINY)
    assert list(tmp_path.iterdir()) == []


def test_workers_below_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="workers is 0"):
        simulate(tmp_path / "plate", TINY, workers=0)
