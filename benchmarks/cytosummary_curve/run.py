"""How many compounds, and how many wells of each, does learning need? The paper guesses 90 compounds and 4 replicates.

`benchmarks/cytosummary_curve/run.py [--seeds 1,2,3] [--compounds 6,12,24,48,96] [--replicates 2,4]`: simulated cells
around made-up well profiles. Networks learn from more and more compounds, and all are asked for mechanisms and
replicates of the same compounds on the same plates, of which none learned from any.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.cytosummary_moa.difficulty import CONTROL
from benchmarks.cytosummary_moa.run import plate_cells
from cell_assets.evaluation.profiling.well_manifest import COMPOUND, MOA
from cell_assets.evaluation.resampling import Statistic, bootstrap_interval
from cell_assets.evaluation.retrieval.profiles import Profiles, treatment_profiles
from cell_assets.evaluation.retrieval.retrieval import AVERAGE_PRECISION, CHANCE, Question, ranked_queries
from cell_assets.imaging.feature_tables.columns import PLATE
from cell_assets.methods.cytosummary.parameters import Positives, TrainingParameters
from cell_assets.methods.cytosummary.plate_cells import PlateCells
from cell_assets.methods.cytosummary.training import train_network
from cell_assets.simulation.cell_populations import (
    PopulationParameters,
    Screen,
    simulate_populations,
)

HERE = Path(__file__).parent
SEEDS, COMPOUNDS, REPLICATES = (1, 2, 3), (6, 12, 24, 48, 96), (2, 4)
MECHANISMS, ASKED, ASKED_WELLS = 12, 24, 4
"""Of the compounds that are asked for, and wells of each: two of every mechanism, a well on every plate."""
FEATURES, CONTROL_WELLS = 60, 6
EFFECT, COMPOUND_SHARE = 5.0, 0.3
"""Of a treatment on every measured feature, in standard deviations of wells, and what compounds do not share of it."""
CELLS_PER_WELL = 200
STEPS = 400
"""Of the optimizer, whatever number of compounds an epoch has: more data, and not more training."""
Values = NDArray[np.float64]
QUESTIONS = {
    "mechanism": Question(MOA, (COMPOUND,), COMPOUND),
    "replicate, other plates": Question(COMPOUND, (PLATE,), COMPOUND),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    for name, values in (("seeds", SEEDS), ("compounds", COMPOUNDS), ("replicates", REPLICATES)):
        arguments.add_argument(f"--{name}", default=",".join(map(str, values)))
    asked = arguments.parse_args()
    seeds, compounds, replicates = (
        [int(one) for one in text.split(",")] for text in (asked.seeds, asked.compounds, asked.replicates)
    )
    results = study(seeds, compounds, replicates)
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    drawn(results, HERE / "figure.png")


def plates_of(seed: int, compounds: int, replicates: int) -> tuple[list[PlateCells], list[PlateCells]]:
    """Plates to learn from, each with a well of every compound, and plates of the compounds that are asked for."""
    random = np.random.default_rng([seed, 1])
    mechanisms = random.normal(size=(MECHANISMS, FEATURES))
    taught = [(f"c{n}", n % MECHANISMS) for n in range(compounds)]
    asked = [(f"a{n}", n % MECHANISMS) for n in range(ASKED)]
    own = {name: random.normal(size=FEATURES) for name, _ in [*taught, *asked]}
    known, values = [], []
    for plate, treatments in [
        *((f"P{n}", taught) for n in range(replicates)),
        *((f"Q{n}", asked) for n in range(ASKED_WELLS)),
    ]:
        for name, one in treatments:
            shared = np.sqrt(1 - COMPOUND_SHARE) * mechanisms[one] + np.sqrt(COMPOUND_SHARE) * own[name]
            known.append((plate, name, f"m{one}"))
            values.append(EFFECT * shared + random.normal(size=FEATURES))
        known += [(plate, CONTROL, CONTROL)] * CONTROL_WELLS
        values += list(random.normal(size=(CONTROL_WELLS, FEATURES)))
    columns = ["Metadata_Plate", "Metadata_Compound", "Metadata_moa"]
    wells = Profiles(
        pd.DataFrame(known, columns=columns), np.stack(values), tuple(f"f{n}" for n in range(FEATURES))
    )
    screen = Screen.of(wells, CONTROL, seed)
    populations = PopulationParameters(seed=seed, cells_per_well=CELLS_PER_WELL)
    cells = plate_cells(screen, list(simulate_populations(screen, populations)))
    without_controls = [plate.between(0, len(plate.wells) - CONTROL_WELLS) for plate in cells]
    return without_controls[:replicates], without_controls[replicates:]


def study(seeds: list[int], compounds: list[int], replicates: list[int]) -> dict[str, Any]:
    """Mean average precision over the asked compounds of all seeds, by what was learned from."""
    queries: dict[tuple[str, str], list[pd.DataFrame]] = {}
    seconds: dict[str, list[float]] = {}
    for seed in seeds:
        taught, held_out = plates_of(seed, max(compounds), max(replicates))
        means = np.concatenate([np.stack([well.mean(0) for well in wells_of(plate)]) for plate in held_out])
        for question, asked in asked_of(means, held_out).items():
            queries.setdefault(("mean", question), []).append(asked)
        for n_wells in replicates:
            for n in compounds:
                started = time.monotonic()
                chosen = [plate.between(0, n) for plate in taught[:n_wells]]
                names = [f"c{place}" for place in range(n)]
                network = train_network(chosen, names, parameters(n, seed)).network
                values = np.concatenate(
                    [network.profiles_of(plate.features, plate.starts) for plate in held_out]
                )
                name = f"{n} compounds x {n_wells}"
                for question, asked in asked_of(values, held_out).items():
                    queries.setdefault((name, question), []).append(asked)
                    print(seed, name, question, round(asked[AVERAGE_PRECISION].mean(), 3), flush=True)
                seconds.setdefault(name, []).append(round(time.monotonic() - started, 1))
    found = {
        question: {
            name: stated(of_seeds, queries["mean", question])
            for (name, one), of_seeds in queries.items()
            if one == question
        }
        for question in QUESTIONS
    }
    return {"simulated": True, "seeds": seeds, "found": found, "seconds by seed": seconds}


def wells_of(plate: PlateCells) -> list[NDArray[np.float32]]:
    """(n, D) of every well."""
    return np.split(plate.features, plate.starts[1:-1])


def parameters(compounds: int, seed: int) -> TrainingParameters:
    """Preset quick, for about as many steps whatever the number of compounds."""
    quick = TrainingParameters.quick()
    steps_of_epoch = max(1, round(compounds / quick.compounds_per_batch))
    changes = {
        "positives": Positives.ACROSS_PLATES,
        "max_epochs": max(1, round(STEPS / steps_of_epoch)),
        "seed": seed,
    }
    return quick.model_copy(update=changes)


def asked_of(values: NDArray[Any], plates: list[PlateCells]) -> dict[str, pd.DataFrame]:
    """Every well asks for its replicates on other plates; every compound (median of its wells) for its mechanism."""
    known = pd.concat([plate.wells for plate in plates], ignore_index=True)
    wells = Profiles(known, values.astype(np.float64), tuple(f"p{i}" for i in range(values.shape[1])))
    compounds = treatment_profiles(wells, [COMPOUND, MOA])
    return {
        question: ranked_queries(compounds if question == "mechanism" else wells, asked)
        for question, asked in QUESTIONS.items()
    }


def stated(of_seeds: list[pd.DataFrame], of_mean: list[pd.DataFrame]) -> dict[str, Any]:
    """With 95 % intervals over the compounds of all seeds, and what there is over the mean on the same."""
    own, mean = (
        pd.concat([one.assign(seed=place) for place, one in enumerate(parts)], ignore_index=True)
        for parts in (of_seeds, of_mean)
    )
    units = (own["seed"].astype(str) + own[COMPOUND].astype(str)).to_numpy(str)
    precision = own[AVERAGE_PRECISION].to_numpy(np.float64)
    return {
        "found": interval(precision, units),
        "gain over mean": interval(precision - mean[AVERAGE_PRECISION].to_numpy(np.float64), units),
        "by seed": [round(float(one[AVERAGE_PRECISION].mean()), 3) for one in of_seeds],
        "chance": round(float(own[CHANCE].mean()), 3),
    }


def interval(values: Values, units: NDArray[np.str_]) -> list[float]:
    """Mean and its 95 % interval."""
    found = bootstrap_interval(
        units, Statistic(lambda weights: weights @ values / weights.sum(1), "no compound is drawn"), seed=0
    )
    assert found.value is not None and found.low is not None and found.high is not None
    return [round(one, 3) for one in (found.value, found.low, found.high)]


def drawn(results: dict[str, Any], file: Path) -> None:
    """A panel for each question, a line for each number of wells."""
    figure = Figure(figsize=(8, 3.3), layout="constrained")
    for axes, (question, found) in zip(figure.subplots(1, 2), results["found"].items(), strict=True):
        lines: dict[str, list[tuple[int, list[float]]]] = {}
        for name, one in found.items():
            if name != "mean":
                n, _, wells = name.partition(" compounds x ")
                lines.setdefault(wells, []).append((int(n), one["found"]))
        for wells, points in lines.items():
            at = np.array([n for n, _ in points])
            value, low, high = np.array([estimate for _, estimate in points]).T
            axes.errorbar(
                at, value, [value - low, high - value], marker="o", capsize=2, label=f"{wells} wells each"
            )
        axes.axhline(found["mean"]["found"][0], color="0.5", linestyle="--", label="mean")
        axes.axhline(found["mean"]["chance"], color="0.8", linestyle=":", label="chance")
        axes.set(xscale="log", xlabel="compounds learned from", title=question, ylim=(0, 1))
        axes.set_xticks(at, [str(n) for n in at])
        axes.minorticks_off()
    axes.legend(fontsize=7)
    figure.axes[0].set_ylabel("mean average precision")
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
