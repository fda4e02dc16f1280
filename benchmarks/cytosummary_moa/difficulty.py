"""How hard are the simulated populations for profiles without learning? By mechanisms that differ in mean, and others.

`benchmarks/cytosummary_moa/difficulty.py BBBC021.csv`: the well profiles that cells are simulated around. Nothing is
learned here: the difficulty stands before any model does.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cell_assets.evaluation.retrieval.profiles import Profiles, read_profiles, treatment_profiles
from cell_assets.evaluation.retrieval.retrieval import Question, retrieve
from cell_assets.simulation.cell_populations import (
    Object,
    PopulationParameters,
    Screen,
    SimulatedWell,
    simulate_populations,
)

HERE = Path(__file__).parent
SEEDS = (1, 2, 3)
CONTROL = "DMSO"
MECHANISM = Question("Metadata_moa", apart=("Metadata_Compound",))
SKETCH = 40
"""Random directions whose covariances are taken: of 189 features there are more than a well has cells for."""
Values = NDArray[np.float64]
Summary = Callable[[Values, NDArray[np.int8]], Values]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("wells", type=Path)
    wells = read_profiles(arguments.parse_args().wells)
    found = {"measured": {"all": mechanisms_found(wells, {})}}
    for seed in SEEDS:
        screen = Screen.of(wells, CONTROL, seed)
        simulated = list(simulate_populations(screen, PopulationParameters(seed=seed)))
        for name, summary in summaries(wells.features.shape[1]).items():
            profiles = well_profiles(screen, simulated, summary)
            found.setdefault(name, {})[f"seed {seed}"] = mechanisms_found(profiles, screen.differences)
    (HERE / "difficulty.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for name, by_seed in found.items():
        print(name, by_seed)


def summaries(n_features: int) -> dict[str, Summary]:
    """What a well's standardised objects (n, D), of known kinds (n,), are summarised to."""
    sketch = np.random.default_rng(0).normal(size=(n_features, SKETCH)) / np.sqrt(n_features)

    def covariance(cells: Values, _: NDArray[np.int8]) -> Values:
        return np.concatenate([cells.mean(0), np.cov((cells @ sketch).T)[np.triu_indices(SKETCH)]])

    def clean(cells: Values, objects: NDArray[np.int8]) -> Values:
        return cells[objects < Object.BRIGHT_DEBRIS]

    return {
        "mean": lambda cells, _: cells.mean(0),
        "median": lambda cells, _: np.median(cells, axis=0),
        "mean and standard deviation": lambda cells, _: np.concatenate([cells.mean(0), cells.std(0)]),
        "mean and covariance": covariance,
        "mean, true debris left out": lambda cells, objects: clean(cells, objects).mean(0),
        "mean and covariance, true debris left out": lambda cells, objects: covariance(
            clean(cells, objects), objects
        ),
    }


def well_profiles(screen: Screen, simulated: list[SimulatedWell], summary: Summary) -> Profiles:
    """Cells standardised over their plate, summarised by well, and scaled by the plate's control wells."""
    known = screen.wells.metadata
    plates = known["Metadata_Plate"].to_numpy(str)
    is_control = (known["Metadata_moa"] == CONTROL).to_numpy()
    profiles: dict[int, Values] = {}
    for plate in np.unique(plates):
        rows = np.flatnonzero(plates == plate)
        cells = np.concatenate([simulated[row].features for row in rows]).astype(np.float64)
        mean, sd = cells.mean(0), cells.std(0)
        values = np.stack(
            [summary((simulated[row].features - mean) / sd, simulated[row].objects) for row in rows]
        )
        control = values[is_control[rows]]
        middle = np.median(control, axis=0)
        spread = 1.4826 * np.median(np.abs(control - middle), axis=0)
        # A feature that control wells agree upon to the last digit cannot scale anything.
        profiles |= dict(zip(rows.tolist(), (values - middle) / np.maximum(spread, 1e-6), strict=True))
    features = np.stack([profiles[row] for row in range(len(known))])
    return Profiles(known, features, tuple(f"summary_{i}" for i in range(features.shape[1])))


def mechanisms_found(wells: Profiles, differences: dict[str, str]) -> dict[str, float]:
    """Mean average precision over treatments, of all and of mechanisms by how they differ; and chance."""
    treated = wells.select(wells.metadata["Metadata_moa"] != CONTROL)
    treatments = treatment_profiles(treated, ["Metadata_Compound", "Metadata_Concentration"])
    found = retrieve(treatments, MECHANISM, n_resamples=100)
    precision = found.queries["average_precision"]
    kinds = precision.groupby(found.queries["Metadata_moa"].map(differences)).mean()
    values = {"all": precision.mean(), "chance": found.chance, **{str(kind): v for kind, v in kinds.items()}}
    return {name: round(float(value), 3) for name, value in values.items()}


if __name__ == "__main__":
    main()
