"""The MLflow registry: every checkpoint becomes a model version that names its bytes, its ledger and Dagster runs.

Versions are registered through the database address, because MLflow's server refuses a `file://` source.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import sqlalchemy as sa

from cell_assets.audit.agreement import RegisteredModel
from cell_assets.database.addresses import DatabaseAddresses, making_tables
from cell_assets.errors import BadInputError, CellAssetsError
from cell_assets.ledger.records import Artifact, JsonValue
from cell_assets.resources.lab import require_database_url
from cell_assets.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

DIGEST_TAG = "cell_assets.digest"
_PAGE = 1000
MAX_PARAMETER_CHARACTERS = 6000
"""MLflow's own limit for one parameter's value."""


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
        """Version of model `name` that holds `artifact`; the same artifact again keeps its version."""
        from mlflow.entities import Metric, Param
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

        client = self._client()
        for version in client.search_model_versions(f"name = '{name}'"):
            if version.tags.get(DIGEST_TAG) == artifact.digest:
                return str(version.version)
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise
        tags = {
            DIGEST_TAG: artifact.digest,
            "cell_assets.artifact": str(artifact.id),
            "cell_assets.ledger_run": str(ledger_run),
        }
        if dagster_run is not None:
            tags["dagster.run"] = dagster_run
        run = client.create_run(self._experiment_id(client, experiment), run_name=name, tags=tags)
        client.log_batch(
            run.info.run_id,
            metrics=[Metric(point.name, point.value, 0, point.step) for point in history],
            params=[
                Param(key, str(value)[:MAX_PARAMETER_CHARACTERS]) for key, value in sorted(parameters.items())
            ],
        )
        client.set_terminated(run.info.run_id)
        created = client.create_model_version(name, source=str(folder), run_id=run.info.run_id, tags=tags)
        return str(created.version)

    def registered(self) -> tuple[RegisteredModel, ...]:
        """Every version that names a checkpoint's digest, models of other people's left out."""
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

    def _client(self) -> "MlflowClient":
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        # Its account of creating tables would break the progress bar of whoever registers first.
        logging.getLogger("mlflow").setLevel(logging.WARNING)

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
    def _experiment_id(client: "MlflowClient", name: str) -> str:
        known = client.get_experiment_by_name(name)
        return known.experiment_id if known is not None else client.create_experiment(name)


def registry_resource(settings: Settings) -> dg.ResourceDefinition:
    """The registry beside the configured ledger."""

    @dg.resource(description="MLflow model registry")
    def models(_: dg.InitResourceContext) -> Iterator[ModelRegistry]:
        yield ModelRegistry(DatabaseAddresses.of(require_database_url(settings)).mlflow)

    return models
