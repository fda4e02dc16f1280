"""How fast the ledger walks a large history: `.venv/bin/python benchmarks/ledger_graph/run.py`

Fills an embedded PostgreSQL with a generated history (about 3 minutes, 2 GB of temporary disk) and needs no input.
"""

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cell_assets.database.embedded import open_database
from cell_assets.ledger.ledger import Ledger
from cell_assets.settings import Settings
from cell_assets_tests.ledger.making import LEASE, make, output, receipt, run_draft

HERE = Path(__file__).parent
PLATES, FOVS, STAGES = 1000, 333, 3
PER_PLATE = 1 + FOVS * STAGES
PLATES_PER_EXPERIMENT = 10
REPEATS = 9

FILL = """
INSERT INTO artifact (id, asset, partition, digest, digest_type, n_bytes, n_files, uri, format_name, format_version)
OVERRIDING SYSTEM VALUE
SELECT g, CASE WHEN k = 0 THEN 'raw_acquisition' ELSE 'stage_' || mod(k - 1, {stages}) END,
       'P' || p || CASE WHEN k = 0 THEN '' ELSE '|' || (k - 1) / {stages} END,
       md5(g::text) || md5((-g)::text), 'generated', 1, 1, 'u' || g, 'generated', '1'
FROM (SELECT g, (g - 1) / {per_plate} AS p, mod(g - 1, {per_plate}) AS k FROM generate_series(1, {total}) AS g) AS s;

INSERT INTO run (id, asset, partition, artifact_id, code_version, environment_digest, host, parameters, started,
                 outcome)
OVERRIDING SYSTEM VALUE
SELECT id, asset, partition, id, 'c', 'e', 'h', '{{}}', now(), 'succeeded' FROM artifact;

-- Every stage of a FOV reads the plate, the stage before it, and that stage of the next FOV.
INSERT INTO input_edge (run_id, input_id)
SELECT DISTINCT g, input FROM (
  SELECT g, (g - 1) / {per_plate} * {per_plate} + 1 AS first, mod(g - 1, {per_plate}) AS k
  FROM generate_series(1, {total}) AS g
) AS s
CROSS JOIN LATERAL (VALUES
  (first),
  (CASE WHEN mod(k - 1, {stages}) > 0 THEN g - 1 ELSE first END),
  (CASE WHEN mod(k - 1, {stages}) > 0 AND k + {stages} < {per_plate} THEN g - 1 + {stages} ELSE first END),
  (CASE WHEN mod(k - 1, {stages}) > 0 AND k > {stages} THEN g - 1 - {stages} ELSE first END),
  (CASE WHEN mod(k - 1, {stages}) > 1 THEN g - 2 ELSE first END)
) AS inputs (input)
WHERE k > 0;
"""


def fill(url: str) -> dict[str, int]:
    """The generated history; returns its size."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        sizes = {"per_plate": PER_PLATE, "stages": STAGES, "total": PLATES * PER_PLATE}
        for statement in FILL.format(**sizes).split(";\n")[:-1]:
            connection.exec_driver_sql(statement)
        for table in ("artifact", "run"):
            connection.exec_driver_sql(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))"
            )
        counts = {
            table: connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
            for table in ("artifact", "input_edge")
        }
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()
    return {"artifacts": counts["artifact"], "edges": counts["input_edge"]}


def milliseconds(work: Callable[[], object], repeats: int = REPEATS) -> dict[str, float]:
    """Median, least and most of several runs, after one that warms up."""
    work()
    took = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        took.append(1000 * (time.perf_counter() - started))
    return {
        "median": round(statistics.median(took), 1),
        "min": round(min(took), 1),
        "max": round(max(took), 1),
    }


def number_of_an_experiment(ledger: Ledger) -> tuple[int, int]:
    """A report over the last stages of ten plates; returns it and a plate that it rests on."""
    firsts = [p * PER_PLATE + 1 for p in range(PLATES_PER_EXPERIMENT)]
    tables = [first + STAGES * (f + 1) for first in firsts for f in range(FOVS)]
    read = list(ledger.artifacts_with_ids(tables).values())
    model = make(ledger, "checkpoint", "E", "weights", read)
    report = make(ledger, "report", "E", "page", [model])
    return report.artifact.id, firsts[0]


def ladder(ledger: Ledger, rungs: int) -> int:
    """Diamonds on top of one another: each rung reads both sides of the one below. Returns the topmost."""
    url = ledger._engine.url
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        base = connection.exec_driver_sql("SELECT max(id) FROM artifact").scalar_one()
        n = 2 * rungs
        connection.exec_driver_sql(
            "INSERT INTO artifact (id, asset, partition, digest, digest_type, n_bytes, n_files, uri, format_name, "
            f"format_version) OVERRIDING SYSTEM VALUE SELECT {base} + g, 'ladder', '{rungs}.' || g, "
            f"md5('{rungs}.' || g) || md5(g::text), 'generated', 1, 1, 'l{rungs}.' || g, 'generated', '1' "
            f"FROM generate_series(1, {n}) AS g"
        )
        connection.exec_driver_sql(
            "INSERT INTO run (id, asset, partition, artifact_id, code_version, environment_digest, host, parameters, "
            "started, outcome) OVERRIDING SYSTEM VALUE SELECT id, asset, partition, id, 'c', 'e', 'h', '{}', now(), "
            f"'succeeded' FROM artifact WHERE id > {base}"
        )
        connection.exec_driver_sql(
            f"INSERT INTO input_edge SELECT {base} + g, {base} + 2 * ((g - 1) / 2) - side "
            f"FROM generate_series(3, {n}) AS g, generate_series(0, 1) AS side"
        )
        for table in ("artifact", "run"):
            connection.exec_driver_sql(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))"
            )
    engine.dispose()
    return base + n


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ledger-graph-benchmark-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        home.chmod(0o755)
        with (
            open_database(Settings(home=home, database_url=None)) as addresses,
            Ledger.open(addresses.ledger) as ledger,
        ):
            size = fill(addresses.ledger)
            print(size, flush=True)
            report, plate = number_of_an_experiment(ledger)
            up, down = ledger.ancestors([report]), ledger.descendants([plate])
            result = {
                **size,
                "closure": {
                    "artifacts": len(up.artifact_ids) - 1,
                    "edges": len(up.edges),
                    "ms": milliseconds(lambda: ledger.ancestors([report])),
                },
                "impact": {
                    "artifacts": len(down.artifact_ids) - 1,
                    "edges": len(down.edges),
                    "ms": milliseconds(lambda: ledger.descendants([plate])),
                },
                "diamonds": {},
            }
            for rungs in (2500, 5000, 10000):
                top = ladder(ledger, rungs)
                assert len(ledger.ancestors([top]).artifact_ids) == 2 * rungs - 1
                result["diamonds"][rungs] = milliseconds(lambda top=top: ledger.ancestors([top]), 5)
            receipts = [receipt(one) for one in ledger.artifacts_with_ids(range(1, 1001)).values()]
            intents = iter(
                [
                    ledger.open_intent("table", "E", f"staging/{k}", "host:1", LEASE)
                    for k in range(REPEATS + 1)
                ]
            )
            contents = iter(range(REPEATS + 1))

            def record() -> None:
                ledger.commit(next(intents), run_draft(), output("table", "E", str(next(contents))), receipts)

            result["record_1000_inputs_ms"] = milliseconds(record)
    result |= {
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load_1min": round(os.getloadavg()[0], 1),
    }
    (HERE / "result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
