"""DynaCLR's encoder as attribution takes it, on real patch tables and a trained checkpoint."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch

from cell_assets.evaluation.manifest import FrozenCells
from cell_assets.evaluation.pixels.attribution_parameters import AttributionParameters
from cell_assets.evaluation.pixels.attribution_scores import MapKind
from cell_assets.evaluation.scores.probes import LinearHead
from cell_assets.methods.attribution.classifier import StateClassifier
from cell_assets.methods.attribution.maps import AttributionMaps, attribute
from cell_assets.methods.contract import TrainingTable
from cell_assets.methods.dynaclr.attribution import open_encoder
from cell_assets.methods.registry import load_attributable, load_method
from cell_assets_tests.methods.dynaclr.small_patch_table import write_table

CHANGES = {
    "patch_side_px": 32,
    "widths": (8, 8, 16, 24),
    "blocks": (1, 1, 1, 1),
    "batch_size": 6,
    "max_steps": 4,
}
SETTINGS = AttributionParameters(threads=1, batch_size=50)


class Study:
    """Two patch tables, a checkpoint trained on them, and its embeddings."""

    def __init__(self, folder: Path, stem: str) -> None:
        self.tables = [
            TrainingTable("P1", fov, write_table(folder / fov[-1], fov, seed=seed))
            for seed, fov in enumerate(("A/1/000", "A/1/001"))
        ]
        rows = [
            ("P1", table.fov_name, track, track, "train") for table in self.tables for track in range(1, 7)
        ]
        self.manifest = FrozenCells(
            pd.DataFrame(rows, columns=["plate", "fov_name", "track_id", "lineage_root", "split"])
        )
        self.checkpoint = folder / "checkpoint"
        self.checkpoint.mkdir()
        method = load_method("dynaclr")
        parameters = method.parameters("quick", CHANGES | {"stem": stem})
        method.train(self.tables, self.manifest, parameters, self.checkpoint)
        method.embed(self.checkpoint, self.tables, self.manifest, folder, {})
        self.embedded = ad.read_zarr(folder / "embeddings.zarr")

    def head(self) -> LinearHead:
        features = np.asarray(self.embedded.X, np.float64)
        weight = np.random.default_rng(0).normal(size=features.shape[1])
        return LinearHead(features.mean(0), features.std(0) + 1e-6, weight, 0.2)

    def explain(self, row: int) -> AttributionMaps:
        encoder = open_encoder(self.checkpoint, self.tables, self.manifest, SETTINGS)
        with encoder.arithmetic():
            patch = encoder.read(self.embedded.obs.iloc[[row]])[0]
            return attribute(StateClassifier(encoder.network, [self.head()]), patch, SETTINGS)


@pytest.fixture(scope="module", params=["fixed", "channel-adaptive"])
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(tmp_path_factory.mktemp("study"), request.param)


def test_features_are_those_that_are_embedded_whatever_the_order_of_cells(study: Study) -> None:
    encoder = load_attributable("dynaclr").open_encoder(
        study.checkpoint, study.tables, study.manifest, SETTINGS
    )
    rows = [30, 2, 17]
    patches = encoder.read(study.embedded.obs.iloc[rows])
    assert patches.shape == (3, 2, 1, 32, 32)
    with torch.no_grad():
        features, random = encoder.network(patches), encoder.randomised(patches)
    np.testing.assert_allclose(features, study.embedded.X[rows], atol=1e-4)
    assert not np.allclose(features, random, atol=1e-1)


def test_the_randomised_network_shares_no_value_that_was_learned(study: Study) -> None:
    encoder = open_encoder(study.checkpoint, study.tables, study.manifest, SETTINGS)
    learned, random = (dict(one.named_parameters()) for one in (encoder.network, encoder.randomised))
    assert set(learned) == set(random)
    same = [name for name, value in learned.items() if torch.equal(value, random[name])]
    assert same == []


def test_integrated_gradients_sum_to_the_difference_of_logits(study: Study) -> None:
    logits = study.head().logit(np.asarray(study.embedded.X, np.float64))
    # Of an image of whichever cell the head is surest of, so that there is something to share out.
    row = int(np.abs(logits).argmax())
    found = study.explain(row)
    difference = float(found.logit[0] - found.baseline_logit[0])
    total = float(found.maps[MapKind.INTEGRATED_GRADIENTS].sum())
    assert abs(difference) > 0.1
    assert total == pytest.approx(difference, abs=0.01 * abs(difference) + 1e-3)
    assert float(found.logit[0]) == pytest.approx(logits[row], abs=1e-2)


def test_maps_are_the_same_to_the_last_bit(study: Study) -> None:
    first, second = study.explain(3), study.explain(3)
    for kind in MapKind:
        assert torch.equal(first.maps[kind], second.maps[kind])
        assert torch.isfinite(first.maps[kind]).all()
        assert float(first.maps[kind].abs().max()) > 0
