"""Where a training that was interrupted left what the next attempt goes on from."""

import json
import shutil
from pathlib import Path

from blake3 import blake3

from cell_assets.assets.experiment_outputs import ExperimentOutput
from cell_assets.store.code_identity import environment_text
from cell_assets.store.store import Store


def trainings_of(store: Store) -> Path:
    """Where a lab keeps all trainings that have not ended."""
    return store.root.parent / "training"


def unfinished_training(trainings: Path, output: ExperimentOutput) -> Path:
    """The folder of this very training, empty at first; what another training of the experiment left is deleted."""
    folder = training_folder(trainings, output)
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other) if other.is_dir() else other.unlink()
    return folder


def training_folder(trainings: Path, output: ExperimentOutput) -> Path:
    """Where this very training keeps what is unfinished, or will.

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
    return trainings / output.asset / output.experiment / mine
