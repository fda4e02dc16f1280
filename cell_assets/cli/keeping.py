"""Commands that keep a lab elsewhere, bring it back, and make its databases ready."""

import json
import sys
from pathlib import Path

import click

from cell_assets.cli.lab import open_lab
from cell_assets.cli.options import AS_JSON
from cell_assets.cli.progress import BYTES, progress

_FOLDER = click.argument("folder", type=click.Path(path_type=Path))


@click.command()
@_FOLDER
@AS_JSON
def backup(folder: Path, as_json: bool) -> None:
    """Copy databases and artifacts to FOLDER, where what an earlier backup copied is not copied again.

    Artifacts that a bucket keeps (CELL_ASSETS_STORE) are not copied: they stay in it.

    The lab may be in use meanwhile. Left out are logs, and trainings that have not ended. Exit code 1 when an
    artifact is not what was published: it is named, and everything else is in the backup.

    \b
    Example:
      cell-assets backup /mnt/backup/lab
    """
    from cell_assets.backup.taking import take_backup
    from cell_assets.store.room import said_bytes

    with open_lab() as session, progress(BYTES) as step:
        taken = take_backup(
            session.store,
            session.addresses,
            folder,
            session.settings.home,
            step,
            session.settings.keep_free_bytes,
        )
    manifest = taken.manifest
    n_kept = sum(not one.is_evicted for one in manifest.artifacts)
    if as_json:
        said = {
            "folder": str(taken.folder),
            "made": manifest.made,
            "artifacts": n_kept,
            "bytes": manifest.n_bytes,
            "copied_artifacts": taken.n_copied,
            "copied_bytes": taken.n_bytes_copied,
            "bucket": manifest.bucket,
            "database_bytes": {one.name: one.n_bytes for one in manifest.databases},
            "damaged": list(manifest.damaged),
        }
        click.echo(json.dumps(said, indent=1))
    else:
        for sentence in manifest.damaged:
            click.echo(f"not backed up, as it is damaged: {sentence}")
        dumps = said_bytes(sum(one.n_bytes for one in manifest.databases))
        if manifest.bucket is not None:
            click.echo(
                f"{taken.folder} holds {dumps} of databases of the lab as of {manifest.made}; its {n_kept} artifacts "
                f"stay in {manifest.bucket}, of which nothing was copied"
            )
            sys.exit(bool(manifest.damaged))
        click.echo(
            f"{taken.folder} holds the lab as of {manifest.made}: {n_kept} artifacts, {said_bytes(manifest.n_bytes)}, "
            f"of which {taken.n_copied}, {said_bytes(taken.n_bytes_copied)}, were copied now, and {dumps} of databases"
        )
    if manifest.damaged:
        sys.exit(1)


@click.command(name="restore-backup")
@_FOLDER
@AS_JSON
def restore_backup(folder: Path, as_json: bool) -> None:
    """Make the lab that FOLDER holds in an empty CELL_ASSETS_HOME and in databases that are empty or not there.

    Home and server may be others than before. Every byte is held against the digest that it was published under;
    what is damaged is named, and then nothing is restored.

    \b
    Example:
      CELL_ASSETS_HOME=/data/lab cell-assets restore-backup /mnt/backup/lab
    """
    from cell_assets.backup.restoring import restore_backup as restore
    from cell_assets.settings import Settings
    from cell_assets.store.room import said_bytes

    with progress(BYTES) as step:
        restored = restore(folder, Settings(), step)
    if as_json:
        said = {
            "home": str(restored.home),
            "made": restored.manifest.made,
            "artifacts": restored.n_artifacts,
            "bytes": restored.n_bytes,
            "missing": [*restored.manifest.damaged, *restored.missing],
        }
        click.echo(json.dumps(said, indent=1))
        return
    for sentence in restored.manifest.damaged:
        click.echo(f"not in the backup, as it was damaged before: {sentence}")
    for url in restored.missing:
        click.echo(f"not in the bucket, perhaps evicted since the backup: {url}")
    if restored.manifest.bucket is not None:
        click.echo(
            f"{restored.home} is the lab as of {restored.manifest.made}; its artifacts are in the bucket, and "
            "`cell-assets verify` re-hashes them"
        )
        return
    click.echo(
        f"{restored.home} is the lab as of {restored.manifest.made}: {restored.n_artifacts} artifacts, "
        f"{said_bytes(restored.n_bytes)}, each of its published digest"
    )


@click.command()
@AS_JSON
def prepare(as_json: bool) -> None:
    """Make the databases and tables that are missing, and bring those of ledger, Dagster and MLflow to the schemas of
    the versions that are installed.

    Run it before programs of Dagster or MLflow are started without cell-assets, such as by containers, and after an
    upgrade, with a backup at hand and nothing else running. Every command brings the ledger up to date for itself.

    \b
    Example:
      CELL_ASSETS_DATABASE_URL_FILE=/run/secrets/url cell-assets prepare
    """
    from dataclasses import asdict

    from cell_assets.automation.preparing import prepare_databases
    from cell_assets.settings import Settings

    prepared = prepare_databases(Settings())
    if as_json:
        click.echo(json.dumps(asdict(prepared)))
    else:
        click.echo(f"ready: {', '.join(prepared.databases)}; ledger schema {prepared.ledger_revision}")
