"""The MLflow registry: every checkpoint becomes a model version that names its bytes, its ledger and Dagster runs.

Versions are registered through the database address, because MLflow's server refuses a `file://` source.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import dagster as dg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cell_assets.audit.agreement import RegisteredModel
from cell_assets.database.addresses import DatabaseAddresses, making_tables
from cell_assets.errors import BadInputError, CellAssetsError
from cell_assets.ledger.lost_connections import PATIENCE_S, Patience, reason
from cell_assets.ledger.records import Artifact, JsonValue
from cell_assets.resources.lab import require_database_url
from cell_assets.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

DIGEST_TAG = "cell_assets.digest"
_LEDGER_RUN_TAG = "cell_assets.ledger_run"
_PAGE = 1000
MAX_PARAMETER_CHARACTERS = 6000
"""MLflow's own limit for one parameter's value."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class MetricPoint:
    """One value of a training curve."""

    name: str
    value: float
    step: int


@dataclass(frozen=True)
class ModelRegistry:
    """MLflow's tracking and registry database."""

    url: str = field(repr=False)
    """May hold a password."""

    def register(
        self,
        name: str,
        artifact: Artifact,
        folder: Path,
        *,
        experiment: str,
        ledger_run: int,
        dagster_run: str | None,
        parameters: Mapping[str, JsonValue],
        history: Sequence[MetricPoint],
    ) -> str:
        """Version of model `name` that holds `artifact`; the same artifact again keeps its version.

        Raises:
            CellAssetsError: MLflow's database refuses connections, or stays away.
        """
        tags = {
            DIGEST_TAG: artifact.digest,
            "cell_assets.artifact": str(artifact.id),
            _LEDGER_RUN_TAG: str(ledger_run),
        }
        if dagster_run is not None:
            tags["dagster.run"] = dagster_run

        def register() -> str:
            client = self._client()
            for version in client.search_model_versions(f"name = '{name}'"):
                if version.tags.get(DIGEST_TAG) == artifact.digest:
                    return str(version.version)
            self._make_name(client, name)
            run = self._run_of(client, experiment, name, tags)
            client.log_batch(
                run,
                metrics=[Metric(point.name, point.value, 0, point.step) for point in history],
                params=[
                    Param(key, str(value)[:MAX_PARAMETER_CHARACTERS])
                    for key, value in sorted(parameters.items())
                ],
            )
            client.set_terminated(run)
            created = client.create_model_version(name, source=str(folder), run_id=run, tags=tags)
            return str(created.version)

        from mlflow.entities import Metric, Param

        return self._outliving(register)

    def registered(self) -> tuple[RegisteredModel, ...]:
        """Every version that names a checkpoint's digest, models of other people's left out."""
        return self._outliving(self._registered)

    def _registered(self) -> tuple[RegisteredModel, ...]:
        client = self._client()
        found: list[RegisteredModel] = []
        token: str | None = None
        while token != "":
            page = client.search_model_versions(max_results=_PAGE, page_token=token)
            found += [
                RegisteredModel(one.name, str(one.version), one.tags[DIGEST_TAG], str(one.source))
                for one in page
                if DIGEST_TAG in one.tags
            ]
            token = page.token or ""
        return tuple(found)

    def migrate(self) -> None:
        """Make MLflow's tables, or bring those that an older version made up to date.

        Any number of processes may call this at once. Raises BadInputError when a newer MLflow made them.
        """
        from alembic.util import CommandError
        from mlflow.store.db.utils import _upgrade_db, create_sqlalchemy_engine

        with making_tables(self.url):
            engine = create_sqlalchemy_engine(self.url)
            try:
                # Of an empty database, the first client makes the tables as they are in the newest schema.
                if sa.inspect(engine).has_table("alembic_version"):
                    _upgrade_db(engine)
            except CommandError as error:
                raise BadInputError(
                    f"MLflow's database is of a newer version than the installed mlflow ({error}): install the version "
                    "that made it"
                ) from None
            finally:
                engine.dispose()
        self._client()

    def _outliving(self, work: Callable[[], _T]) -> _T:
        """Do the work, from its start whenever MLflow's database goes away; nothing is registered twice by that."""
        from mlflow.exceptions import MlflowException

        def asked() -> _T:
            try:
                return work()
            except MlflowException as error:
                if isinstance(error.__cause__, DBAPIError):
                    raise error.__cause__ from error
                raise

        patience = Patience(self._title, PATIENCE_S)
        # The ledger, on the same server, answered before.
        patience.note_answer()
        try:
            return patience.outlive(asked)
        except DBAPIError as error:
            raise CellAssetsError(
                f"{self._title} cannot be used: {reason(error)}; mend it, then do the same again: what was made is "
                "kept, and is registered then"
            ) from error

    @property
    def _title(self) -> str:
        return f"MLflow's database at {sa.make_url(self.url).render_as_string()}"

    def _client(self) -> "MlflowClient":
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        # What goes wrong it raises as well, and its own account of it, or of creating tables, would break the
        # progress bar of whoever registers.
        logging.getLogger("mlflow").setLevel(logging.CRITICAL)

        # MLflow asks for a connection for a minute and more before it says which error it got.
        sa.create_engine(self.url, poolclass=sa.NullPool).connect().close()
        # MLflow itself keeps only processes of one machine apart.
        with making_tables(self.url):
            try:
                return MlflowClient(tracking_uri=self.url, registry_uri=self.url)
            except MlflowException as error:
                if "out-of-date database schema" not in str(error):
                    raise
                raise CellAssetsError(
                    "MLflow's tables were made by another version of mlflow than is installed: back the lab up, then "
                    "run `cell-assets prepare`"
                ) from None

    @staticmethod
    def _make_name(client: "MlflowClient", name: str) -> None:
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise

    @staticmethod
    def _run_of(client: "MlflowClient", experiment: str, name: str, tags: Mapping[str, str]) -> str:
        """Id of the MLflow run for a ledger run: the one that an interrupted registration left, or a new one."""
        known = client.get_experiment_by_name(experiment)
        number = known.experiment_id if known is not None else client.create_experiment(experiment)
        left = client.search_runs([number], f"tags.`{_LEDGER_RUN_TAG}` = '{tags[_LEDGER_RUN_TAG]}'")
        run = left[0] if left else client.create_run(number, run_name=name, tags=dict(tags))
        return str(run.info.run_id)


def registry_resource(settings: Settings) -> dg.ResourceDefinition:
    """The registry beside the configured ledger."""

    @dg.resource(description="MLflow model registry")
    def models(_: dg.InitResourceContext) -> Iterator[ModelRegistry]:
        yield ModelRegistry(DatabaseAddresses.of(require_database_url(settings)).mlflow)

    return models
