"""A model with the channel-adaptive stem, trained on phase and mCherry, on a plate filmed in other channels."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pytest

from cell_assets.assets.partitions import fov_key
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import RunRequest, choose
from cell_assets.automation.session import Session
from cell_assets.automation.stages import FOV_ASSETS
from cell_assets.imaging.patch_reading import open_patch_table
from cell_assets.ledger.records import Provenance
from cell_assets.settings import Settings
from cell_assets.simulation.parameters import SimulationParameters
from cell_assets.simulation.simulate import simulate
from cell_assets_tests.end_to_end.lab import SMALL_TRAINING, PlateFolder, opened, run, small_choices

pytestmark = pytest.mark.slow


def plate_of_other_channels(folder: Path) -> PlateFolder:
    """Phase, Cy5 and GFP: the simulated sensor goes by another name, beside a third channel."""
    few = SimulationParameters(
        seed=2,
        fovs_per_well=1,
        time_points=3,
        shape_zyx=(1, 64, 64),
        voxel_um_zyx=(3.0, 1.0, 1.0),
        cells_per_fov=8,
        organelle_channel=True,
        write_true_labels=False,
    )
    simulate(folder, few)
    for metadata in (folder / "plate.zarr").rglob("zarr.json"):
        metadata.write_text(
            metadata.read_text(encoding="utf-8").replace('"mCherry"', '"Cy5"'), encoding="utf-8"
        )
    return PlateFolder(folder)


def store_patches(session: Session, *channels: str) -> int:
    """Patch tables of P2 with these of its channels, and how many cell images they hold."""
    kinds = {"Phase": "phase"}
    chosen = [{"name": name, "kind": kinds.get(name, "fluorescence")} for name in channels]
    patches = {"side_px": 32, "channels": chosen}
    choose(session, RunRequest(experiment="E2", choices={**small_choices(), "fovs": {"patches": patches}}))
    plate = session.ledger.plate("P2")
    assert plate is not None
    keys = [fov_key("P2", position) for position in plate.living_positions]
    with session.executor() as executor:
        outcome = executor.materialise(FOV_ASSETS, partition_range=(keys[0], keys[-1]))
    assert outcome.succeeded, outcome.error
    tables = [open_patch_table(session.store.read("patch_table", key).path) for key in keys]
    assert {table.info.channel_names for table in tables} == {channels}
    return sum(len(table.cells) for table in tables)


def newest(session: Session, asset: str, partition: str) -> Provenance:
    made = session.ledger.latest(asset, partition)
    assert made is not None
    return made


def embedded(session: Session, plate: str) -> Any:
    folder = session.store.path_of(newest(session, "dynaclr_embeddings", f"E1|{plate}").artifact)
    return ad.read_zarr(folder / "embeddings.zarr")


def test_a_plate_of_other_channels_is_embedded_by_all_that_it_has(
    new_lab: Callable[[], Settings], two_fovs: PlateFolder, tmp_path: Path
) -> None:
    adaptive = {**SMALL_TRAINING, "stem": "channel-adaptive"}
    choices = {
        **small_choices(),
        "training": {"dynaclr": {"preset": "quick", "changes": adaptive}},
        "report": {"n_resamples": 100, "independent_plates": ["P2"]},
    }
    asked = RunRequest(experiment="E1", choices=choices)
    with opened(new_lab()) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        ingest_plate(session, plate_of_other_channels(tmp_path / "other").request("E2", "P2"))
        n_images = store_patches(session, "Phase", "Cy5", "GFP")
        outcome = run(session, asked)
        assert outcome.failed == (), outcome.failed

        model = newest(session, "dynaclr_checkpoint", "E1")
        assert model.run.parameters["stem"] == "channel-adaptive"
        assert model.artifact.id in {one.id for one in newest(session, "dynaclr_embeddings", "E1|P2").inputs}
        own, other = embedded(session, "P1"), embedded(session, "P2")
        assert json.loads(own.uns["channels"]) == ["Phase", "mCherry"]
        assert json.loads(other.uns["channels"]) == ["Phase", "Cy5", "GFP"]
        assert other.shape == (n_images, SMALL_TRAINING["widths"][-1]) and n_images > 0
        assert set(other.obs["plate"]) == {"P2"} and set(other.obs["split"]) == {"unlisted"}
        assert np.isfinite(other.X).all() and other.X.std(axis=0).min() > 0

        # The same cell images without their third channel are other features, of the same model.
        assert store_patches(session, "Phase", "Cy5") == n_images
        assert run(session, asked).failed == ()
        assert newest(session, "dynaclr_checkpoint", "E1").artifact.id == model.artifact.id
        fewer = embedded(session, "P2")
        assert json.loads(fewer.uns["channels"]) == ["Phase", "Cy5"]
        assert list(fewer.obs_names) == list(other.obs_names)
        assert np.abs(fewer.X - other.X).max(axis=1).min() > 1e-4
        np.testing.assert_array_equal(embedded(session, "P1").X, own.X)
