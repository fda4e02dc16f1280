"""Where services take requests; imports nothing, so that the command line may know the usual ports."""

from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
USUAL_CODE_PORT = 4000
USUAL_DAGSTER_PORT = 3000
USUAL_MLFLOW_PORT = 5000


@dataclass(frozen=True)
class Listening:
    """Where a service takes requests."""

    port: int
    host: str = LOOPBACK
    """Address of the interface; `0.0.0.0` is every one."""
    path_prefix: str = ""
    """What a proxy in front puts before every path of a page, such as `/dagster`."""
