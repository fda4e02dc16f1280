"""The sketch of covariances: linear in them, and the same for a feature on every plate."""

from pathlib import Path

import numpy as np
import pandas as pd

from cell_assets.evaluation.profiling.cell_covariance import covariance_sketches, sketch_names
from cell_assets.imaging.feature_tables.cell_parquet import CellParquet
from cell_assets.imaging.feature_tables.feature_table import write_feature_table
from cell_assets.imaging.feature_tables.well_statistics import CellsByWell, cells_by_well

NAMES = tuple(f"Cells_Feature_{n}" for n in range(6))


def plate(folder: Path, values: np.ndarray) -> CellsByWell:
    """Cells (n, 6), the first half of which are of well A."""
    folder.mkdir()
    known = pd.DataFrame(
        {
            "Metadata_Plate": "P",
            "Metadata_Well": np.where(np.arange(len(values)) < len(values) // 2, "A", "B"),
            "Metadata_ObjectNumber": np.arange(len(values)),
        }
    )
    known.join(pd.DataFrame(values, columns=list(NAMES))).to_parquet(folder / "given.parquet")
    write_feature_table(CellParquet(folder / "given.parquet"), folder)
    return cells_by_well(folder, np.ones(len(values), bool))


def sketch(cells: CellsByWell, order: np.ndarray, size: int = 3, seed: int = 0) -> np.ndarray:
    names = [NAMES[n] for n in order]
    return covariance_sketches(cells, names, np.zeros(6), np.ones(6), size, seed)


def test_neither_the_order_of_features_nor_the_mean_changes_it(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(80, 6))
    one = sketch(plate(tmp_path / "a", values), np.arange(6))
    assert one.shape == (2, 6) and sketch_names(3)[2] == "Cells_CovarianceSketch_0_2"
    np.testing.assert_allclose(sketch(plate(tmp_path / "b", values), np.arange(6)[::-1]), one, atol=1e-5)
    np.testing.assert_allclose(sketch(plate(tmp_path / "c", values + 5), np.arange(6)), one, atol=1e-4)
    assert not np.allclose(sketch(plate(tmp_path / "d", values), np.arange(6), seed=1), one, atol=0.01)


def test_it_is_linear_in_the_covariance(tmp_path: Path) -> None:
    # Of cells that vary in one feature alone, the sketch is that variance times signs over D.
    values = np.zeros((80, 6))
    values[:, 2] = np.tile([-3.0, 3.0], 40)
    found = sketch(plate(tmp_path / "a", values), np.arange(6))
    np.testing.assert_allclose(np.abs(found), 9 / 6, rtol=1e-6)
    assert (found[:, [0, 3, 5]] > 0).all()


def test_wells_of_equal_means_and_other_correlation_are_told_apart(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(4000, 6))
    values[:2000, 1] = values[:2000, 0]
    cells = plate(tmp_path / "a", values)
    near, far = [], []
    for seed in range(5):
        found = sketch(cells, np.arange(6), size=8, seed=seed)
        halves = sketch(plate(tmp_path / f"halves{seed}", values[2000:]), np.arange(6), size=8, seed=seed)
        far.append(np.linalg.norm(found[0] - found[1]))
        near.append(np.linalg.norm(halves[0] - halves[1]))
    assert min(far) > 2 * max(near)
