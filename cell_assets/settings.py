"""The one place that reads the environment: `CELL_ASSETS_*` variables as one typed, frozen object."""

import json
import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from cell_assets.errors import BadInputError

_SEPARATOR = re.compile(rf"{re.escape(os.pathsep)}(?!//)")
"""Between paths; the colon of `s3://` is none."""


class Executor(StrEnum):
    """Where the steps of a run that Dagster launches execute."""

    IN_PROCESS = "in_process"
    """One after the other, in the process of the run."""
    K8S = "k8s"
    """Each in a Kubernetes pod of its own."""


class Settings(BaseSettings):
    """Where things live. Build it once at the edge (CLI, Dagster resource, test) and pass it down."""

    model_config = SettingsConfigDict(env_prefix="CELL_ASSETS_", frozen=True, extra="forbid")

    home: Path = Field(default=Path("~/.cell_assets").expanduser())
    """Folder of the artifact store and of the Dagster instance; of the embedded database too, unless that
    cannot be reached by the user that PostgreSQL runs as."""

    database_url: str | None = Field(default=None, repr=False)
    """`postgresql://user:password@host/name`; the databases `name_dagster`, `name_ledger` and `name_mlflow`
    are derived from it. Unset: the CLI starts an embedded PostgreSQL under `home`."""

    database_url_file: Path | None = None
    """File whose text is the `database_url`, such as a secret that Docker or Kubernetes mounts; an empty variable is
    none. What was read is in `database_url`."""

    store: str | None = None
    """`s3://bucket/prefix` where artifacts are kept; `home/store` then holds copies of what was read or made here.
    Keys, endpoint and region are the client library's own to find (`AWS_PROFILE`, `AWS_ENDPOINT_URL`). Unset or empty:
    they are kept in `home/store`."""

    verify_on_read: bool = False
    """Re-hash every artifact when it is read, before its bytes are used."""

    workers: int | None = Field(default=None, ge=1)
    """Processes that work on FOVs side by side; unset: one per processor core."""

    executor: Executor = Executor.IN_PROCESS
    """Of the code location; what a command runs, it runs in its own process."""

    kubernetes: Path | None = None
    """YAML file that says what pods get, `automation.kubernetes_settings`; read with executor `k8s` alone."""

    landing: Annotated[tuple[str, ...], NoDecode] = ()
    """Landing folders to watch: paths or fsspec URLs, separated like those of PATH (`:`), or a list in JSON, which
    a URL with a port needs."""

    still_s: float = Field(default=60.0, ge=0)
    """A plate has arrived when its files have looked the same for so many seconds."""

    @model_validator(mode="before")
    @classmethod
    def _with_url_of_file(cls, given: dict[str, Any]) -> dict[str, Any]:
        if not given.get("database_url_file"):
            return {**given, "database_url_file": None}
        if given.get("database_url") is not None:
            raise BadInputError(
                "CELL_ASSETS_DATABASE_URL and CELL_ASSETS_DATABASE_URL_FILE are both set: unset one of them"
            )
        return {**given, "database_url": _text_of(Path(given["database_url_file"]))}

    @field_validator("landing", mode="before")
    @classmethod
    def _separated(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return json.loads(value)
        return tuple(part for part in _SEPARATOR.split(value) if part)

    keep_free_bytes: int = Field(default=2**30, ge=0)
    """Bytes of the store's disk that stay free: what would use them is refused before it writes."""

    evict_after_days: int = Field(default=30, ge=0)
    """For how long what can be made again is kept after it was superseded or withdrawn."""

    copy_days: int = Field(default=7, ge=0)
    """For how long the copy of an artifact that a bucket keeps stays on this machine after it was last read."""

    event_log_days: int = Field(default=90, ge=1)
    """For how long Dagster keeps log lines and progress of finished runs; events of assets and checks stay."""

    @property
    def processes(self) -> int:
        """How many processes work on FOVs side by side."""
        return self.workers or len(os.sched_getaffinity(0))

    @field_validator("store")
    @classmethod
    def _empty_is_unset(cls, value: str | None) -> str | None:
        return value or None

    @property
    def store_root(self) -> Path:
        """Folder under which artifacts are written and, without a bucket, published."""
        return self.home / "store"

    @property
    def dagster_home(self) -> Path:
        """Folder of the Dagster instance (`dagster.yaml`, compute logs)."""
        return self.home / "dagster"


def _text_of(file: Path) -> str:
    """What a file of one line says. No error quotes it, because it holds a password."""
    try:
        text = file.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise BadInputError(f"{file}, named by CELL_ASSETS_DATABASE_URL_FILE, is not text in UTF-8") from None
    except OSError as error:
        raise BadInputError(
            f"{file}, named by CELL_ASSETS_DATABASE_URL_FILE, cannot be read: {error.strerror}; let the user that "
            "runs cell_assets read it"
        ) from None
    if not text:
        raise BadInputError(
            f"{file}, named by CELL_ASSETS_DATABASE_URL_FILE, is empty: write postgresql://user:password@host/name "
            "into it"
        )
    return text
