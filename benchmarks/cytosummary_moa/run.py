"""Do learned sums find mechanisms that neither means nor supervised moments find? On compounds, and plates, not seen.

`benchmarks/cytosummary_moa/run.py BBBC021.csv [--seeds 1,2,3]`: every treatment asks for its mechanism with the network
that did not learn from its compound (folds by compound), nor from any plate of its week (folds by week).
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.cytosummary_moa.difficulty import (
    CONTROL,
    SEEDS,
    named_profiles,
    plate_scale,
    summaries,
    treatments_asking,
    well_profiles,
    wells_of_plates,
)
from cell_assets.evaluation.profiling.well_manifest import COMPOUND, IS_CONTROL, MOA
from cell_assets.evaluation.resampling import Statistic, bootstrap_interval
from cell_assets.evaluation.retrieval.profiles import read_profiles
from cell_assets.imaging.feature_tables.columns import PLATE
from cell_assets.methods.cytosummary.building import SetNetwork, on_plate
from cell_assets.methods.cytosummary.parameters import Conditioning, Positives, Summary, TrainingParameters
from cell_assets.methods.cytosummary.plate_cells import PlateCells
from cell_assets.methods.cytosummary.training import train_network
from cell_assets.simulation.cell_populations import (
    PopulationParameters,
    Screen,
    SimulatedWell,
    simulate_populations,
)

HERE = Path(__file__).parent
N_FOLDS = 3
WITHOUT_LEARNING = ("mean", "median", "mean and standard deviation", "mean and covariance")
TREATMENT = ["Metadata_Compound", "Metadata_Concentration"]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("wells", type=Path)
    arguments.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    asked = arguments.parse_args()
    wells = read_profiles(asked.wells)
    wells.metadata["week"] = wells.metadata["Metadata_Plate"].str.partition("_")[0]
    results = {}
    for seed in map(int, asked.seeds.split(",")):
        screen = Screen.of(wells, CONTROL, seed)
        simulated = list(simulate_populations(screen, PopulationParameters(seed=seed)))
        for folds in ("compound", "week"):
            results[f"seed {seed}, folds by {folds}"] = study(screen, simulated, folds, seed)
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def study(screen: Screen, simulated: list[SimulatedWell], folds: str, seed: int) -> dict[str, object]:
    """Mean average precision of every kind of profile, and what CytoSummaryNet gains over each."""
    plates = plate_cells(screen, simulated)
    made = summaries(screen.wells.features.shape[1])
    found = {
        name: treatments_asking(well_profiles(screen, simulated, made[name])) for name in WITHOUT_LEARNING
    }
    seconds = {}
    for summary in Summary:
        started = time.monotonic()
        found[f"supervised, {summary}"] = asked_by_folds(screen, plates, folds, summary, seed)
        seconds[summary.value] = round(time.monotonic() - started, 1)
    learned = found[f"supervised, {Summary.LEARNED}"]
    result: dict[str, object] = {"seconds": seconds}
    for name, queries in found.items():
        kinds = queries.groupby(queries["Metadata_moa"].map(screen.differences))["average_precision"].mean()
        result[name] = {
            "all": rounded(interval(queries["average_precision"], queries, seed)),
            "gain of learned sums": rounded(
                interval(learned["average_precision"] - queries["average_precision"], queries, seed)
            ),
            **{str(kind): round(float(value), 3) for kind, value in kinds.items()},
        }
        print(folds, seed, name, result[name], flush=True)
    return result


def plate_cells(screen: Screen, simulated: list[SimulatedWell]) -> list[PlateCells]:
    """Cells standardised over all of their plate's."""
    known, plates = screen.wells.metadata, []
    for plate, rows in wells_of_plates(screen):
        mean, sd = plate_scale(simulated, rows)
        cells = np.concatenate([(simulated[row].features - mean) / sd for row in rows]).astype(np.float32)
        starts = np.cumsum([0, *(len(simulated[row].objects) for row in rows)])
        wells = pd.DataFrame(
            {
                PLATE: plate,
                COMPOUND: known["Metadata_Compound"].to_numpy(str)[rows],
                MOA: known["Metadata_moa"].to_numpy(str)[rows],
                IS_CONTROL: (known["Metadata_moa"] == CONTROL).to_numpy()[rows],
            }
        )
        plates.append(PlateCells(plate, cells, starts, wells))
    return plates


def asked_by_folds(
    screen: Screen,
    plates: list[PlateCells],
    folds: str,
    summary: Summary,
    seed: int,
    conditioning: Conditioning = Conditioning.NONE,
) -> pd.DataFrame:
    """Every treatment once, by the network of the fold that held it out."""
    parts = [
        asked_of_fold(screen, plates, fold)
        for fold in networks_of_folds(screen, plates, folds, summary, seed, conditioning)
    ]
    return pd.concat(parts).sort_values(TREATMENT).reset_index(drop=True)


@dataclass(frozen=True)
class FoldNetwork:
    """A network, and what it did not learn from."""

    network: SetNetwork
    unit: str
    """Column of what is held out."""
    held_out: frozenset[str]


def networks_of_folds(
    screen: Screen,
    plates: list[PlateCells],
    folds: str,
    summary: Summary,
    seed: int,
    conditioning: Conditioning = Conditioning.NONE,
) -> Iterator[FoldNetwork]:
    """One after the other, of compounds or of weeks."""
    known = screen.wells.metadata
    treated = known[known["Metadata_moa"] != CONTROL]
    unit = "Metadata_Compound" if folds == "compound" else "week"
    units = np.random.default_rng([seed, 9]).permutation(np.unique(treated[unit].to_numpy(str)))
    parameters = TrainingParameters.quick().model_copy(
        update={
            "summary": summary,
            "conditioning": conditioning,
            "positives": Positives.ACROSS_PLATES,
            "max_epochs": 60,
            "seed": seed,
        }
    )
    for first in range(N_FOLDS):
        held_out = frozenset(map(str, units[first::N_FOLDS]))
        compounds = sorted(set(treated.loc[~treated[unit].isin(held_out), "Metadata_Compound"]))
        seen = [
            plate
            for plate, (_, rows) in zip(plates, wells_of_plates(screen), strict=True)
            if unit != "week" or known["week"].iloc[rows[0]] not in held_out
        ]
        yield FoldNetwork(train_network(seen, compounds, parameters).network, unit, held_out)


def asked_of_fold(screen: Screen, plates: list[PlateCells], fold: FoldNetwork) -> pd.DataFrame:
    """The treatments that the network did not learn from."""
    profiles = np.concatenate(
        [on_plate(fold.network, plate).profiles_of(plate.features, plate.starts) for plate in plates]
    )
    order = np.concatenate([rows for _, rows in wells_of_plates(screen)])
    by_well = np.empty_like(profiles)
    by_well[order] = profiles
    asked = treatments_asking(named_profiles(screen, by_well))
    return asked[asked[fold.unit].isin(fold.held_out)]


def interval(values: pd.Series, queries: pd.DataFrame, seed: int) -> list[float]:
    """Mean with its 95 % interval over compounds."""
    own = values.to_numpy(np.float64)
    found = bootstrap_interval(
        queries["Metadata_Compound"].to_numpy(str),
        Statistic(lambda weights: weights @ own / weights.sum(1), "no treatment is drawn"),
        seed=seed,
    )
    assert found.value is not None and found.low is not None and found.high is not None
    return [found.value, found.low, found.high]


def rounded(values: list[float]) -> list[float]:
    return [round(value, 3) for value in values]


if __name__ == "__main__":
    main()
