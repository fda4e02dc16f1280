"""MLflow's registry names the folders of checkpoints by their absolute paths, which a restore elsewhere changes."""

import contextlib

import psycopg2

from cell_assets.database.addresses import libpq_url

_MOVED = """
UPDATE model_versions SET
  source = %(new)s || substr(source, length(%(old)s) + 1),
  storage_location = CASE WHEN starts_with(storage_location, %(old)s || '/')
    THEN %(new)s || substr(storage_location, length(%(old)s) + 1) ELSE storage_location END
WHERE starts_with(source, %(old)s || '/')
"""


def point_models_at(mlflow_url: str, old_root: str, new_root: str) -> None:
    """Let every registered model that lies below one store's root name the same folder below another."""
    connected = contextlib.closing(psycopg2.connect(libpq_url(mlflow_url)))
    with connected as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('model_versions') IS NOT NULL")
        if cursor.fetchone() == (True,):
            cursor.execute(_MOVED, {"old": old_root, "new": new_root})
