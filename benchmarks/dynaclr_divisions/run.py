"""Do embeddings trained without labels foresee divisions of real bacteria better than cell length does?

`benchmarks/dynaclr_divisions/run.py HOME --data CTC_FOLDER [--seeds 1,2,3] [--steps 300]`: CTC_FOLDER holds the colony
of *E. coli* in the layout of the Cell Tracking Challenge. Each seed draws the folds, the training and the resamples.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.dynaclr_states.run import NT_XENT, Lab

HERE = Path(__file__).parent
INTERVAL_MIN = 5
LENGTH_KEPT = {"augmentation": {"scale": 0.0, "shear": 0.0}}
"""Table 2 scales x and y apart by up to 30 %, which teaches a network not to see how long a cell is."""
SIDE_PX = 32
"""2 µm, about two cell widths: the middle of a cell, where it constricts, and little of its neighbours."""
VARIANTS: dict[str, dict[str, Any]] = {
    "time-and-cell-aware": {"strategy": "time-and-cell-aware"} | NT_XENT,
    "time-and-cell-aware, lengths kept": {"strategy": "time-and-cell-aware"} | NT_XENT | LENGTH_KEPT,
    "classical, lengths kept": {"strategy": "classical"} | NT_XENT | LENGTH_KEPT,
}
TASK = "dynaclr/about_to_divide"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("home", type=Path)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--seeds", default="1,2,3")
    arguments.add_argument("--steps", type=int, default=300)
    asked = arguments.parse_args()
    lab = Lab(asked.home)
    if not (lab.home / "ingested").exists():
        said = ("--format", "ctc", "--channel-names", "Phase", "--pixel-size-um", "0.065,0.065")
        lab.say(
            "ingest", str(asked.data), "--experiment", "ecoli", "--plate", "colony", *said,
            "--interval-min", str(INTERVAL_MIN),
        )  # fmt: skip
        (lab.home / "ingested").touch()
    path = HERE / "results.json"
    results = json.loads(path.read_text("utf-8")) if path.exists() else {}
    for name, changes in VARIANTS.items():
        for seed in map(int, asked.seeds.split(",")):
            if f"{name}, seed {seed}" in results:
                continue
            started = time.monotonic()
            training = changes | {
                "patch_side_px": SIDE_PX,
                "tau_min": INTERVAL_MIN,
                "max_steps": asked.steps,
                "max_epochs": 1000,
                "seed": seed,
            }
            lab.run(
                "ecoli",
                {
                    "split": {"seed": seed},
                    "training": {"dynaclr": {"preset": "quick", "changes": training}},
                    # The next frame or the one after it: "within 2 frames" of the frame that is looked at.
                    "report": {"folds": 2, "horizon_min": INTERVAL_MIN, "seed": seed},
                },
            )
            numbers = json.loads(lab.say("numbers", "--experiment", "ecoli", "--json"))
            results[f"{name}, seed {seed}"] = {
                "seconds": round(time.monotonic() - started),
                "load": round(os.getloadavg()[0], 1),
                "training": training,
                "numbers": [
                    one for one in numbers if one["report"].startswith(TASK) and "precision" in one["name"]
                ],
            }
            path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            print(name, seed, results[f"{name}, seed {seed}"]["seconds"], "s", flush=True)


if __name__ == "__main__":
    main()
