"""What a look at 10,000 landed plates costs: `.venv/bin/python benchmarks/ingest/sensor_tick.py`

The sensor's own evaluation with one new plate among 10,000 that are in, over real folders and a ledger and a Dagster
instance on PostgreSQL, against a rescan of everything. Needs no input; takes 3 minutes and 250 MB of temporary disk.
"""

import hashlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import dagster as dg
import yaml

from cell_assets.automation.arrivals import SensorCursor, arrivals_sensor
from cell_assets.automation.dagster_home import open_instance
from cell_assets.automation.session import Session, open_session
from cell_assets.definitions import build_defs
from cell_assets.landing.scan import ScanCursor, scan
from cell_assets.ledger.records import ArrivalDraft, ArrivalState
from cell_assets.settings import Settings

HERE = Path(__file__).parent
N_PLATES = 10_000
N_FILES = 4
"""Beside `plate.yaml`, one folder down."""
TURNS = 7


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="sensor-tick-") as name:
        home = Path(name)
        home.chmod(0o755)
        landing = home / "landing"
        landing.mkdir()
        for n in range(N_PLATES):
            land(landing, n)
        settings = Settings(home=home, database_url=None, landing=(str(landing),), still_s=0)
        with (
            open_session(settings, build_defs) as session,
            open_instance(settings, session.addresses) as instance,
        ):
            result = measure(settings, session, instance, landing)
    (HERE / "sensor_tick.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def land(landing: Path, n: int) -> None:
    folder = landing / f"plate_{n:05}"
    (folder / "images").mkdir(parents=True)
    (folder / "plate.yaml").write_text(yaml.safe_dump({"experiment": f"E{n // 100}", "plate": f"P{n}"}))
    for file in range(N_FILES):
        (folder / "images" / f"{file}.tif").write_bytes(b"pixels")


def measure(
    settings: Settings, session: Session, instance: dg.DagsterInstance, landing: Path
) -> dict[str, object]:
    cursor = SensorCursor(settled_through=record_all(settings, session)).model_dump_json()
    seconds: dict[str, list[float]] = {"seen": [], "accepted": [], "nothing new": [], "rescan": []}
    sensor = arrivals_sensor(settings)

    def tick(what: str, n_expected: int) -> None:
        nonlocal cursor
        started = time.perf_counter()
        said = sensor(dg.build_sensor_context(instance=instance, cursor=cursor), store=session.store)
        seconds[what].append(time.perf_counter() - started)
        assert isinstance(said, dg.SensorResult)
        assert len(said.run_requests or ()) == n_expected, (what, said)
        assert said.cursor is not None
        # No run is launched here, so what was accepted is taken as brought in.
        newest = max(one.id for one in session.ledger.arrivals())
        cursor = (
            SensorCursor.read(said.cursor).model_copy(update={"settled_through": newest}).model_dump_json()
        )

    for turn in range(TURNS):
        land(landing, N_PLATES + turn)
        tick("seen", 0)
        tick("accepted", 1)
        tick("nothing new", 0)
        started = time.perf_counter()
        assert rescan(landing) == N_PLATES + turn + 1
        seconds["rescan"].append(time.perf_counter() - started)
    medians = {what: round(statistics.median(taken), 3) for what, taken in seconds.items()}
    ratios = [both[0] / both[1] for both in zip(seconds["rescan"], seconds["accepted"], strict=True)]
    return {
        "plates": N_PLATES,
        "files_per_plate": N_FILES + 1,
        "median_s": medians,
        "worst_s": {what: round(max(taken), 3) for what, taken in seconds.items()},
        "rescan_over_tick_with_a_new_plate": [round(one, 2) for one in sorted(ratios)],
        "goal_s": 5,
        "cores": len(os.sched_getaffinity(0)),
        "load_1min": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
    }


def record_all(settings: Settings, session: Session) -> int:
    """Let the ledger know every plate as accepted; returns the newest arrival's id."""
    cursor = ScanCursor()
    for now in (0, 1):
        found = scan(settings.landing, {}, cursor, still_s=0, now=now, budget_s=600)
        cursor = found.cursor
    drafts = [
        ArrivalDraft(look.folder, look.digest, look.fingerprint, "E", f"P{n}", ArrivalState.ACCEPTED)
        for n, look in enumerate(found.arrived)
    ]
    assert len(drafts) == N_PLATES
    return max(one.id for one in session.ledger.record_arrivals(drafts))


def rescan(landing: Path) -> int:
    """What a sensor without memory does: walk everything, read and hash each `plate.yaml`; returns their number."""
    digests = []
    for folder, _, files in os.walk(landing):
        sizes = [(file, os.stat(f"{folder}/{file}").st_size) for file in files]  # noqa: PTH116
        if "plate.yaml" in files:
            digests.append(
                hashlib.sha256(Path(folder, "plate.yaml").read_bytes() + repr(sizes).encode()).digest()
            )
    return len(digests)


if __name__ == "__main__":
    main()
