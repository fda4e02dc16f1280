"""Dimmed patches have the light and the noise of fewer photons."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Generator

from cell_assets.evaluation.manifest import FrozenCells
from cell_assets.evaluation.pixels.bleaching_parameters import BleachingParameters
from cell_assets.imaging.channels import ChannelKind
from cell_assets.methods.contract import Progress, TrainingTable
from cell_assets.methods.dynaclr.bleaching import dimmed, noise_sd
from cell_assets.methods.registry import load_bleachable, load_method
from cell_assets_tests.methods.dynaclr.small_patch_table import write_table

KINDS = (ChannelKind.PHASE, ChannelKind.FLUORESCENCE)


def photons(mean: float, seed: int) -> torch.Tensor:
    """(4, 2, 3, 64, 64): phase of 1, and Poisson light."""
    light = np.random.default_rng(seed).poisson(mean, (4, 3, 64, 64)).astype(np.float32)
    return torch.stack([torch.ones(4, 3, 64, 64), torch.from_numpy(light)], dim=1)


def test_noise_is_found_below_a_smooth_image() -> None:
    slope = torch.linspace(0, 50, 64).expand(2, 3, 64, 64)
    noise = 3 * torch.randn(2, 3, 64, 64, generator=Generator().manual_seed(0))
    assert noise_sd(slope + noise).numpy() == pytest.approx(3, rel=0.05)
    assert noise_sd(slope).numpy() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("remaining", [0.75, 0.25])
def test_mean_and_variance_fall_together_as_those_of_photons(remaining: float) -> None:
    bright = photons(400, seed=1)
    dim = dimmed(bright, KINDS, remaining, Generator().manual_seed(2))
    fewer = photons(400 * remaining, seed=3)[:, 1]
    assert dim[:, 1].mean().item() == pytest.approx(fewer.mean().item(), rel=0.01)
    assert dim[:, 1].var().item() == pytest.approx(fewer.var().item(), rel=0.05)
    assert torch.equal(dim[:, 0], bright[:, 0])


def test_all_of_the_light_leaves_every_bit() -> None:
    bright = photons(50, seed=1)
    assert torch.equal(dimmed(bright, KINDS, 1.0, Generator().manual_seed(2)), bright)


def test_the_same_seed_dims_alike() -> None:
    bright = photons(50, seed=1)
    first, again, other = (dimmed(bright, KINDS, 0.5, Generator().manual_seed(seed)) for seed in (2, 2, 3))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


class Trained:
    """Two patch tables, a checkpoint trained on them, and its embeddings."""

    def __init__(self, folder: Path, fluorescence: tuple[str, ...]) -> None:
        self.tables = [
            TrainingTable("P1", fov, write_table(folder / fov[-1], fov, seed=seed, fluorescence=fluorescence))
            for seed, fov in enumerate(("A/1/000", "A/1/001"))
        ]
        rows = [
            ("P1", table.fov_name, track, track, "train") for table in self.tables for track in range(1, 7)
        ]
        columns = ["plate", "fov_name", "track_id", "lineage_root", "split"]
        self.manifest = FrozenCells(pd.DataFrame(rows, columns=columns))
        self.checkpoint = folder / "checkpoint"
        self.checkpoint.mkdir()
        method = load_method("dynaclr")
        changes = {
            "patch_side_px": 32,
            "widths": (8, 8, 16, 24),
            "blocks": (1, 1, 1, 1),
            "batch_size": 6,
            "max_steps": 4,
        }
        parameters = method.parameters("quick", changes)
        method.train(self.tables, self.manifest, parameters, self.checkpoint)
        method.embed(self.checkpoint, self.tables, self.manifest, folder, {})
        self.embedded = ad.read_zarr(folder / "embeddings.zarr")


def test_all_of_the_light_gives_the_published_embeddings_bit_for_bit(tmp_path: Path) -> None:
    study = Trained(tmp_path, ("GFP",))
    seen: list[Progress] = []
    features = load_bleachable("dynaclr").embed_dimmed(
        study.checkpoint,
        study.tables,
        study.manifest,
        study.embedded.obs,
        BleachingParameters(remaining=(1.0, 0.5, 0.25)),
        progress=seen.append,
    )
    assert not isinstance(features, str)
    assert np.array_equal(features[1.0], study.embedded.X)
    moved = [np.linalg.norm(features[share] - features[1.0], axis=1).mean() for share in (0.5, 0.25)]
    assert 0 < moved[0] < moved[1]
    assert (seen[-1].done, seen[-1].total) == (36, 36)


def test_a_model_of_phase_alone_says_that_nothing_can_bleach(tmp_path: Path) -> None:
    study = Trained(tmp_path, ())
    said = load_bleachable("dynaclr").embed_dimmed(
        study.checkpoint, study.tables, study.manifest, study.embedded.obs, BleachingParameters()
    )
    assert said == "the checkpoint sees Phase, and none of them is fluorescence that could bleach"
