"""The lab that a command works in."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg

    from cell_assets.automation.session import Session
    from cell_assets.resources.progress import ProgressDisplay
    from cell_assets.settings import Settings
    from cell_assets.store.boundaries import Observer


@contextmanager
def open_lab() -> Iterator["Session"]:
    """The configured lab: its database, started where needed, its ledger and its store."""
    from cell_assets.automation.session import open_session
    from cell_assets.settings import Settings

    with open_session(Settings(), definitions_of_command) as session:
        yield session


def definitions_of_command(
    settings: "Settings", observer: "Observer", display: "ProgressDisplay"
) -> "dg.Definitions":
    """The definitions for a process that executes runs itself, also where those that Dagster launches have pods."""
    from cell_assets.definitions import build_defs
    from cell_assets.settings import Executor

    here = settings.model_copy(update={"executor": Executor.IN_PROCESS})
    return build_defs(here, observer, display)
