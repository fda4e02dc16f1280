"""A model trained on phase and RFP embeds plates with other channels, by the registry's method."""

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch

from cell_assets.errors import BadInputError
from cell_assets.evaluation.manifest import FrozenCells
from cell_assets.methods.contract import TrainingTable
from cell_assets.methods.dynaclr.augmentation import center_crop
from cell_assets.methods.dynaclr.checkpoint import load_checkpoint
from cell_assets.methods.dynaclr.patches import open_tables
from cell_assets.methods.registry import load_method
from cell_assets_tests.methods.dynaclr.small_patch_table import write_table

CHANGES = {
    "patch_side_px": 32,
    "widths": (8, 8, 16, 24),
    "blocks": (1, 1, 1, 1),
    "batch_size": 6,
    "max_steps": 4,
    "stem": "channel-adaptive",
}


def trained(folder: Path, table: TrainingTable, **changes: object) -> Path:
    """A checkpoint of the tracks of `table`, all but the third in training."""
    (out := folder / "checkpoint").mkdir()
    method = load_method("dynaclr")
    method.train([table], manifest_of(table), method.parameters("quick", CHANGES | changes), out)
    return out


def manifest_of(table: TrainingTable) -> FrozenCells:
    rows = [(table.plate, table.fov_name, k, k, "val" if k == 3 else "train") for k in range(1, 7)]
    columns = ["plate", "fov_name", "track_id", "lineage_root", "split"]
    return FrozenCells(pd.DataFrame(rows, columns=columns))


def embedded(checkpoint: Path, table: TrainingTable, out: Path) -> ad.AnnData:
    out.mkdir()
    load_method("dynaclr").embed(checkpoint, [table], manifest_of(table), out, {})
    return ad.read_zarr(out / "embeddings.zarr")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint that was trained on Phase and RFP, at patches of two tables."""
    folder = tmp_path_factory.mktemp("adaptive")
    trained(folder, TrainingTable("P1", "A/1/000", write_table(folder / "two", "A/1/000")))
    return folder


@pytest.mark.parametrize(
    ("phase", "fluorescence"),
    [(("Phase",), ("GFP", "Cy5")), (("BF",), ()), ((), ("DAPI", "GFP", "Cy5")), (("Phase",), ("RFP",))],
)
def test_a_plate_with_other_channels_is_embedded(
    phase: tuple[str, ...], fluorescence: tuple[str, ...], study: Path, tmp_path: Path
) -> None:
    folder = write_table(tmp_path / "other", "B/2/000", seed=3, phase=phase, fluorescence=fluorescence)
    table = TrainingTable("P2", "B/2/000", folder)
    adata = embedded(study / "checkpoint", table, tmp_path / "out")
    assert adata.X.shape == (18, 24)
    assert np.isfinite(adata.X).all()
    assert adata.X.std(0).min() > 0

    network, config = load_checkpoint(study / "checkpoint")
    assert [channel.name for channel in config.channels] == ["Phase", "RFP"]
    opened = open_tables([table], manifest_of(table)).tables[0]
    rows = adata.obs["row"].to_numpy() if "row" in adata.obs else np.arange(18)
    shape = (18, len(phase) + len(fluorescence), 1, 1, 1)
    offset, scale = opened.offset[rows].reshape(shape), opened.scale[rows].reshape(shape)
    patches = torch.from_numpy((opened.read(rows).astype(np.float32) - offset) / scale)
    with torch.no_grad():
        expected = network(center_crop(patches, 32), network.kind_codes(opened.kinds)).features
    np.testing.assert_allclose(adata.X, expected, atol=1e-4)


def test_every_channel_of_the_other_plate_counts(study: Path, tmp_path: Path) -> None:
    made = []
    for names in (("GFP",), ("GFP", "Cy5")):
        folder = write_table(tmp_path / "-".join(names), "B/2/000", seed=3, fluorescence=names)
        table = TrainingTable("P2", "B/2/000", folder)
        made.append(embedded(study / "checkpoint", table, tmp_path / f"out-{len(names)}").X)
    assert np.abs(made[0] - made[1]).max() > 1e-3


def channels_of(adata: ad.AnnData) -> list[str]:
    return json.loads(adata.uns["channels"])


def test_channels_that_it_was_trained_on_are_taken_alone(study: Path, tmp_path: Path) -> None:
    made = []
    for names in (("RFP",), ("GFP", "RFP")):
        folder = write_table(tmp_path / "-".join(names), "B/2/000", seed=3, fluorescence=names)
        made.append(
            embedded(
                study / "checkpoint", TrainingTable("P2", "B/2/000", folder), tmp_path / f"out-{len(names)}"
            )
        )
    assert [channels_of(one) for one in made] == [["Phase", "RFP"]] * 2


def test_a_kind_that_was_never_trained_is_left_out_or_refused(tmp_path: Path) -> None:
    table = TrainingTable("P1", "A/1/000", write_table(tmp_path / "two", "A/1/000"))
    checkpoint = trained(tmp_path, table, channels=("Phase",))
    assert channels_of(embedded(checkpoint, table, tmp_path / "own")) == ["Phase"]
    for phase in (("BF",), ()):
        folder = write_table(tmp_path / f"other-{len(phase)}", "B/2/000", phase=phase, fluorescence=("GFP",))
        other = TrainingTable("P2", "B/2/000", folder)
        if phase:
            assert channels_of(embedded(checkpoint, other, tmp_path / "bf")) == ["BF"]
            continue
        (out := tmp_path / "out").mkdir()
        with pytest.raises(
            BadInputError, match="trained on phase channels and the patch tables hold none, but GFP"
        ):
            load_method("dynaclr").embed(checkpoint, [other], manifest_of(other), out, {})
        assert not list(out.iterdir())


def test_the_fixed_stem_refuses_other_channels(tmp_path: Path) -> None:
    table = TrainingTable("P1", "A/1/000", write_table(tmp_path / "two", "A/1/000"))
    checkpoint = trained(tmp_path, table, stem="fixed")
    other = TrainingTable("P2", "A/1/000", write_table(tmp_path / "gfp", "A/1/000", fluorescence=("GFP",)))
    (out := tmp_path / "out").mkdir()
    with pytest.raises(BadInputError, match="P2 A/1/000 stores the channels Phase, GFP and not RFP, which"):
        load_method("dynaclr").embed(checkpoint, [other], manifest_of(other), out, {})
    more = TrainingTable(
        "P3", "A/1/000", write_table(tmp_path / "more", "A/1/000", fluorescence=("GFP", "RFP"))
    )
    assert embedded(checkpoint, more, tmp_path / "more-out").n_obs == 18


def test_masking_changes_training_and_is_drawn_from_the_seed(tmp_path: Path) -> None:
    table = TrainingTable("P1", "A/1/000", write_table(tmp_path / "two", "A/1/000"))
    weights = []
    for i, hidden in enumerate((0.0, 0.5, 0.5)):
        (folder := tmp_path / str(i)).mkdir()
        weights.append((trained(folder, table, channel_masking=hidden) / "model.safetensors").read_bytes())
    assert weights[1] == weights[2] != weights[0]
