"""One command's open database, ledger and store; Dagster joins only when a command runs something."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cell_assets.database.addresses import DatabaseAddresses
from cell_assets.database.embedded import open_database
from cell_assets.ledger.ledger import Ledger
from cell_assets.settings import Settings
from cell_assets.store.boundaries import Observer, unobserved
from cell_assets.store.store import Store

if TYPE_CHECKING:
    import dagster as dg

    from cell_assets.audit.agreement import Reconciliation
    from cell_assets.automation.executing import Executor
    from cell_assets.resources.progress import ProgressDisplay

DefinitionsBuilder = Callable[[Settings, Observer, "ProgressDisplay"], "dg.Definitions"]
"""`definitions.build_defs`, handed down because automation lies below definitions."""


@dataclass(frozen=True)
class Session:
    """What a command works with."""

    settings: Settings
    """With `database_url` set, also where the server is an embedded one."""
    addresses: DatabaseAddresses
    store: Store
    observer: Observer
    build_definitions: DefinitionsBuilder

    @property
    def ledger(self) -> Ledger:
        """The store's ledger."""
        return self.store.ledger

    def reconcile(self, *, mend: bool) -> "Reconciliation":
        """Hold ledger, store, Dagster and MLflow against each other; see `assets.reconciling`."""
        from cell_assets.assets.reconciling import reconcile
        from cell_assets.automation.dagster_home import open_instance
        from cell_assets.resources.mlflow_registry import ModelRegistry

        with open_instance(self.settings, self.addresses) as instance:
            return reconcile(instance, self.store, ModelRegistry(self.addresses.mlflow), mend=mend)

    def show_withdrawals(self) -> None:
        """Turn the checks of withdrawn outputs red in Dagster."""
        from cell_assets.assets.reconciling import show_withdrawals
        from cell_assets.automation.dagster_home import open_instance

        with open_instance(self.settings, self.addresses) as instance:
            show_withdrawals(instance, self.store)

    @contextmanager
    def executor(self) -> Iterator["Executor"]:
        """Dagster in this process: its instance and the jobs of this code location."""
        from cell_assets.automation.executing import open_executor

        with open_executor(self) as executor:
            yield executor


@contextmanager
def open_session(
    settings: Settings, build_definitions: DefinitionsBuilder, observer: Observer = unobserved
) -> Iterator[Session]:
    """Open (and where needed start) the database, then ledger and store; close them in reverse order."""
    with open_database(settings) as addresses:
        ledger = Ledger.open(addresses.ledger)
        try:
            configured = settings.model_copy(update={"database_url": addresses.base})
            store = Store(
                settings.store_root,
                ledger,
                verify_on_read=settings.verify_on_read,
                observer=observer,
                keep_free=settings.keep_free_bytes,
                bucket=settings.store,
            )
            yield Session(configured, addresses, store, observer, build_definitions)
        finally:
            ledger.close()
