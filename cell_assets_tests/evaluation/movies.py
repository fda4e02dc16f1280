"""Small made-up tables and embeddings with known answers."""

import numpy as np
import pandas as pd

from cell_assets.evaluation.units import FloatArray


def track_table(n_tracks: int = 40, n_times: int = 8, seed: int = 0) -> pd.DataFrame:
    """Tracks in two FOVs, half of them infected, split 60/20/20 by track; lengths 1 + t + noise."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "plate": "P1",
            "fov_name": f"A/{1 + track % 2}/000",
            "track_id": track,
            "t": t,
            "parent_track_id": -1,
            "lineage_root": track,
            "length_um": 1.0 + t + rng.normal(0, 0.2),
            "infection_state": "infected" if track % 3 == 0 else "uninfected",
            "split": ("train", "train", "train", "val", "test")[track % 5],
        }
        for track in range(1, n_tracks + 1)
        for t in range(n_times)
    ]
    return pd.DataFrame(rows)


def informative_features(
    label: np.ndarray, n_features: int = 12, gap: float = 2.0, seed: int = 0
) -> FloatArray:
    """Gaussian features (N, D) whose first direction is shifted by `gap` where `label` is true."""
    features = np.random.default_rng(seed).normal(size=(len(label), n_features))
    features[:, 0] += gap * label
    return features


def dividing_pair() -> pd.DataFrame:
    """Track 1 (t 0-4) divides into 2 and 3 (t 5-9); track 4 (t 0-3) is lost; track 5 (t 0-9) stays whole."""
    spans = {1: (0, 5, -1), 2: (5, 10, 1), 3: (5, 10, 1), 4: (0, 4, -1), 5: (0, 10, -1)}
    return pd.DataFrame(
        [
            {"fov_name": "A/1/000", "track_id": track, "t": t, "parent_track_id": parent}
            for track, (start, stop, parent) in spans.items()
            for t in range(start, stop)
        ]
    )


def infection_movie(
    n_lineages: int = 60,
    n_times: int = 24,
    onset_hours: float = 8.0,
    seed: int = 0,
    interval_hours: float = 0.5,
) -> pd.DataFrame:
    """Founders without daughters in two conditions, filmed every 30 min from hour 3, split 50/25/25 by lineage.

    Every cell of the condition `virus DENV 5 MOI` turns at a time of its own about `onset_hours`, or after the film;
    no cell of `mock` does. Wells are A/1 and A/2.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for track in range(1, n_lineages + 1):
        infected = track % 2 == 0
        onset = onset_hours * np.exp(rng.normal(0, 0.25)) if infected else np.inf
        for t in range(n_times):
            hours = 3.0 + interval_hours * t
            rows.append(
                {
                    "plate": "P1",
                    "fov_name": "A/2/000" if infected else "A/1/000",
                    "track_id": track,
                    "lineage_root": track,
                    "parent_track_id": -1,
                    "t": t,
                    "hours_post_perturbation": hours,
                    "condition": "virus DENV 5 MOI" if infected else "mock",
                    "infection_state": "infected" if hours >= onset else "uninfected",
                    "split": ("train", "train", "val", "test")[(track // 2) % 4],
                }
            )
    return pd.DataFrame(rows)
