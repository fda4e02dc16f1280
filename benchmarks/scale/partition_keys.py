"""Is each of a year's partitions there? Dagster's storage and ours, asked as one page asks of a partitioned check.

`.venv/bin/python benchmarks/scale/partition_keys.py [--fovs 86400]` writes `partition_keys.json`; needs no input.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dagster._core.storage.event_log.base import EventLogStorage
from dagster_postgres.event_log import PostgresEventLogStorage

from cell_assets.automation.dagster_storage import PatientEventLogStorage, PatientPostgresStorage
from cell_assets.database.embedded import open_database
from cell_assets.settings import Settings


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--fovs", type=int, default=86_400)
    fovs = arguments.parse_args().fovs
    keys = [f"P{n // 864:03d}|{'ABCDEFGH'[n % 8]}/{n // 8 % 12 + 1}/{n // 96 % 9}" for n in range(fovs)]
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)
        with open_database(Settings(home=Path(home), database_url=None)) as addresses:
            PatientPostgresStorage(addresses.dagster)
            storages: dict[str, EventLogStorage] = {
                "ours": PatientEventLogStorage(addresses.dagster, should_autocreate_tables=False),
                "Dagster's": PostgresEventLogStorage(addresses.dagster, should_autocreate_tables=False),
            }
            storages["ours"].add_dynamic_partitions("fov", keys)
            seconds = {name: asked(storage, keys) for name, storage in storages.items()}
    result = {
        "fovs": fovs,
        "seconds": seconds,
        "times_faster": round(seconds["Dagster's"] / seconds["ours"], 1),
    }
    (Path(__file__).parent / "partition_keys.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(result, indent=1))


def asked(storage: EventLogStorage, keys: list[str]) -> float:
    """Seconds for all keys, over connections that are kept as the webserver keeps them."""
    storage.optimize_for_webserver(statement_timeout=0, pool_recycle=3600, max_overflow=8)
    began = time.perf_counter()
    assert all(storage.has_dynamic_partition("fov", key) for key in keys)
    return round(time.perf_counter() - began, 2)


if __name__ == "__main__":
    main()
