"""Training on several plates takes the memory of one: cells stay on disk until a batch asks for them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cell_assets_tests.anonymous_memory import printed_mib
from cell_assets_tests.methods.cytosummary.synthetic_plates import CELLS_PER_WELL, write_plate
from cell_assets_tests.methods.dynaclr.small_patch_table import write_table

N_PLATES = 6
PLATE_MIB = 20
"""About what the patches of a plate take, and the features of another."""
N_TRACKS, N_FRAMES = 20, 20
N_PLANES = round(PLATE_MIB * 2**20 / (N_TRACKS * N_FRAMES * 2 * 40 * 40 * 2))
N_CELLS_FOR_ONE = 20
N_NOISE = round(PLATE_MIB * 2**20 / (18 * CELLS_PER_WELL * N_CELLS_FOR_ONE * 4))

DYNACLR = """
import sys
from pathlib import Path
import pandas as pd
from cell_assets.evaluation.manifest import FrozenCells
from cell_assets.methods.contract import TrainingTable
from cell_assets.methods.dynaclr.training import train
from cell_assets_tests.anonymous_memory import Peak
from cell_assets_tests.methods.dynaclr.test_training import small

plates = [Path(plate) for plate in sys.argv[1:]]
tables = [TrainingTable(plate.name, "A/1/000", plate / "table") for plate in plates]
columns = ["fov_name", "track_id", "lineage_root"]
tracks = pd.concat([
    pd.read_parquet(one.path / "cells.parquet")[columns].drop_duplicates().assign(plate=one.plate) for one in tables
])
manifest = FrozenCells(tracks.assign(split="train"))

def learn(n):
    out = plates[n - 1] / "checkpoint"
    out.mkdir()
    train(tables[:n], manifest, small(max_steps=8, batch_size=64), out)

with Peak() as peak:
    learn(1)
    of_one = peak.mib
    learn(len(tables))
print(of_one, peak.mib)
"""
CYTOSUMMARY = """
import sys
from pathlib import Path
from cell_assets.methods.contract import CellTable
from cell_assets.methods.cytosummary.parameters import TrainingParameters
from cell_assets.methods.cytosummary.table_training import train
from cell_assets_tests.anonymous_memory import Peak
from cell_assets_tests.methods.cytosummary.synthetic_plates import manifest

plates = [Path(plate) for plate in sys.argv[1:]]
tables = [CellTable(plate.name, plate) for plate in plates]
parameters = TrainingParameters.model_validate(TrainingParameters.quick().model_dump() | {
    "cell_width": 16, "hidden_width": 16, "profile_width": 16, "max_epochs": 2, "compounds_per_batch": 2,
    "sets": {"mean_cells": 50, "sd_cells": 10, "min_cells": 10}, "conditioning": "whitened by controls",
})

def learn(n):
    out = plates[n - 1] / "checkpoint"
    out.mkdir()
    train(tables[:n], manifest([one.plate for one in tables[:n]]), parameters, out)

with Peak() as peak:
    learn(1)
    of_one = peak.mib
    learn(len(tables))
print(of_one, peak.mib)
"""


def write_patches(folder: Path, seed: int) -> None:
    write_table(folder, "A/1/000", n_tracks=N_TRACKS, n_frames=N_FRAMES, seed=seed, n_planes=N_PLANES)


def write_features(folder: Path, seed: int) -> None:
    def enlarged(cells: pd.DataFrame) -> pd.DataFrame:
        many = cells.loc[cells.index.repeat(N_CELLS_FOR_ONE)].reset_index(drop=True)
        drawn = np.random.default_rng(seed).normal(size=(len(many), N_NOISE)).astype(np.float32)
        noise = pd.DataFrame(drawn, columns=[f"Cells_Noise_{i}" for i in range(N_NOISE)])
        return pd.concat([many.assign(Metadata_ObjectNumber=range(len(many))), noise], axis=1)

    write_plate(folder, folder.name, seed, enlarged, rows_at_once=4000)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "write"),
    [
        pytest.param(DYNACLR, write_patches, id="dynaclr"),
        pytest.param(CYTOSUMMARY, write_features, id="cytosummary"),
    ],
)
def test_more_plates_take_no_more_memory(
    script: str, write: Callable[[Path, int], None], tmp_path: Path
) -> None:
    plates = [tmp_path / f"P{seed}" for seed in range(N_PLATES)]
    for seed, plate in enumerate(plates):
        write(plate, seed)
    of_one, of_all = printed_mib(script, *plates)
    grown = (of_all - of_one) / ((N_PLATES - 1) * PLATE_MIB)
    # Plates that were held would make it grow by 1; the allocator keeps a batch or two of freed patches.
    assert grown < 0.4, (of_one, of_all)
