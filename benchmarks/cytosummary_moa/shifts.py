"""What do fewer cells, another stain and another illumination do to profiles, when half of the plates have them?

`benchmarks/cytosummary_moa/shifts.py BBBC021.csv [--seeds 1,2,3]`: networks of compounds held out, as in `run.py`,
learn from plates as they were frozen; then every other plate is simulated anew with the shift, and profiled.
"""

import argparse
import json
import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.cytosummary_moa.difficulty import (
    CONTROL,
    SEEDS,
    summaries,
    treatments_asking,
    well_profiles,
    wells_of_plates,
)
from benchmarks.cytosummary_moa.run import (
    TREATMENT,
    asked_of_fold,
    interval,
    networks_of_folds,
    plate_cells,
    rounded,
)
from cell_assets.evaluation.retrieval.profiles import read_profiles
from cell_assets.methods.cytosummary.parameters import Summary
from cell_assets.simulation.cell_populations import (
    PopulationParameters,
    Screen,
    SimulatedWell,
    simulate_populations,
)

HERE = Path(__file__).parent
SHIFTS: dict[str, dict[str, float]] = {
    "half as many cells": {"density": 0.5},
    "stain three times as different": {"plate_offset": 0.9},
    "illumination three times as different": {"plate_mixing": 0.6},
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("wells", type=Path)
    arguments.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    asked = arguments.parse_args()
    wells = read_profiles(asked.wells)
    wells.metadata["week"] = wells.metadata["Metadata_Plate"].str.partition("_")[0]
    found = {
        f"seed {seed}": study(Screen.of(wells, CONTROL, seed), seed)
        for seed in map(int, asked.seeds.split(","))
    }
    (HERE / "shifts.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def study(screen: Screen, seed: int) -> dict[str, object]:
    """Mean average precision of every kind of profile under every shift, and what it loses to none."""
    usual = PopulationParameters(seed=seed)
    plain = list(simulate_populations(screen, usual))
    cells = {"none": plain} | {
        name: half_shifted(
            screen, plain, list(simulate_populations(screen, usual.model_copy(update=changes)))
        )
        for name, changes in SHIFTS.items()
    }
    plates = {name: plate_cells(screen, simulated) for name, simulated in cells.items()}
    made = summaries(screen.wells.features.shape[1])
    queries = {
        (kind, name): treatments_asking(well_profiles(screen, simulated, made[kind]))
        for name, simulated in cells.items()
        for kind in ("mean", "mean and covariance")
    }
    for summary in (Summary.LEARNED, Summary.MEAN):
        parts: dict[str, list[pd.DataFrame]] = {name: [] for name in cells}
        for fold in networks_of_folds(screen, plates["none"], "compound", summary, seed):
            for name, of_plates in plates.items():
                parts[name].append(asked_of_fold(screen, of_plates, fold))
        queries |= {
            (f"supervised, {summary}", name): pd.concat(found).sort_values(TREATMENT).reset_index(drop=True)
            for name, found in parts.items()
        }
    result: dict[str, dict[str, object]] = {}
    for (kind, name), asked in queries.items():
        precision, before = asked["average_precision"], queries[kind, "none"]["average_precision"]
        result.setdefault(kind, {})[name] = {
            "found": rounded(interval(precision, asked, seed)),
            "change": rounded(interval(precision - before, asked, seed)),
        }
        print(seed, kind, name, result[kind][name], flush=True)
    return dict(result)


def half_shifted(
    screen: Screen, plain: list[SimulatedWell], shifted: list[SimulatedWell]
) -> list[SimulatedWell]:
    """Wells of every other plate, in the order of plates, are the shifted ones."""
    chosen = {
        int(row) for place, (_, rows) in enumerate(wells_of_plates(screen)) if place % 2 for row in rows
    }
    return [shifted[row] if row in chosen else plain[row] for row in range(len(plain))]


if __name__ == "__main__":
    main()
