"""How hard are the plates of this benchmark for a threshold on the nuclear/cytoplasmic ratio of the sensor?

Needs no model and no lab: `benchmarks/dynaclr_states/difficulty.py` draws the plates and measures true nuclei.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, mean
from sklearn.metrics import balanced_accuracy_score

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.dynaclr_states.plates import SEEDS, independent_plate, training_plate
from cell_assets.simulation.field_movie import FieldMovie
from cell_assets.simulation.layout import fields
from cell_assets.simulation.parameters import SimulationParameters

RING_PX = (2, 8)
"""Distance from the nucleus, in pixels of half a micrometre."""
BACKGROUND_PERCENTILE = 5.0


def main() -> None:
    found = []
    for seed in SEEDS:
        own, other = measured(training_plate(seed)), measured(independent_plate(seed))
        held_out = own["fov"].str[-1].astype(int) >= 3  # two of the five FOVs of every well
        threshold = best_threshold(own[~held_out])
        clean = own[held_out & ~own["infected"]]
        false = clean["ratio"] > threshold
        found.append(
            {
                "seed": seed,
                "balanced_accuracy_held_out_fovs": score(own[held_out], threshold),
                "balanced_accuracy_independent_plate": score(other, threshold),
                "false_infected_in_mitosis": round(float(false[clean["mitosis"]].mean()), 3),
                "false_infected_in_interphase": round(float(false[~clean["mitosis"]].mean()), 3),
                "cells": len(own),
                "share_infected": round(float(own["infected"].mean()), 3),
            }
        )
        print(json.dumps(found[-1]), flush=True)
    Path(__file__).with_name("difficulty.json").write_text(
        json.dumps(found, indent=1) + "\n", encoding="utf-8"
    )


def measured(parameters: SimulationParameters) -> pd.DataFrame:
    """One row per cell and time point: `fov, ratio, infected, mitosis`; cells without a ring are left out."""
    return pd.concat(_fovs(parameters), ignore_index=True)


def _fovs(parameters: SimulationParameters) -> Iterator[pd.DataFrame]:
    for place in fields(parameters):
        movie = FieldMovie(parameters, place)
        states = movie.truth.states.set_index(["track_id", "t"])
        for frame in movie.frames():
            ratios = frame_ratios(frame.pixels[1].mean(axis=0), frame.labels.max(axis=0))
            rows = states.loc[[(track, frame.t) for track in ratios.index]]
            yield pd.DataFrame(
                {
                    "fov": place.name,
                    "ratio": ratios.to_numpy(),
                    "infected": (rows["infection_state"] == "infected").to_numpy(),
                    "mitosis": (rows["division_state"] == "mitosis").to_numpy(),
                }
            )


def frame_ratios(sensor: NDArray[np.float64], nuclei: NDArray[np.uint16]) -> pd.Series:
    """Nuclear over ring mean of a plane (Y, X), each less the background, by track."""
    distance, nearest = distance_transform_edt(nuclei == 0, return_indices=True)
    ring = np.where((distance > RING_PX[0]) & (distance <= RING_PX[1]), nuclei[tuple(nearest)], 0)
    tracks = np.intersect1d(nuclei[nuclei > 0], ring[ring > 0])
    light = sensor - np.percentile(sensor, BACKGROUND_PERCENTILE)
    inside, around = mean(light, nuclei, tracks), mean(light, ring, tracks)
    return pd.Series(np.asarray(inside) / np.maximum(around, 1e-3), index=tracks)


def best_threshold(cells: pd.DataFrame) -> float:
    """The threshold that is best on these very cells."""
    candidates = np.quantile(cells["ratio"], np.linspace(0.01, 0.99, 99))
    return float(candidates[np.argmax([score(cells, threshold) for threshold in candidates])])


def score(cells: pd.DataFrame, threshold: float) -> float:
    """Balanced accuracy of calling what lies above the threshold infected."""
    return round(float(balanced_accuracy_score(cells["infected"], cells["ratio"] > threshold)), 4)


if __name__ == "__main__":
    main()
