"""The `cell-assets` command. Nothing heavy is imported until a subcommand needs it."""

import signal
import sys

import click

from cell_assets.cli import (
    annotating,
    arriving,
    auditing,
    keeping,
    making,
    operating,
    serving,
    tables,
    tracking,
)
from cell_assets.errors import CellAssetsError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cell-assets")
def commands() -> None:
    """Data assets with lineage for labs that film living cells.

    \b
    Example, from a plate to an explained number:
      cell-assets ingest /data/plate.zarr --experiment E1 --plate P1
      cell-assets run --experiment E1 --preset quick
      cell-assets numbers --experiment E1
      cell-assets explain 7
    """


for command in (
    *(making.ingest, tables.ingest_table, making.run, making.train_beside, making.simulate),
    *(arriving.arrivals, arriving.retry_quarantined),
    *(tracking.tracks, tracking.correct),
    *(annotating.annotate, annotating.napari),
    *(auditing.numbers, auditing.explain, auditing.verify, auditing.impact, auditing.leakage),
    *(auditing.diff, auditing.same_pixels, auditing.reconcile, auditing.bundle, auditing.verify_bundle),
    *(operating.demo, operating.dev, operating.gc, operating.restore),
    *(keeping.backup, keeping.restore_backup, keeping.prepare),
    *(serving.serve, serving.healthy),
):
    commands.add_command(command)


def main() -> None:
    """Run the command; a fault that a person can act on is one line on stderr and exit code 1.

    A polite kill is answered as Ctrl-C is: what is in hand is given up in order, and no process stays behind.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        commands(standalone_mode=False)
    except CellAssetsError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "cell_assets"):
            raise
        click.echo(
            f"error: this command needs the package {package}, which is not installed: "
            "run pip install '.[lab]' in the checkout of cell_assets",
            err=True,
        )
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
