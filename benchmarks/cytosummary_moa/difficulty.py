"""How hard are the simulated populations for profiles without learning? By mechanisms that differ in mean, and others.

`benchmarks/cytosummary_moa/difficulty.py BBBC021.csv`: the well profiles that cells are simulated around. Nothing is
learned here: the difficulty stands before any model does.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cell_assets.evaluation.retrieval.profiles import Profiles, read_profiles, treatment_profiles
from cell_assets.evaluation.retrieval.retrieval import Question, ranked_queries
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
    is_control = (known["Metadata_moa"] == CONTROL).to_numpy()
    profiles: dict[int, Values] = {}
    for _, rows in wells_of_plates(screen):
        mean, sd = plate_scale(simulated, rows)
        values = np.stack(
            [summary((simulated[row].features - mean) / sd, simulated[row].objects) for row in rows]
        )
        control = values[is_control[rows]]
        middle = np.median(control, axis=0)
        spread = 1.4826 * np.median(np.abs(control - middle), axis=0)
        # A feature that control wells agree upon to the last digit cannot scale anything.
        profiles |= dict(zip(rows.tolist(), (values - middle) / np.maximum(spread, 1e-6), strict=True))
    return named_profiles(screen, np.stack([profiles[row] for row in range(len(known))]))


def wells_of_plates(screen: Screen) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Every plate and the rows of its wells."""
    plates = screen.wells.metadata["Metadata_Plate"].to_numpy(str)
    for plate in np.unique(plates):
        yield str(plate), np.flatnonzero(plates == plate)


def plate_scale(simulated: list[SimulatedWell], rows: NDArray[np.int64]) -> tuple[Values, Values]:
    """Mean and standard deviation (D,) over all cells of a plate."""
    cells = np.concatenate([simulated[row].features for row in rows]).astype(np.float64)
    return cells.mean(0), cells.std(0)


def named_profiles(screen: Screen, features: Values) -> Profiles:
    """(W, P) of all wells."""
    return Profiles(screen.wells.metadata, features, tuple(f"profile_{i}" for i in range(features.shape[1])))


def treatments_asking(wells: Profiles) -> pd.DataFrame:
    """Every treatment with the average precision of its mechanism's other compounds."""
    treated = wells.select(wells.metadata["Metadata_moa"] != CONTROL)
    treatments = treatment_profiles(treated, ["Metadata_Compound", "Metadata_Concentration"])
    return ranked_queries(treatments, MECHANISM)


def mechanisms_found(wells: Profiles, differences: Mapping[str, str]) -> dict[str, float]:
    """Mean average precision over treatments, of all and of mechanisms by how they differ; and chance."""
    asked = treatments_asking(wells)
    precision = asked["average_precision"]
    kinds = precision.groupby(asked["Metadata_moa"].map(dict(differences))).mean()
    values = {
        "all": precision.mean(),
        "chance": asked["chance"].mean(),
        **{str(kind): v for kind, v in kinds.items()},
    }
    return {name: round(float(value), 3) for name, value in values.items()}


if __name__ == "__main__":
    main()
