"""Tracks of cells that move and look in known ways, for errors to be put in."""

import numpy as np
import pandas as pd

from cell_assets.evaluation.motion.track_disruptions import TrackedCells
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.studies.evaluate import (
    EmbeddingEvaluation,
    EvaluationSettings,
    evaluate_embedding,
)
from cell_assets.evaluation.units import FloatArray, unit_ids

INTERVAL_MIN = 5.0


def moving_cells(
    n_fovs: int = 20,
    cells_per_fov: int = 4,
    n_times: int = 12,
    spacing_um: float = 10.0,
    step_um: float = 0.5,
    seed: int = 0,
) -> tuple[pd.DataFrame, FloatArray]:
    """A cell table split by FOV, and centroids (N, 2) in µm of cells that walk at random about a row of places."""
    rng = np.random.default_rng(seed)
    rows, places = [], []
    for fov in range(n_fovs):
        for cell in range(cells_per_fov):
            walk = np.cumsum(rng.normal(0, step_um, size=(n_times, 2)), axis=0)
            for t in range(n_times):
                rows.append(
                    {
                        "plate": "P1",
                        "fov_name": f"A/1/{fov:03d}",
                        "track_id": cell + 1,
                        "parent_track_id": -1,
                        "lineage_root": cell + 1,
                        "t": t,
                        "split": ("train", "val", "test", "test")[fov % 4],
                    }
                )
                places.append(walk[t] + [0.0, spacing_um * cell])
    return pd.DataFrame(rows), np.array(places)


def looks(cells: pd.DataFrame, identity: float, noise: float = 0.3, seed: int = 0) -> FloatArray:
    """Features (N, 16) that tell cells apart by `identity`, with noise of every frame; 0 makes all cells alike."""
    rng = np.random.default_rng(seed)
    _, code = np.unique(unit_ids(cells, SplitUnit.TRACK), return_inverse=True)
    own = rng.normal(size=(code.max() + 1, 16))
    common = np.ones(16)
    return common + identity * own[code] + noise * rng.normal(size=(len(cells), 16))


def tracked(cells: pd.DataFrame, position_um: FloatArray) -> TrackedCells:
    return TrackedCells(
        track=unit_ids(cells, SplitUnit.TRACK),
        t=cells["t"].to_numpy(dtype=np.int64),
        fov=unit_ids(cells, SplitUnit.FOV),
        is_test=(cells["split"] == "test").to_numpy(),
        position_um=position_um,
    )


def plain_evaluation(
    cells: pd.DataFrame, features: FloatArray, interval_min: float | None = INTERVAL_MIN, seed: int = 0
) -> EmbeddingEvaluation:
    settings = EvaluationSettings(
        "dynaclr", SplitUnit.FOV, interval_min, True, seed=seed, n_resamples=100, max_lag=2
    )
    return evaluate_embedding(features, cells, [], settings)
