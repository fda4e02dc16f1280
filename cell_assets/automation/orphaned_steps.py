"""A step in a pod outlives the pod of its run, which may be killed: it then leaves, and holds no GPU for nobody.

Kubernetes deletes the pods of steps with the pod of their run, but a pod that failed is kept for a day.
"""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import SQLAlchemyError

from cell_assets.errors import CellAssetsError

_log = logging.getLogger(__name__)

LOOK_EVERY_S = 30.0
"""Seconds between two looks at the run, each of which is one query of a row."""
_AWAY = (SQLAlchemyError, DagsterPostgresException, CellAssetsError)
"""What a question ends in while the database is away: after six seconds in Dagster's storage, after minutes in ours."""


@contextmanager
def leaving_with_run(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """While the block runs, ask this process to leave as Kubernetes does once Dagster holds the run to be over."""
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(instance, run_id, done), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _watch(instance: dg.DagsterInstance, run_id: str, done: threading.Event) -> None:
    while not done.wait(LOOK_EVERY_S):
        try:
            run = instance.get_run_by_id(run_id)
        except _AWAY as error:
            # A database that is away for a while says nothing of the run.
            _log.warning("run %s cannot be looked at: %s", run_id, type(error).__name__)
            continue
        if run is None or run.is_finished:
            _log.warning("run %s is over, and this step leaves", run_id)
            os.kill(os.getpid(), signal.SIGTERM)
            return
