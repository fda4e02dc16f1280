"""Commands that serve a lab and tidy up after it."""

import json
from dataclasses import asdict

import click

from cell_assets.cli.lab import open_lab
from cell_assets.cli.options import AS_JSON


@click.command()
def demo() -> None:
    """Simulate a small two-condition experiment, run the whole graph, and explain one of its numbers.

    \b
    Example:
      CELL_ASSETS_HOME=./demo cell-assets demo
    """
    from cell_assets.automation.demo import run_demo

    with open_lab() as session:
        result = run_demo(session, lambda line: click.echo(line, err=True))
    click.echo(f"\n{result.numbers}\n\nNumber {result.explained}, explained:\n\n{result.explanation}")
    click.echo(f"\nreport: {result.report}")


@click.command()
@click.option("--port", type=int, help="Of the Dagster UI; 3000, or a free one where that is taken.")
@click.option("--mlflow-port", type=int, help="Of the MLflow UI; 5000, or a free one where that is taken.")
def dev(port: int | None, mlflow_port: int | None) -> None:
    """Serve the Dagster UI, its daemon and the MLflow UI on this machine until Ctrl-C.

    \b
    Example:
      cell-assets dev --port 3000
    """
    from cell_assets.automation.serving import Ports, Served, serve
    from cell_assets.database.embedded import open_database
    from cell_assets.settings import Settings

    def say(served: Served) -> None:
        click.echo(f"Dagster UI  {served.dagster}\nMLflow UI   {served.mlflow}\nlogs        {served.logs}")
        click.echo("Ctrl-C stops everything.")

    settings = Settings()
    with open_database(settings) as addresses:
        serve(settings, addresses, Ports(port, mlflow_port), say)


@click.command()
@AS_JSON
def gc(as_json: bool) -> None:
    """Remove what crashes left behind: staging folders and unrecorded copies whose lease has ended.

    \b
    Example:
      cell-assets gc
    """
    with open_lab() as session:
        report = session.store.sweep()
    if as_json:
        click.echo(json.dumps(asdict(report), indent=1))
    else:
        click.echo(
            f"removed {report.removed_staging} staging entries and {len(report.removed_orphans)} unrecorded "
            f"copies, {report.freed_bytes / 1e6:.1f} MB; left {len(report.kept_intents)} living writers alone"
        )
