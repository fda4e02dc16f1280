"""Whether a service on this machine does its work: what each container's health check asks."""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cell_assets.automation.listening import LOOPBACK
from cell_assets.database.addresses import DatabaseAddresses
from cell_assets.errors import BadInputError
from cell_assets.settings import Settings

_DAGSTER_SERVICE = "DagsterApi"
"""Name under which Dagster's code server answers the standard gRPC health protocol."""
_PATIENCE_S = 5.0
HEARTBEAT_TOLERANCE_S = 300.0
"""Dagster's daemons beat every 30 s, and late on a busy machine."""


def code_server_answers(port: int) -> bool:
    """Whether a Dagster code server takes requests on this machine's port."""
    with grpc.insecure_channel(f"{LOOPBACK}:{port}") as channel:
        request = health_pb2.HealthCheckRequest(service=_DAGSTER_SERVICE)
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=_PATIENCE_S)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def daemons_beat(settings: Settings, tolerance_s: float = HEARTBEAT_TOLERANCE_S) -> bool:
    """Whether every daemon that this instance needs gave a sign of life within `tolerance_s` seconds.

    Raises BadInputError where no database is configured.
    """
    from dagster._daemon.controller import all_daemons_live

    from cell_assets.automation.dagster_home import open_instance

    if settings.database_url is None:
        raise BadInputError(
            "no database is configured: set CELL_ASSETS_DATABASE_URL, or CELL_ASSETS_DATABASE_URL_FILE to a "
            "file that holds it"
        )
    with open_instance(settings, DatabaseAddresses.of(settings.database_url)) as instance:
        return all_daemons_live(instance, heartbeat_tolerance_seconds=tolerance_s)
