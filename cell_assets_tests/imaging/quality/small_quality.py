"""A plate's quality written by hand: two wells, three frames each of GFP and DNA, two controls."""

from typing import Any

import numpy as np
import pandas as pd

from cell_assets.imaging.quality.pixel_statistics import EmptyFrame
from cell_assets.imaging.quality.plate_quality import PlateQuality, ScreeningTables


def small_quality(
    focus: dict[tuple[str, int], float] | None = None,
    empty: tuple[tuple[str, str, int], ...] = (),
    z_prime: float | None = 0.4,
    n_cells: dict[str, float] | None = None,
    fovs: tuple[str, ...] = ("A/1/000", "A/2/000"),
    n_frames: int = 3,
) -> PlateQuality:
    """Focus is -2 unless `focus` gives another of GFP by FOV and t; `empty` is (FOV, channel, t)."""
    rows = []
    for channel in ("GFP", "DNA"):
        for fov in fovs:
            for t in range(n_frames):
                is_empty = (fov, channel, t) in empty
                value = (focus or {}).get((fov, t), -2.0) if channel == "GFP" else -2.0
                rows.append(
                    {
                        "channel": channel,
                        "fov_name": fov,
                        "t": t,
                        "focus_slope": np.nan if is_empty else value,
                        "saturated_share": 0.0,
                        "drift_um": np.nan if t == 0 or is_empty else 1.0,
                    }
                )
    wells = sorted({fov.rpartition("/")[0] for fov in fovs})
    counts = pd.DataFrame(
        {"channel": None, "well": wells, "n_cells": [(n_cells or {}).get(w, np.nan) for w in wells]}
    )
    separation: dict[str, Any] = {
        "channel": ["GFP", "DNA"],
        "measure": "over_background",
        "control": "drug",
        "other_control": "vehicle",
        "z_prime": [z_prime, 0.9],
        "ssmd": [-2.5, 4.0],
        "why_missing": "no control wells" if z_prime is None else None,
    }
    bleaching = pd.DataFrame(
        {
            "channel": "GFP",
            "fov_name": list(fovs),
            "rate_per_min": [0.02, *[0.001] * (len(fovs) - 1)],
            "why_missing": None,
        }
    )
    return PlateQuality(
        table=pd.DataFrame(),
        empty_frames=tuple(EmptyFrame(fov, channel, t, 0.0) for fov, channel, t in empty),
        screening=ScreeningTables(
            frames=pd.DataFrame(rows),
            wells=counts,
            channels=pd.DataFrame({"channel": ["GFP", "DNA"]}),
            bleaching=bleaching,
            edge_effects=pd.DataFrame(),
            control_separation=pd.DataFrame(separation),
            cell_counts=pd.DataFrame(),
        ),
    )
