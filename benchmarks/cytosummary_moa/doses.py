"""Do learned sums also help at doses that they did not learn from? Learned at each compound's highest dose.

`benchmarks/cytosummary_moa/doses.py BBBC021.csv [--seeds 1,2,3]`: of every compound one network learns at its highest
dose, and one at all; all doses are profiled, and asked for mechanisms and replicates (Fig. 4 and the lower half of
Table 1 of CytoSummaryNet).
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.cytosummary_moa.difficulty import (
    CONTROL,
    SEEDS,
    plate_scale,
    summaries,
    well_profiles,
    wells_of_plates,
)
from benchmarks.cytosummary_moa.run import rounded
from cell_assets.evaluation.profiling.learned_doses import DoseParameters, LearnedDoses
from cell_assets.evaluation.profiling.profile_parameters import ProfileStudyParameters
from cell_assets.evaluation.profiling.profile_scores import Score
from cell_assets.evaluation.profiling.profile_study import study_profiles
from cell_assets.evaluation.profiling.profile_tasks import Task, rank, treated_only
from cell_assets.evaluation.profiling.well_manifest import (
    COMPOUND,
    COUNT,
    DIGEST,
    DOSE,
    DOSE_SPLIT,
    DOSE_UNIT,
    IS_CONTROL,
    MOA,
    DoseSplit,
    WellSplitParameters,
    is_treated,
    learned_from,
    split_wells,
)
from cell_assets.evaluation.resampling import Estimate
from cell_assets.evaluation.retrieval.profiles import Profiles, read_profiles
from cell_assets.methods.cytosummary.parameters import Positives, TrainingParameters
from cell_assets.methods.cytosummary.plate_cells import PlateCells
from cell_assets.methods.cytosummary.training import train_network
from cell_assets.simulation.cell_populations import (
    PopulationParameters,
    Screen,
    SimulatedWell,
    simulate_populations,
)

HERE = Path(__file__).parent
REFERENCE = "mean"
LEARNED = {LearnedDoses.HIGHEST: "learned sums, highest dose", LearnedDoses.ALL: "learned sums, all doses"}
TASKS = (Task.MECHANISM_WITHIN_DOSES, Task.MECHANISM, Task.REPLICATE_OTHER_PLATE)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("wells", type=Path)
    arguments.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    asked = arguments.parse_args()
    measured = read_profiles(asked.wells)
    found = {f"seed {seed}": study(measured, seed) for seed in map(int, asked.seeds.split(","))}
    (HERE / "doses.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    drawn(found, HERE / "doses.png")


def study(measured: Profiles, seed: int) -> dict[str, object]:
    """What every kind of profile finds at learned and at held-out doses, and mechanisms one by one."""
    started = time.monotonic()
    screen = Screen.of(measured, CONTROL, seed)
    simulated = list(simulate_populations(screen, PopulationParameters(seed=seed)))
    wells = manifest(screen, simulated, LearnedDoses.HIGHEST)
    made = summaries(measured.features.shape[1])
    values = {
        name: well_profiles(screen, simulated, made[name]).features
        for name in (REFERENCE, "mean and covariance")
    }
    for learned, name in LEARNED.items():
        values[name] = learned_profiles(screen, simulated, manifest(screen, simulated, learned), seed)
    profiles = {
        name: Profiles(wells, one.astype(np.float64), tuple(f"profile_{i}" for i in range(one.shape[1])))
        for name, one in values.items()
    }
    parameters = ProfileStudyParameters(seed=seed, umap=False, simulated=True)
    found = study_profiles(profiles, parameters)
    result: dict[str, object] = {"seconds": round(time.monotonic() - started, 1)}
    for task in TASKS:
        result[task.value] = {
            name: {
                score.stratum.name: stated(score)
                for score in found.scores
                if (score.task, score.representation, score.stratum.compounds) == (task, name, None)
                and score.stratum.doses is not None
            }
            for name in profiles
        }
        print(seed, task, result[task.value], flush=True)
    result["mechanisms, doses apart"] = by_mechanism(screen, profiles)
    return result


def manifest(screen: Screen, simulated: list[SimulatedWell], learned: LearnedDoses) -> pd.DataFrame:
    """The screen's wells as a well manifest has them; no compound or plate is held out."""
    known = screen.wells.metadata
    is_control = (known["Metadata_moa"] == CONTROL).to_numpy()
    wells = known[["Metadata_Plate", "Metadata_Well"]].copy()
    wells[COMPOUND] = known["Metadata_Compound"].astype("string")
    wells[DOSE] = known["Metadata_Concentration"].where(~is_control)
    wells[DOSE_UNIT] = pd.Series("µM", index=known.index, dtype="string").mask(is_control)
    wells[MOA] = known["Metadata_moa"].astype("string").mask(is_control)
    wells[IS_CONTROL] = is_control
    wells[COUNT] = [len(one.objects) for one in simulated]
    wells[DIGEST] = pd.Series(pd.NA, index=known.index, dtype="string")
    doses = DoseParameters(learned=learned)
    return split_wells(wells, WellSplitParameters(val_fraction=0, test_fraction=0, doses=doses))


def learned_profiles(
    screen: Screen, simulated: list[SimulatedWell], wells: pd.DataFrame, seed: int
) -> np.ndarray:
    """(W, P) of all wells, by a network that learned from those that the manifest names."""
    teaches = learned_from(wells)
    everything, teaching = [], []
    for plate, rows in wells_of_plates(screen):
        mean, sd = plate_scale(simulated, rows)
        cells = [((simulated[row].features - mean) / sd).astype(np.float32) for row in rows]
        everything.append(together(plate, cells, wells.iloc[rows]))
        own = teaches[rows]
        if own.any():
            chosen = [one for one, taught in zip(cells, own, strict=True) if taught]
            teaching.append(together(plate, chosen, wells.iloc[rows[own]]))
    parameters = TrainingParameters.quick().model_copy(
        update={"positives": Positives.ACROSS_PLATES, "max_epochs": 60, "seed": seed}
    )
    compounds = sorted(set(wells.loc[teaches, COMPOUND].astype(str)))
    network = train_network(teaching, compounds, parameters).network
    found = np.concatenate([network.profiles_of(one.features, one.starts) for one in everything])
    order = np.concatenate([rows for _, rows in wells_of_plates(screen)])
    by_well = np.empty_like(found)
    by_well[order] = found
    return by_well


def together(plate: str, cells: list[np.ndarray], wells: pd.DataFrame) -> PlateCells:
    """Wells one after the other."""
    starts = np.cumsum([0, *map(len, cells)])
    return PlateCells(plate, np.concatenate(cells), starts, wells.reset_index(drop=True))


def stated(score: Score) -> dict[str, object]:
    """Mean average precision, and what it has over means, with 95 % intervals over compounds."""
    result: dict[str, object] = {"found": values_of(score.mean_average_precision), "asking": score.n_queries}
    result["chance"] = score.chance.value and round(score.chance.value, 3)
    if score.gain is not None:
        result["gain over mean"] = values_of(score.gain.absolute)
        result["relative gain"] = values_of(score.gain.relative)
    return result


def values_of(estimate: Estimate) -> list[float] | str:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return estimate.why_missing or str(estimate.why_no_interval)
    return rounded([estimate.value, estimate.low, estimate.high])


def by_mechanism(screen: Screen, profiles: dict[str, Profiles]) -> dict[str, dict[str, object]]:
    """Mean average precision of every mechanism at either side's doses (Fig. 4)."""
    rows = is_treated(next(iter(profiles.values())).metadata)
    ranked = rank(Task.MECHANISM_WITHIN_DOSES, [treated_only(one, rows) for one in profiles.values()])
    table = pd.DataFrame(ranked.average_precision, columns=list(profiles))
    keys = [ranked.known[MOA].astype(str), ranked.known[DOSE_SPLIT].astype(str)]
    means = table.groupby(keys).mean().reset_index()
    found: dict[str, dict[str, object]] = {}
    for row in means.to_dict("records"):
        mechanism = str(row[MOA])
        own = found.setdefault(mechanism, {"difference": str(screen.differences[mechanism])})
        own[str(row[DOSE_SPLIT])] = {name: round(float(row[name]), 3) for name in profiles}
    return found


def drawn(found: Mapping[str, Mapping[str, Any]], file: Path) -> None:
    """Each mechanism of each seed: learned sums against means, at learned and at held-out doses."""
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    name = LEARNED[LearnedDoses.HIGHEST]
    for axes, side in zip(panels, DoseSplit, strict=True):
        axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
        for kind in ("mean", "covariance", "subpopulation", "debris"):
            points = [
                (one[side.value][REFERENCE], one[side.value][name])
                for of_seed in found.values()
                for one in of_seed["mechanisms, doses apart"].values()
                if one["difference"] == kind and side.value in one
            ]
            axes.scatter(*np.array(points).reshape(-1, 2).T, s=22, alpha=0.8, label=kind)
        axes.set(
            title=f"{side.value} doses", xlabel="mean: mAP of a mechanism", xlim=(0, 1.03), ylim=(0, 1.03)
        )
    panels[0].set_ylabel("learned sums: mAP")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        title="mechanism differs by",
        loc="outside right center",
        fontsize=8,
    )
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
