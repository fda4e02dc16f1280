"""What a backup folder says of itself. Written last, so that a folder without it is no backup.

<folder>/backup.json                       this manifest, replaced in one step when everything else lies there
<folder>/databases/<token>/<name>.dump     the databases, of the newest backup only
<folder>/store/<uri>, <uri>.files.json     artifacts, as in the store; a later backup adds what is new
"""

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from blake3 import blake3

from cell_assets.errors import BadInputError
from cell_assets.ledger.extract import ChainHead

NAME = "backup.json"
DATABASES, STORE, LOCK = "databases", "store", ".lock"
_FORMAT, _VERSION = "cell_assets.backup", "1"
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class DumpedDatabase:
    """One database in the backup."""

    name: str
    """`dagster`, `mlflow` or `ledger`."""
    file: str
    """Relative to the backup's folder."""
    n_bytes: int
    digest: str
    """BLAKE3 of the file."""
    database_bytes: int
    """Of the database on its server, when it was dumped."""


@dataclass(frozen=True)
class KeptArtifact:
    """One artifact of which the backup holds the bytes or, of an evicted one, the list of its files."""

    uri: str
    digest: str
    n_bytes: int
    """Of its files in the backup; 0 where these were evicted."""
    is_evicted: bool


@dataclass(frozen=True)
class BackupManifest:
    """A whole backup."""

    made: str
    """UTC, ISO 8601, by the database's clock."""
    made_by: str
    """Version of cell_assets."""
    store_root: str
    """Of the store that was backed up: MLflow names the folders of models by it."""
    head: ChainHead
    """The ledger's newest entry."""
    databases: tuple[DumpedDatabase, ...]
    artifacts: tuple[KeptArtifact, ...]
    damaged: tuple[str, ...]
    """A sentence for each artifact that was not whole in the store, and so is not in the backup."""
    bucket: str | None = None
    """URL of the bucket that keeps the artifacts, of which the backup then holds none; None: it holds them itself."""

    @property
    def n_bytes(self) -> int:
        """Of all files that a restore writes into the store."""
        return 0 if self.bucket is not None else sum(artifact.n_bytes for artifact in self.artifacts)


def write_manifest(folder: Path, manifest: BackupManifest) -> None:
    """Flush it beside its place, then move it there in one step."""
    content = {"format": _FORMAT, "version": _VERSION, **asdict(manifest)}
    partial = folder / f"{NAME}.partial"
    with partial.open("w", encoding="utf-8") as handle:
        json.dump({**content, "digest": _digest(content)}, handle, ensure_ascii=False, indent=1)
        handle.flush()
        os.fsync(handle.fileno())
    partial.replace(folder / NAME)


def read_manifest(folder: Path) -> BackupManifest:
    """The manifest of a whole backup.

    Raises BadInputError when the folder is no backup, when its first backup was never finished, when another version
    wrote it, and when the file was cut short or altered.
    """
    path = folder / NAME
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        digest = said.pop("digest")
    except FileNotFoundError:
        if (folder / DATABASES).exists() or (folder / STORE).exists():
            raise BadInputError(
                f"{folder} holds a backup that was begun and not finished, as it has no {NAME}: run "
                "`cell-assets backup` there again"
            ) from None
        raise BadInputError(
            f"{folder} holds no backup, as it has no {NAME}: give a folder that `cell-assets backup` made"
        ) from None
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be read: {error.strerror}; give a folder that you may read"
        ) from None
    except (ValueError, KeyError, AttributeError, RecursionError):
        raise _altered(path) from None
    if (said.get("format"), said.get("version")) != (_FORMAT, _VERSION):
        raise BadInputError(
            f"{path} is of format {said.get('format')} {said.get('version')}, and this cell_assets reads {_FORMAT} "
            f"{_VERSION}: install the version that made it"
        )
    if digest != _digest(said):
        raise _altered(path)
    return _parsed(path, said)


def _parsed(path: Path, said: dict[str, Any]) -> BackupManifest:
    try:
        manifest = BackupManifest(
            made=said["made"],
            made_by=said["made_by"],
            store_root=said["store_root"],
            head=ChainHead(**said["head"]),
            databases=tuple(DumpedDatabase(**one) for one in said["databases"]),
            artifacts=tuple(KeptArtifact(**one) for one in said["artifacts"]),
            damaged=tuple(said["damaged"]),
            bucket=said.get("bucket"),
        )
    except (KeyError, TypeError):
        raise _altered(path) from None
    named = [(one.file, one.digest) for one in manifest.databases]
    named += [(one.uri, one.digest) for one in manifest.artifacts]
    if not all(_stays_inside(name) and _DIGEST.fullmatch(digest) for name, digest in named):
        raise _altered(path)
    return manifest


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and path.as_posix() == name


def _digest(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return blake3(canonical.encode()).hexdigest()


def _altered(path: Path) -> BadInputError:
    return BadInputError(
        f"{path} was cut short or altered after the backup was made: bring the file back, or restore from another "
        "backup"
    )
