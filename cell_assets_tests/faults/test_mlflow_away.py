"""MLflow's database refuses connections when a checkpoint is registered, and takes them again."""

from collections.abc import Callable

import dagster as dg
from mlflow import MlflowClient
from psycopg2 import sql

from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.session import open_session
from cell_assets.database.addresses import DatabaseAddresses
from cell_assets.definitions import build_defs
from cell_assets.store.boundaries import Boundary
from cell_assets_tests.end_to_end.lab import PlateFolder, instance_of, run, small_run
from cell_assets_tests.faults.faulty_lab import FaultyLab


def test_a_checkpoint_is_kept_and_registered_once_when_mlflow_is_back(
    new_lab: Callable[[], FaultyLab], two_fovs: PlateFolder
) -> None:
    lab = new_lab()
    assert lab.settings.database_url is not None
    mlflow = DatabaseAddresses.of(lab.settings.database_url).mlflow
    name = sql.Identifier(mlflow.rpartition("/")[2])

    def close(at: Boundary, of: str, partition: str) -> None:
        if (at, of) == (Boundary.COMMIT, "dynaclr_checkpoint"):
            lab.server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))

    with open_session(lab.settings, build_defs, close) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        (said,) = run(session, small_run("E1")).failed
        assert said.startswith("MLflow's database at postgresql+psycopg2://postgres:***@127.0.0.1"), said
        assert "not currently accepting connections; mend it, then do the same again" in said
        assert "\n" not in said
        checkpoint = session.ledger.latest("dynaclr_checkpoint", "E1")
        assert checkpoint is not None
        assert session.ledger.model_versions([checkpoint.artifact.id]) == ()
        # Nothing rests on a checkpoint whose registration is not done.
        assert session.ledger.artifacts("dynaclr_embeddings") == ()
        with instance_of(session) as instance:
            assert instance.get_latest_materialization_event(dg.AssetKey("dynaclr_checkpoint")) is None
    lab.server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
    with lab.opened() as session:
        assert run(session, small_run("E1")).failed == ()
        assert [one.id for one in session.ledger.artifacts("dynaclr_checkpoint")] == [checkpoint.artifact.id]
    lab.assert_sound("E1")
    (version,) = MlflowClient(mlflow, mlflow).search_model_versions("name = 'E1.dynaclr'")
    assert version.tags["cell_assets.digest"] == checkpoint.artifact.digest
