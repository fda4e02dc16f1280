"""Does holding cells against their plate's own controls help on plates of a week that was not seen?

`benchmarks/cytosummary_moa/conditioning.py BBBC021.csv [--seeds 1,2,3]`: as `run.py` with folds by week, of learned
sums beside means, where plates differ as they were frozen to and where stain and optics differ three and ten times as
much.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.cytosummary_moa.difficulty import (
    CONTROL,
    SEEDS,
    summaries,
    treatments_asking,
    well_profiles,
)
from benchmarks.cytosummary_moa.run import asked_by_folds, interval, plate_cells, rounded
from cell_assets.evaluation.retrieval.profiles import read_profiles
from cell_assets.methods.cytosummary.conditioning import condition
from cell_assets.methods.cytosummary.parameters import Conditioning, Summary
from cell_assets.simulation.cell_populations import PopulationParameters, Screen, simulate_populations

HERE = Path(__file__).parent
PLATE_EFFECTS = {"as frozen": 1.0, "three times as large": 3.0, "ten times as large": 10.0}
WITHOUT_LEARNING = ("mean", "mean and covariance")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("wells", type=Path)
    arguments.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    asked = arguments.parse_args()
    wells = read_profiles(asked.wells)
    wells.metadata["week"] = wells.metadata["Metadata_Plate"].str.partition("_")[0]
    found = {
        f"seed {seed}, plate effects {name}": study(Screen.of(wells, CONTROL, seed), seed, times)
        for seed in map(int, asked.seeds.split(","))
        for name, times in PLATE_EFFECTS.items()
    }
    (HERE / "conditioning.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def study(screen: Screen, seed: int, times: float) -> dict[str, object]:
    """Mean average precision by conditioning or without learning, and gains over learning alone."""
    usual = PopulationParameters(seed=seed)
    effects = {"plate_offset": times * usual.plate_offset, "plate_mixing": times * usual.plate_mixing}
    simulated = list(simulate_populations(screen, usual.model_copy(update=effects)))
    made = summaries(screen.wells.features.shape[1])
    queries = {
        name: treatments_asking(well_profiles(screen, simulated, made[name])) for name in WITHOUT_LEARNING
    }
    for conditioning in Conditioning:
        plates = [condition(plate, conditioning, seed) for plate in plate_cells(screen, simulated)]
        queries[conditioning] = asked_by_folds(screen, plates, "week", Summary.LEARNED, seed, conditioning)
        print(times, conditioning, queries[conditioning]["average_precision"].mean(), flush=True)
    none = queries[Conditioning.NONE]["average_precision"]
    result: dict[str, object] = {}
    for conditioning, asked in queries.items():
        kinds = asked.groupby(asked["Metadata_moa"].map(screen.differences))["average_precision"].mean()
        result[str(conditioning)] = {
            "all": rounded(interval(asked["average_precision"], asked, seed)),
            "gain over none": rounded(interval(asked["average_precision"] - none, asked, seed)),
            **{str(kind): round(float(value), 3) for kind, value in kinds.items()},
        }
    return result


if __name__ == "__main__":
    main()
