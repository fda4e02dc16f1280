"""Cells held against their plate's controls: what the controls become, and that a plate's own look is gone."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.well_manifest import COMPOUND, IS_CONTROL
from cell_assets.methods.cytosummary import conditioning as module
from cell_assets.methods.cytosummary.conditioning import condition
from cell_assets.methods.cytosummary.method import METHOD
from cell_assets.methods.cytosummary.parameters import Conditioning
from cell_assets.methods.cytosummary.plate_cells import PlateCells
from cell_assets_tests.methods.cytosummary.synthetic_plates import manifest, write_plate
from cell_assets_tests.methods.cytosummary.test_method import digests, small

D, CELLS = 6, 3000


def plate(look: NDArray[np.float64], seed: int = 0) -> PlateCells:
    """Two control wells around one that moved, correlated, seen through `look` (D, D)."""
    random = np.random.default_rng(seed)
    cells = random.normal(size=(3, CELLS, D)) * np.linspace(1, 3, D)
    cells[..., 1] += cells[..., 0]
    cells[1, :, 2] += 4
    wells = pd.DataFrame({COMPOUND: ["DMSO", "c", "DMSO"], IS_CONTROL: [True, False, True]})
    features = (cells.reshape(-1, D) @ look + 5).astype(np.float32)
    return PlateCells("P", features, np.arange(4) * CELLS, wells)


def controls_of(plate: PlateCells) -> NDArray[np.float64]:
    first, _, last = (plate.features[a:b] for a, b in pairwise(plate.starts))
    return np.concatenate([first, last]).astype(np.float64)


@pytest.mark.parametrize("cells_at_once", [700, 8192])
def test_control_cells_are_scaled_or_whitened(cells_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CELLS_AT_ONCE", cells_at_once)
    given = plate(np.eye(D))
    scaled, whitened = (PlateCells("P", given.features.copy(), given.starts, given.wells) for _ in range(2))
    condition(scaled, Conditioning.SCALED, seed=0)
    controls = controls_of(given)
    expected = (given.features - controls.mean(0)) / controls.std(0)
    np.testing.assert_allclose(scaled.features, expected, atol=1e-4)

    condition(whitened, Conditioning.WHITENED, seed=0)
    found = controls_of(whitened)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-4)
    covariance = np.cov(controls.T, bias=True)
    ridge = 0.1 * np.trace(covariance) / D
    values = np.linalg.eigvalsh(covariance)
    np.testing.assert_allclose(
        np.linalg.eigvalsh(np.cov(found.T, bias=True)), values / (values + ridge), atol=1e-3
    )
    moved = whitened.features[CELLS : 2 * CELLS].mean(0)
    assert moved.argmax() == 2 and moved[2] > 1

    untouched = plate(np.eye(D))
    condition(untouched, Conditioning.NONE, seed=0)
    np.testing.assert_array_equal(untouched.features, given.features)


def test_whitening_brings_plates_that_mix_features_nearer_than_scaling() -> None:
    random = np.random.default_rng(3)
    apart: dict[Conditioning, list[float]] = {Conditioning.SCALED: [], Conditioning.WHITENED: []}
    for _ in range(12):
        look = np.eye(D) + 0.25 * random.normal(size=(D, D))
        for conditioning, found in apart.items():
            plates = [plate(np.eye(D)), plate(look)]
            for one in plates:
                condition(one, conditioning, seed=0)
            moved = [one.features[CELLS : 2 * CELLS].mean(0) for one in plates]
            found.append(float(np.linalg.norm(moved[0] - moved[1]) / np.linalg.norm(moved[0])))
    assert np.mean(apart[Conditioning.WHITENED]) < 0.85 * np.mean(apart[Conditioning.SCALED])


def test_a_plate_without_control_cells_is_named() -> None:
    given = plate(np.eye(D))
    without = PlateCells("P", given.features, given.starts, given.wells.assign(**{IS_CONTROL: False}))
    with pytest.raises(BadInputError, match="plate P: 0 cells of control wells are there to condition on"):
        condition(without, Conditioning.SCALED, seed=0)


def test_a_conditioned_checkpoint_conditions_what_it_profiles(tmp_path: Path) -> None:
    wells = manifest(["P"])
    table = write_plate(tmp_path / "P", "P", 1)
    (checkpoint := tmp_path / "checkpoint").mkdir()
    METHOD.train([table], wells, small(conditioning=Conditioning.WHITENED), checkpoint)
    (other := tmp_path / "unconditioned").mkdir()
    METHOD.train([table], wells, small(), other)
    assert digests(checkpoint)["model.safetensors"] != digests(other)["model.safetensors"]
    profiles = {}
    for name, held in (("conditioned", checkpoint), ("plain", other)):
        for change in ("none", "treated"):
            # Cells of one treated well far away move what all cells are standardised by, and not the controls.
            def moved(cells: pd.DataFrame, change: str = change) -> pd.DataFrame:
                far = (cells["Metadata_Well"] == "A01") & (change == "treated")
                features = cells.columns[~cells.columns.str.startswith("Metadata_")]
                cells.loc[far, features] += 30
                return cells

            (out := tmp_path / f"{name} {change}").mkdir()
            METHOD.profile(held, write_plate(out / "table", "P", 1, moved), wells, out, {})
            table_of = pd.read_parquet(out / "profiles.parquet")
            rest = table_of["Metadata_Well"] != "A01"
            profiles[name, change] = table_of[rest].filter(like="Cells_CytoSummaryNet_").to_numpy()
    scale = {name: np.abs(profiles[name, "none"]).max() for name in ("conditioned", "plain")}
    apart = {
        name: np.abs(profiles[name, "none"] - profiles[name, "treated"]).max() / scale[name] for name in scale
    }
    assert apart["conditioned"] < 0.3 * apart["plain"]
