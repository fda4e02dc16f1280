"""Where a training that was interrupted left what the next attempt goes on from."""

import json
import shutil
from pathlib import Path

from blake3 import blake3

from cell_assets.assets.experiment_outputs import ExperimentOutput
from cell_assets.store.code_identity import environment_text


def unfinished_training(trainings: Path, output: ExperimentOutput) -> Path:
    """The folder of this very training, empty at first; what another training of the experiment left is deleted.

    Its name is a digest of code, environment, parameters and the digests of all inputs: epochs of an older patch
    table or an older release must not end up in a checkpoint whose lineage names only the newer ones.
    """
    made_from = output.expectation()
    decides = {
        "code": made_from.code_version,
        "environment": environment_text(),
        "parameters": dict(made_from.parameters),
        "inputs": sorted(made_from.input_digests),
    }
    mine = blake3(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    of_experiment = trainings / output.asset / output.experiment
    folder = of_experiment / mine
    folder.mkdir(parents=True, exist_ok=True)
    for other in of_experiment.iterdir():
        if other.name != mine:
            shutil.rmtree(other) if other.is_dir() else other.unlink()
    return folder
