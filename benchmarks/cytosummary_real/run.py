"""Does supervision help real well profiles find mechanisms of compounds that it never saw?

`benchmarks/cytosummary_real/run.py HOME BBBC021.csv [--seeds 1,2,3]`: BBBC021's well profiles by commands alone, with a
supervised control of each seed. Mechanisms are asked for on any plate, and between plates of different weeks.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.dynaclr_states.run import Lab

HERE = Path(__file__).parent
EXPERIMENT = "bbbc021"
TASKS = ("mechanism", "mechanism_other_plate", "mechanism_other_batch", "replicate_other_plate")
STATED = ("mean_average_precision", "nearest_is_right", "gain_over_mean", "share_of_compounds_found")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("home", type=Path)
    arguments.add_argument("wells", type=Path)
    arguments.add_argument("--seeds", default="1,2,3")
    asked = arguments.parse_args()
    lab = Lab(asked.home)
    if not (lab.home / "ingested").exists():
        lab.say(
            "ingest-table", str(asked.wells), "--rows", "wells", "--experiment", EXPERIMENT,
            "--treatment-column", "Metadata_Compound", "--dose-column", "Metadata_Concentration", "--dose-unit", "µM",
            "--moa-column", "Metadata_moa", "--control", "DMSO",
        )  # fmt: skip
        (lab.home / "ingested").touch()
    plates = sorted(set(pd.read_csv(asked.wells, usecols=["Metadata_Plate"])["Metadata_Plate"]))
    week = {plate: plate.partition("_")[0] for plate in plates}
    results = {}
    for seed in map(int, asked.seeds.split(",")):
        choices = {
            "supervised_profiles": {"seed": seed},
            "profile_report": {"study": {"batch_of_plate": week, "umap": False}},
        }
        results[f"seed {seed}"] = stated(lab, choices)
        print(seed, json.dumps(results[f"seed {seed}"], indent=1), flush=True)
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def stated(lab: Lab, choices: dict[str, Any]) -> dict[str, Any]:
    """What the report of these choices states by representation and question, and that it comes out again."""
    given = lab.home / "choices.json"
    given.write_text(json.dumps(choices), encoding="utf-8")
    lab.say("run", "--experiment", EXPERIMENT, "--method", "cytosummary", "--choices", str(given))
    numbers = json.loads(lab.say("numbers", "--experiment", EXPERIMENT, "--json"))
    found: dict[str, Any] = {}
    for one in numbers:
        _, representation, *task = one["report"].split("/")
        if one["split"] != "all compounds" or task[0] not in TASKS:
            continue
        if one["name"] in STATED:
            of_task = found.setdefault(representation, {}).setdefault(task[0], {})
            bounds = [one["ci_low"], one["ci_high"]] if one["ci_low"] is not None else []
            of_task[one["name"]] = [round(value, 3) for value in (one["value"], *bounds)]
        if (representation, task[0], one["name"]) == ("mean_supervised", "mechanism", "gain_over_mean"):
            lab.say("verify", str(one["id"]), "--recompute")
    return found


if __name__ == "__main__":
    main()
