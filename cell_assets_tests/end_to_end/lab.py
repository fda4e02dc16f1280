"""A small lab for whole runs: tiny plates, choices that train in two steps, and what must hold of it afterwards."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import dagster as dg
from pydantic import BaseModel

from cell_assets.assets.display import LEDGER_RUN
from cell_assets.assets.ingest_request import IngestRequest
from cell_assets.assets.recipes import RECIPES
from cell_assets.automation.dagster_home import open_instance
from cell_assets.automation.executing import ALIVE
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import RunOutcome, RunRequest, choose, run_experiment
from cell_assets.automation.session import Session, open_session
from cell_assets.cli import main
from cell_assets.definitions import build_defs
from cell_assets.ledger.records import ArtifactState, Run
from cell_assets.settings import Settings
from cell_assets.simulation.parameters import SimulationParameters
from cell_assets.simulation.simulate import simulate
from cell_assets.store.boundaries import Boundary
from cell_assets_tests.store.drafts import leftovers

CHECKOUT = Path(__file__).parents[2]

SMALL_TRAINING = {
    "max_steps": 2,
    "max_epochs": 1,
    "patch_side_px": 32,
    "widths": [8, 16, 32, 64],
    "blocks": [1, 1, 1, 1],
    "batch_size": 8,
    "threads": 1,
}
"""A network and a training of seconds; what a real one learns is tested elsewhere."""


def small_choices(training_seed: int = 0, report_seed: int = 0) -> dict[str, object]:
    """Choices under which a tiny plate goes through the whole graph in seconds."""
    return {
        "fovs": {"patches": {"side_px": 32}},
        "report": {"n_resamples": 100, "seed": report_seed},
        "training": {"dynaclr": {"preset": "quick", "changes": {**SMALL_TRAINING, "seed": training_seed}}},
    }


def small_run(experiment: str, training_seed: int = 0, report_seed: int = 0) -> RunRequest:
    return RunRequest(experiment=experiment, choices=small_choices(training_seed, report_seed))


@dataclass(frozen=True)
class PlateFolder:
    """A simulated plate on disk with what is needed to ingest it."""

    folder: Path

    def request(self, experiment: str, plate: str) -> IngestRequest:
        return IngestRequest(
            source=str(self.folder / "plate.zarr"),
            experiment=experiment,
            plate=plate,
            plate_map=str(self.folder / "plate_map.csv"),
            tracks=str(self.folder / "tracks"),
            states=str(self.folder / "states.csv"),
        )

    def arguments(self, experiment: str, plate: str) -> list[str]:
        """What follows `cell-assets ingest`."""
        given = self.request(experiment, plate)
        options = {
            "--experiment": experiment,
            "--plate": plate,
            "--plate-map": given.plate_map,
            "--tracks": given.tracks,
            "--states": given.states,
        }
        return [given.source, *(str(part) for option in options.items() for part in option)]


def tiny_plate(
    folder: Path,
    fovs_per_well: int = 1,
    seed: int = 1,
    time_points: int = 3,
    interval_min: float = SimulationParameters().interval_min,
) -> PlateFolder:
    """Two wells of few frames, 64 by 64 pixels in one plane; a new folder is made."""
    parameters = SimulationParameters(
        seed=seed,
        fovs_per_well=fovs_per_well,
        time_points=time_points,
        interval_min=interval_min,
        shape_zyx=(1, 64, 64),
        voxel_um_zyx=(3.0, 1.0, 1.0),
        cells_per_fov=8,
        write_true_labels=False,
    )
    simulate(folder, parameters)
    return PlateFolder(folder)


def infected_plate(folder: Path) -> PlateFolder:
    """Two FOVs a well, of frames enough that cells of both states are tested; a new folder is made."""
    simulate(
        folder,
        SimulationParameters(
            seed=3,
            fovs_per_well=2,
            time_points=12,
            interval_min=30,
            start_hours_post_perturbation=4.0,
            shape_zyx=(2, 96, 96),
            voxel_um_zyx=(3.0, 0.75, 0.75),
            cells_per_fov=10,
            write_true_labels=False,
        ),
    )
    return PlateFolder(folder)


@dataclass(frozen=True)
class Said:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def error_lines(self) -> list[str]:
        """Standard error without progress bars and what is said of size beforehand."""
        lines = [line.rpartition("\r")[2] for line in self.err.splitlines()]
        return [line for line in lines if line.strip() and not re.search(r"\d(it)? \[|GPU hours", line)]


def cell_assets(settings: Settings, *arguments: str) -> Said:
    """The command in this process, as its entry point runs it."""
    variables = {
        "CELL_ASSETS_HOME": str(settings.home),
        "CELL_ASSETS_DATABASE_URL": settings.database_url or "",
        "CELL_ASSETS_STORE": settings.store or "",
        "CELL_ASSETS_WORKERS": str(settings.workers or 1),
    }
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        patch.dict(os.environ, variables),
        patch.object(sys, "argv", ["cell-assets", *arguments]),
        patch("signal.signal"),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Said(code, out.getvalue(), err.getvalue())


def bring_in(session: Session, plate: PlateFolder, chosen: RunRequest) -> None:
    """The plate P1 of an experiment, with these choices and the patch tables of all its FOVs."""
    ingest_plate(session, plate.request(chosen.experiment, "P1"))
    choose(session, chosen)
    record = session.ledger.plate("P1")
    assert record is not None
    keys = [f"P1|{position}" for position in record.draft.positions]
    with session.executor() as executor:
        chain = ["segmentation", "tracks", "patch_table"]
        assert executor.materialise(chain, partition_range=(keys[0], keys[-1])).succeeded


@contextmanager
def opened(settings: Settings) -> Iterator[Session]:
    with open_session(settings, build_defs) as session:
        yield session


@contextmanager
def instance_of(session: Session) -> Iterator[dg.DagsterInstance]:
    """Dagster as it stands; unlike `session.executor` it mends nothing on opening."""
    with open_instance(session.settings, session.addresses) as instance:
        yield instance


def run(session: Session, request: RunRequest) -> RunOutcome:
    """What `cell-assets run` does."""
    choose(session, request)
    return run_experiment(session, request)


def run_without_and_with(
    settings: Settings, plate: PlateFolder, study: str, asked: Mapping[str, object]
) -> None:
    """E1 with this plate, up to its report, and then once more with a study of pixels, which is one run."""
    with opened(settings) as session:
        ingest_plate(session, plate.request("E1", "P1"))
        outcome = run(session, RunRequest(experiment="E1", choices=small_choices()))
        assert outcome.failed == (), outcome.failed
        assert session.ledger.latest(f"dynaclr_{study}", "E1") is None
        asking = run(session, RunRequest(experiment="E1", choices={study: dict(asked)}))
        assert asking.failed == (), asking.failed
        assert len(asking.dagster_runs) == 1
        assert run(session, RunRequest(experiment="E1")).dagster_runs == ()


def damage(session: Session, position: str) -> Path:
    """Flip bits of one pixel chunk of a published FOV, as a failing disk would."""
    _, receipt = session.store.read("raw_acquisition", "P1")
    folder = session.store.path_of(session.ledger.artifact(receipt.artifact_id))
    chunk = max((folder / "plate.zarr" / position).rglob("c/**/0"), key=lambda path: path.stat().st_size)
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 0xFF
    chunk.chmod(0o644)
    chunk.write_bytes(content)
    chunk.chmod(0o444)
    return chunk


def successful_runs(session: Session, asset: str) -> dict[int, Run]:
    """Every successful ledger run of an asset, by id."""
    ids = [artifact.id for artifact in session.ledger.artifacts(asset)]
    return {run.id: run for run in session.ledger.runs_of(ids)}


def processes_of(session_id: int) -> list[int]:
    """Living processes of the operating system's session that a process with `start_new_session` leads."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # pid (name) state ppid group session ...; a name may hold spaces.
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(session) == session_id and state not in "ZX":
            found.append(int(stat.parent.name))
    return found


def assert_session_ends(session_id: int) -> None:
    """Every process that a command started goes with it, at once or within the patience of this test."""
    until = time.monotonic() + 30
    while processes_of(session_id) and time.monotonic() < until:
        time.sleep(0.1)
    assert processes_of(session_id) == []


def run_until_killed(
    home: Path, boundary: Boundary, asset: str, command: str, request: BaseModel, with_server: bool = False
) -> None:
    """`ingest` or `run` in a process that kills itself right after a boundary of one asset's write."""
    log = home / "killed.log"
    module = "cell_assets_tests.end_to_end.crash_runner"
    arguments = [str(home), boundary, asset, command, request.model_dump_json()]
    with log.open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments, *(["server"] if with_server else [])],
            cwd=CHECKOUT,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        assert process.wait(500) == -signal.SIGKILL, log.read_text()[-2000:]
    assert_session_ends(process.pid)


def assert_published_is_whole(session: Session) -> None:
    """A re-hash of every published artifact finds nothing wrong."""
    verdicts = [session.store.verify(a) for a in session.ledger.artifacts(state=ArtifactState.PRESENT)]
    assert [(v.asset, v.partition, v.why) for v in verdicts if not v.is_verified] == []


def assert_nothing_left(session: Session) -> None:
    """Store and ledger hold nothing that a crash or a refusal left behind."""
    assert session.ledger.open_intents() == ()
    assert leftovers(session.store) == []
    staging = session.store.layout.staging
    assert (sorted(staging.iterdir()) if staging.exists() else []) == []


def assert_dagster_agrees(session: Session) -> None:
    """Dagster shows what the ledger holds: every successful run by exactly one event, and nothing else."""
    with instance_of(session) as instance:
        assert [run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=list(ALIVE)))] == []
        for asset in RECIPES:
            runs = successful_runs(session, asset)
            records = instance.fetch_materializations(dg.AssetKey(asset), limit=5000).records
            shown: Counter[int] = Counter()
            for record in records:
                event = record.asset_materialization
                assert event is not None
                named = event.metadata[LEDGER_RUN].value
                assert isinstance(named, int)
                shown[named] += 1
                assert named in runs, f"an event of {asset} shows run {named}, which the ledger lacks"
                assert runs[named].partition == event.partition
                assert runs[named].event_storage_id == record.storage_id
            assert shown == Counter(list(runs)), asset
            materialised = instance.get_materialized_partitions(dg.AssetKey(asset))
            latest = {
                partition
                for partition in {run.partition for run in runs.values()}
                if session.ledger.latest(asset, partition) is not None
            }
            assert set(materialised) == latest, asset
