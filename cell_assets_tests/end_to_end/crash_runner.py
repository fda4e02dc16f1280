"""A command that kills itself right after a boundary of one asset's write; with `server`, its database first.

`python -m cell_assets_tests.end_to_end.crash_runner HOME BOUNDARY ASSET ingest|run REQUEST_AS_JSON [server]`
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

import psycopg2

from cell_assets.assets.ingest_request import IngestRequest
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import RunRequest, choose, run_experiment
from cell_assets.automation.session import open_session
from cell_assets.database.addresses import DatabaseAddresses
from cell_assets.definitions import build_defs
from cell_assets.settings import Settings
from cell_assets.store.boundaries import Boundary


def kill_server(addresses: DatabaseAddresses) -> None:
    """`kill -9` to every process of the server: what it had not written to its log is gone."""
    with contextlib.closing(psycopg2.connect(addresses.dagster)) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW data_directory")
        (folder,) = cursor.fetchone()
    postmaster = int((Path(folder) / "postmaster.pid").read_text().splitlines()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    for pid in (postmaster, *map(int, children)):
        os.kill(pid, signal.SIGKILL)


def main(home: str, at: str, of: str, command: str, request: str, takes_down: str = "") -> None:
    def kill(boundary: Boundary, asset: str, partition: str) -> None:
        if (boundary, asset) == (at, of):
            if takes_down == "server":
                kill_server(session.addresses)
            os.kill(os.getpid(), signal.SIGKILL)

    settings = Settings(home=Path(home), database_url=None, workers=1)
    with open_session(settings, build_defs, kill) as session:
        if command == "ingest":
            ingest_plate(session, IngestRequest.model_validate_json(request))
        else:
            wanted = RunRequest.model_validate_json(request)
            choose(session, wanted)
            print(run_experiment(session, wanted).text())


if __name__ == "__main__":
    main(*sys.argv[1:])
