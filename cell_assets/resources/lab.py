"""The artifact store over its ledger as a Dagster resource, opened for a run and closed after it.

A plain resource function, so that the database address (which may hold a password) never becomes run config.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg

from cell_assets.database.addresses import DatabaseAddresses
from cell_assets.errors import BadInputError
from cell_assets.ledger.ledger import Ledger
from cell_assets.settings import Settings
from cell_assets.store.boundaries import Observer
from cell_assets.store.store import Store


def require_database_url(settings: Settings) -> str:
    """The configured server address.

    Raises:
        BadInputError: none is configured in this process.
    """
    if settings.database_url is None:
        raise BadInputError(
            "CELL_ASSETS_DATABASE_URL is not set in this Dagster process: start it with `cell-assets dev`, "
            "or set the variable to your PostgreSQL server"
        )
    return settings.database_url


def store_resource(settings: Settings, observer: Observer) -> dg.ResourceDefinition:
    """The store that `settings` name; `observer` is told of every write boundary (tests stop there)."""

    @dg.resource(description="Artifact store and ledger")
    def store(_: dg.InitResourceContext) -> Iterator[Store]:
        ledger = Ledger.open(DatabaseAddresses.of(require_database_url(settings)).ledger)
        try:
            yield Store(
                settings.store_root,
                ledger,
                verify_on_read=settings.verify_on_read,
                observer=observer,
                keep_free=settings.keep_free_bytes,
                bucket=settings.store,
            )
        finally:
            ledger.close()

    return store


def workers_resource(settings: Settings) -> dg.ResourceDefinition:
    """How many processes work on FOVs side by side."""

    @dg.resource(description="Processes that work on FOVs side by side")
    def workers(_: dg.InitResourceContext) -> int:
        return settings.processes

    return workers


@dataclass(frozen=True)
class Retention:
    """How long what may go is kept."""

    event_log_days: int
    evict_after_days: int
    copy_days: int


def retention_resource(settings: Settings) -> dg.ResourceDefinition:
    """How long what may go is kept."""

    @dg.resource(description="How long what may go is kept")
    def retention(_: dg.InitResourceContext) -> Retention:
        return Retention(settings.event_log_days, settings.evict_after_days, settings.copy_days)

    return retention
