"""Commands about what lies in the landing folders."""

import json

import click

from cell_assets.cli.lab import open_lab
from cell_assets.cli.options import AS_JSON


@click.command()
@click.option("--experiment", metavar="E", help="Only folders whose plate.yaml names it.")
@AS_JSON
def arrivals(experiment: str | None, as_json: bool) -> None:
    """List every folder that arrived: accepted, ignored or in quarantine, why, and who released it.

    \b
    Example:
      cell-assets arrivals
      cell-assets arrivals --experiment E1 --json
    """
    from cell_assets.landing.listing import arrival_json, arrival_text

    with open_lab() as session:
        found = session.ledger.arrivals(experiment)
    if as_json:
        click.echo(json.dumps([arrival_json(one) for one in found], indent=1))
    else:
        click.echo("\n".join(arrival_text(one) for one in found) or "nothing has arrived yet")


@click.command("retry-quarantined")
@click.argument("what", metavar="FOLDER|PLATE")
@click.option("--why", required=True, help="What was mended, or why it is worth another try; recorded.")
@click.option("--by", "released_by", metavar="NAME", help="Who releases it; your login name by default.")
def retry_quarantined(what: str, why: str, released_by: str | None) -> None:
    """Let a folder out of quarantine: the sensor's next look tries it again, changed or not.

    A folder that was changed is tried again by itself once it is still.

    \b
    Example:
      cell-assets retry-quarantined /landing/plate_7 --why "the disk was full"
      cell-assets retry-quarantined P7 --why "map mended" --by Ada
    """
    from cell_assets.landing.quarantine import find_quarantined, login_name

    with open_lab() as session:
        arrival = find_quarantined(session.ledger.arrivals(), what)
        session.ledger.release_arrival(arrival.id, released_by or login_name(), why)
    click.echo(
        f"{arrival.folder} is released; the next look of the sensor in `cell-assets dev` tries it again"
    )
