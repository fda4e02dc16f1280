"""Many processes that start at once on an empty PostgreSQL, as the containers of a new deployment do."""

import os
import subprocess
import sys
from collections.abc import Callable

from cell_assets.ledger.migrations.upgrade import REVISIONS
from cell_assets.settings import Settings

N_PROCESSES = 6


def test_many_processes_at_once_make_an_empty_server_theirs(new_lab: Callable[[], Settings]) -> None:
    settings = new_lab()
    assert settings.database_url is not None
    secret = settings.home / "url"
    secret.write_text(settings.database_url)
    environment = {**os.environ, "CELL_ASSETS_DATABASE_URL_FILE": str(secret)}
    environment["CELL_ASSETS_HOME"] = str(settings.home)
    environment.pop("CELL_ASSETS_DATABASE_URL", None)
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "cell_assets_tests.end_to_end.starting"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(N_PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * N_PROCESSES, [err for _, err in said]
    assert [out for out, _ in said] == [f"3 {REVISIONS[-1]}\n"] * N_PROCESSES
    # Of the ledger; Dagster's and MLflow's own revisions have longer names.
    migrations = [
        sum(f"-> {revision}," in line for line in err.splitlines() for revision in REVISIONS)
        for _, err in said
    ]
    assert sorted(migrations) == [0] * (N_PROCESSES - 1) + [len(REVISIONS)], said
    for _, err in said:
        assert "Retrying failed database creation" not in err
