"""A ledger filled with generated history: plates of FOVs with stages, reports on them, and ladders of diamonds."""

import sqlalchemy as sa

from cell_assets.ledger.ledger import Ledger
from cell_assets_tests.ledger.making import make

FOVS, STAGES = 333, 3
PER_PLATE = 1 + FOVS * STAGES
PLATES_PER_EXPERIMENT = 10

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


def fill(url: str, plates: int) -> dict[str, int]:
    """Write a history of so many plates into an empty ledger; returns its size."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        sizes = {"per_plate": PER_PLATE, "stages": STAGES, "total": plates * PER_PLATE}
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
