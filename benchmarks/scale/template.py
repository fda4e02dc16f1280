"""One plate of 864 tiny positions, made by the product itself from simulated pixels to patch tables."""

import time
from dataclasses import dataclass
from pathlib import Path

from cell_assets.assets.ingest_request import IngestRequest
from cell_assets.assets.partitions import fov_key
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import RunRequest, choose
from cell_assets.automation.session import Session
from cell_assets.automation.stages import FOV_ASSETS
from cell_assets.imaging.fov_chain import Stage
from cell_assets.simulation.parameters import ConditionParameters, SimulationParameters
from cell_assets.simulation.simulate import simulate

WELLS_OF_A_CONDITION, CONDITIONS, FOVS_OF_A_WELL = 8, 12, 9
POSITIONS = WELLS_OF_A_CONDITION * CONDITIONS * FOVS_OF_A_WELL
"""A 96-well plate."""

PLATE = SimulationParameters(
    conditions=tuple(
        ConditionParameters(virus=f"virus {n}" if n else "mock", moi=float(n), is_control=not n)
        for n in range(CONDITIONS)
    ),
    wells_per_condition=WELLS_OF_A_CONDITION,
    fovs_per_well=FOVS_OF_A_WELL,
    time_points=3,
    shape_zyx=(1, 64, 64),
    cells_per_fov=4,
    write_true_labels=False,
)
CHOICES = {
    "fovs": {"patches": {"side_px": 32}},
    "training": {"dynaclr": {"changes": {"patch_side_px": 32}}},
}


@dataclass(frozen=True)
class Seconds:
    """Wall times of one plate."""

    ingest: float
    fov_chain: float


def simulate_plate(folder: Path) -> None:
    """Write the plate's pixels, plate map and tracks."""
    simulate(folder, PLATE)


def request_of(source: Path, experiment: str, plate: str) -> IngestRequest:
    """How the simulated plate is brought in under a name."""
    return IngestRequest(
        source=str(source / "plate.zarr"),
        experiment=experiment,
        plate=plate,
        plate_map=str(source / "plate_map.csv"),
        tracks=str(source / "tracks"),
    )


def make_plate(session: Session, source: Path, experiment: str, plate: str) -> Seconds:
    """Ingest the simulated plate and make every FOV, as `cell-assets ingest` and `cell-assets run` do."""
    started = time.perf_counter()
    ingest_plate(session, request_of(source, experiment, plate))
    ingested = time.perf_counter()
    choose(session, RunRequest(experiment=experiment, choices=CHOICES))
    record = session.ledger.plate(plate)
    assert record is not None
    keys = [fov_key(plate, position) for position in record.draft.positions]
    assert len(keys) == POSITIONS
    with session.executor() as executor:
        outcome = executor.materialise(FOV_ASSETS, partition_range=(keys[0], keys[-1]))
    assert outcome.succeeded, outcome.error
    assert len(session.ledger.latest_many(Stage.PATCH_TABLE.value, keys)) == POSITIONS
    return Seconds(ingested - started, time.perf_counter() - ingested)
