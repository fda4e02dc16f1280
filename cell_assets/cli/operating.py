"""Commands that serve a lab and tidy up after it."""

import json
import sys
from datetime import timedelta

import click

from cell_assets.cli.lab import open_lab
from cell_assets.cli.options import AS_JSON
from cell_assets.errors import BadInputError


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
    from cell_assets.settings import Executor, Settings

    def say(served: Served) -> None:
        click.echo(f"Dagster UI  {served.dagster}\nMLflow UI   {served.mlflow}\nlogs        {served.logs}")
        click.echo("Ctrl-C stops everything.")

    settings = Settings()
    if settings.executor is Executor.K8S:
        raise BadInputError(
            "CELL_ASSETS_EXECUTOR=k8s: `cell-assets dev` launches runs on this machine, which have no pods for their "
            "steps; unset it here, and serve a cluster with docker/k8s/values.yaml"
        )
    with open_database(settings) as addresses:
        serve(settings, addresses, Ports(port, mlflow_port), say)


@click.command()
@click.argument("named", nargs=-1, metavar="[ARTIFACT|PLATE|PLATE|FOV]...")
@click.option(
    "--asset", help="Of a plate or FOV, only this asset: patch_table, segmentation or manifest_patches."
)
@click.option(
    "--older-than",
    type=click.IntRange(0),
    metavar="DAYS",
    help="Let go of what is superseded or withdrawn for so long; CELL_ASSETS_EVICT_AFTER_DAYS.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go, how large it is and why, and stop.")
@AS_JSON
def gc(
    named: tuple[str, ...], asset: str | None, older_than: int | None, dry_run: bool, as_json: bool
) -> None:
    """Remove what crashes left behind, and let go of bytes that can be made again.

    Bytes go when they can be made again from the store alone, no number rests on them, and they are superseded or
    withdrawn for long enough, or named here. Their history and the digests of their files stay. Where a bucket keeps
    the artifacts (CELL_ASSETS_STORE), copies here that were not read for CELL_ASSETS_COPY_DAYS, and that no process
    reads now, go too.

    \b
    Example:
      cell-assets gc --dry-run
      cell-assets gc --older-than 90
      cell-assets gc P2 --asset patch_table
    """
    from cell_assets.assets.evicting import Evicted, evict, named_artifacts, plan_evictions, plan_named
    from cell_assets.cli.evictions import to_json, to_text
    from cell_assets.store.room import said_bytes

    if named and older_than is not None:
        raise click.UsageError("give either what is to go by name or --older-than")
    with open_lab() as session:
        store = session.store
        swept = store.foresee_sweep() if dry_run else store.sweep()
        if named:
            plan = plan_named(store, [one for name in named for one in named_artifacts(store, name, asset)])
        else:
            days = session.settings.evict_after_days if older_than is None else older_than
            plan = plan_evictions(store, timedelta(days=days))
        done = Evicted(plan.going, plan.staying, plan.n_bytes) if dry_run else evict(store, plan)
        copies = 0 if dry_run or named else store.let_go_of_copies(timedelta(days=session.settings.copy_days))
    if as_json:
        click.echo(to_json(done, swept, copies, dry_run=dry_run))
    else:
        if copies:
            click.echo(f"let go of {said_bytes(copies)} of copies that nobody reads; the bucket keeps them")
        click.echo(to_text(done, swept, dry_run=dry_run, each_kept=bool(named)))
    if named and done.staying:
        sys.exit(1)


@click.command()
@click.argument("artifacts", nargs=-1, required=True, type=int, metavar="ARTIFACT...")
@AS_JSON
def restore(artifacts: tuple[int, ...], as_json: bool) -> None:
    """Make evicted bytes again, from what they were made from, and put them back if they are the same.

    \b
    Example:
      cell-assets restore 12
    """
    from cell_assets.assets.restoring import restore as restore_artifact

    with open_lab() as session:
        for artifact in artifacts:
            restored = restore_artifact(session.store, artifact)
            one = {"artifact": restored.artifact.id, "digest": restored.artifact.digest}
            click.echo(json.dumps(one) if as_json else restored.sentence)
