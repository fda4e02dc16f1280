"""The named moments of a write at which a crash may happen, and a hook to stop exactly there."""

from collections.abc import Callable
from enum import StrEnum


class Boundary(StrEnum):
    """A write has just done this act; what follows has not begun."""

    INTENT = "intent"
    """The intent is recorded; the staging folder is empty."""
    STAGING = "staging"
    """All bytes lie in the staging folder, flushed to disk and digested."""
    RENAME = "rename"
    """The folder stands under its final name; no ledger row knows it."""
    COMMIT = "commit"
    """The ledger holds artifact, run, edges and numbers: visible. Dagster has not been told."""
    EVENT = "event"
    """Dagster's event is logged; the ledger does not hold its storage id. Called by the assets room."""


Observer = Callable[[Boundary, str, str], None]
"""Called with the boundary, the asset and the partition."""


def unobserved(boundary: Boundary, asset: str, partition: str) -> None:
    """The observer of ordinary work: does nothing."""
