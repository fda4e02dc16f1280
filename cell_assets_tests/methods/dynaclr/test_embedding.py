"""From patch tables on disk through training to AnnData, by the registry's method."""

import json
from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from blake3 import blake3

from cell_assets.errors import BadInputError
from cell_assets.evaluation.exclusions import EXCLUSION_TYPES
from cell_assets.evaluation.manifest import FrozenCells
from cell_assets.evaluation.studies.embedding_study import read_embeddings
from cell_assets.methods.contract import Progress, TrainingTable
from cell_assets.methods.dynaclr.augmentation import center_crop
from cell_assets.methods.dynaclr.checkpoint import load_checkpoint
from cell_assets.methods.dynaclr.embedding import embed, embed_source
from cell_assets.methods.dynaclr.patches import PatchSource, open_tables
from cell_assets.methods.registry import load_method
from cell_assets_tests.methods.dynaclr.small_patch_table import write_table
from cell_assets_tests.methods.dynaclr.synthetic_cells import open_table

CHANGES = {
    "patch_side_px": 32,
    "widths": (8, 8, 16, 24),
    "blocks": (1, 1, 1, 1),
    "batch_size": 6,
    "max_steps": 4,
}


class Study:
    """Two patch tables, their manifest and a checkpoint trained on them, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.tables = [
            TrainingTable("P1", "A/1/000", write_table(folder / "a", "A/1/000")),
            TrainingTable("P1", "A/1/001", write_table(folder / "b", "A/1/001", seed=1)),
        ]
        rows = [
            ("P1", fov, track, track, "val" if track == 3 else "train")
            for fov in ("A/1/000", "A/1/001")
            for track in range(1, 7)
            if (fov, track) != ("A/1/001", 6)
        ]
        columns = ["plate", "fov_name", "track_id", "lineage_root", "split"]
        self.manifest = FrozenCells(pd.DataFrame(rows, columns=columns))
        self.checkpoint = folder / "checkpoint"
        self.checkpoint.mkdir()
        method = load_method("dynaclr")
        parameters = method.parameters("quick", CHANGES)
        self.result = method.train(self.tables, self.manifest, parameters, self.checkpoint)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def embedded(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("embedded")
    seen: list[Progress] = []
    result = load_method("dynaclr").embed(
        study.checkpoint, study.tables, study.manifest, out, {"checkpoint": "abc"}, progress=seen.append
    )
    assert (result.n_cells, result.n_features) == (36, 24)
    assert (seen[-1].done, seen[-1].total, seen[-1].unit) == (36, 36, "cells")
    return out


def test_the_table_holds_every_cell_with_split_and_condition(embedded: Path) -> None:
    adata = ad.read_zarr(embedded / "embeddings.zarr")
    assert adata.X.dtype == np.float32
    assert {key: value.shape[1] for key, value in adata.obsm.items()} == {
        "X_projection": 32,
        "X_pca": 24,
        "X_umap": 2,
    }
    assert adata.obs.columns[:11].tolist() == [
        "plate", "fov_name", "track_id", "t", "id", "parent_track_id", "parent_id", "lineage_root", "z", "y", "x",
    ]  # fmt: skip
    assert not [name for name in adata.obs.columns if name.startswith(("shift_", "scale_"))]
    splits = adata.obs.groupby(["fov_name", "track_id"], observed=True)["split"].first()
    assert splits["A/1/000", 3] == "val"
    assert splits["A/1/000", 6] == "train"
    assert splits["A/1/001", 6] == "unlisted"
    assert set(adata.obs["perturbation"]) == {"DENV"}
    assert adata.obs["moa"].isna().all()
    assert adata.obs["is_control"].eq(False).all()
    assert dict(adata.uns["provenance"]) == {"checkpoint": "abc"}
    assert adata.obs.index.is_unique


def test_every_row_is_the_networks_answer_to_that_cells_patch(study: Study, embedded: Path) -> None:
    adata = ad.read_zarr(embedded / "embeddings.zarr")
    network, _ = load_checkpoint(study.checkpoint)
    for i in (0, 17, 35):
        row = adata.obs.iloc[i]
        table = next(t for t in study.tables if t.fov_name == row["fov_name"])
        opened = open_tables([table], study.manifest).tables[0]
        cells = opened.cells
        at = cells.loc[(cells["track_id"] == row["track_id"]) & (cells["t"] == row["t"]), "row"].to_numpy()
        stored = opened.read(at).astype(np.float32)
        shape = (1, 2, 1, 1, 1)
        patch = (stored - opened.offset[at].reshape(shape)) / opened.scale[at].reshape(shape)
        with torch.no_grad():
            encoding = network(center_crop(torch.from_numpy(patch), 32))
        np.testing.assert_allclose(adata.X[i], encoding.features[0], atol=1e-4)
        np.testing.assert_allclose(adata.obsm["X_projection"][i], encoding.projections[0], atol=1e-4)


def test_equal_inputs_give_equal_bytes(study: Study, embedded: Path, tmp_path: Path) -> None:
    embed(study.checkpoint, study.tables, study.manifest, tmp_path, {"checkpoint": "abc"})

    def digests(root: Path) -> dict[str, str]:
        files = (path for path in root.rglob("*") if path.is_file())
        return {str(path.relative_to(root)): blake3(path.read_bytes()).hexdigest() for path in files}

    assert digests(tmp_path) == digests(embedded)


def test_what_is_left_out_is_not_embedded(study: Study, embedded: Path, tmp_path: Path) -> None:
    places = [("P1", "A/1", "A/1/000", 1), ("P1", "A/1", "A/1/001", None)]
    for n, name in ((1, "frame"), (2, "all but two frames")):
        rows = pd.DataFrame(places[:n], columns=["plate", "well", "fov_name", "t"])
        manifest = FrozenCells(
            study.manifest.tracks, rows.reindex(columns=list(EXCLUSION_TYPES)).astype(EXCLUSION_TYPES)
        )
        (out := tmp_path / name).mkdir()
        embed(study.checkpoint, study.tables, manifest, out, {})
        some, whole = ad.read_zarr(out / "embeddings.zarr"), ad.read_zarr(embedded / "embeddings.zarr")
        obs = whole.obs
        is_out = (obs["fov_name"] == "A/1/000") & (obs["t"] == 1)
        if n == 2:
            is_out |= obs["fov_name"] == "A/1/001"
        assert some.obs_names.tolist() == whole.obs_names[~is_out].tolist()
        # Batches differ, so the last bits may.
        np.testing.assert_allclose(some.X, whole.X[~is_out], atol=1e-5)


def test_a_plate_that_is_left_out_as_a_whole_has_embeddings_without_a_row(
    study: Study, tmp_path: Path
) -> None:
    rows = pd.DataFrame({"plate": ["P1"]}).reindex(columns=list(EXCLUSION_TYPES)).astype(EXCLUSION_TYPES)
    manifest = FrozenCells(study.manifest.tracks, rows)
    (out := tmp_path / "P1").mkdir()
    result = embed(study.checkpoint, study.tables, manifest, out, {})
    assert (result.n_cells, result.n_features) == (0, 24)
    assert "every cell image is left out" in result.messages[0]
    (other := tmp_path / "P2").mkdir()
    embed(study.checkpoint, study.tables, study.manifest, other, {})
    joined = read_embeddings([out, other])
    assert len(joined.cells) == len(joined.features) == 36
    with pytest.raises(BadInputError, match="every cell image is left out by thresholds"):
        read_embeddings([out])


def test_training_states_what_it_ran(study: Study) -> None:
    config = json.loads((study.checkpoint / "config.json").read_bytes())
    assert config["parameters"]["max_steps"] == 4
    assert config["parameters"] == study.result.parameters.model_dump(mode="json")
    assert config["channels"] == [{"name": "Phase", "kind": "phase"}, {"name": "RFP", "kind": "fluorescence"}]
    assert config["network"]["channel_gains"] == [1.0, 4.0]
    assert set(study.result.metrics) == {"train_loss", "val_loss", "share_of_anchors_seen"}


def test_too_few_cells_get_no_umap_and_the_reason(study: Study, tmp_path: Path) -> None:
    table = TrainingTable("P2", "A/1/000", write_table(tmp_path / "few", "A/1/000", n_tracks=2, n_frames=2))
    result = embed(study.checkpoint, [table], study.manifest, tmp_path, {})
    adata = ad.read_zarr(tmp_path / "embeddings.zarr")
    assert "X_umap" not in adata.obsm
    assert (
        result.messages
        == (adata.uns["umap"],)
        == ("UMAP was left out: 4 cells are too few for 15 neighbours",)
    )
    assert set(adata.obs["split"]) == {"unlisted"}


def test_a_checkpoint_from_before_there_were_more_choices_is_read(study: Study, tmp_path: Path) -> None:
    config = json.loads((study.checkpoint / "config.json").read_bytes())
    del config["network"]["kinds"]
    for name in ("relatives", "channels", "objective", "distance", "temperature", "concentration", "stem"):
        del config["parameters"][name]
    for name in ("channel_masking", "initial", "imagenet_blake3", "devices"):
        del config["parameters"][name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((study.checkpoint / "model.safetensors").read_bytes())
    old, new = load_checkpoint(tmp_path), load_checkpoint(study.checkpoint)
    assert old[1] == new[1]
    patch = torch.randn(2, 2, 1, 32, 32)
    assert torch.equal(old[0](patch).features, new[0](patch).features)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c | {"version": 2}, r"config\.json is not understood at version"),
        (lambda c: c | {"surprise": 1}, r"config\.json is not understood at surprise"),
        (
            lambda c: c | {"network": c["network"] | {"widths": [8, 8, 16, 32]}},
            r"model\.safetensors does not hold the network",
        ),
    ],
)
def test_a_checkpoint_that_is_not_understood_is_refused(
    study: Study, tmp_path: Path, change: object, message: str
) -> None:
    assert callable(change)
    config = json.loads((study.checkpoint / "config.json").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(change(config)))
    (tmp_path / "model.safetensors").write_bytes((study.checkpoint / "model.safetensors").read_bytes())
    with pytest.raises(BadInputError, match=message):
        load_checkpoint(tmp_path)


def test_other_channels_and_depths_are_refused(study: Study, tmp_path: Path) -> None:
    deep = PatchSource([open_table(depth=3)])
    with pytest.raises(BadInputError, match="trained on patches of 1 slices and the patch tables hold 3"):
        embed_source(study.checkpoint, deep, study.manifest, tmp_path, {})
    renamed = PatchSource([replace(open_table(), channel_names=("Phase", "GFP"))])
    with pytest.raises(BadInputError, match=r"trained on the channels Phase, RFP .* hold Phase, GFP"):
        embed_source(study.checkpoint, renamed, study.manifest, tmp_path, {})
    assert not list(tmp_path.iterdir())
