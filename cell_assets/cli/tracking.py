"""Commands by which people take tracks out, correct them and bring them back."""

from pathlib import Path

import click

from cell_assets.cli.lab import open_lab
from cell_assets.cli.options import AS_JSON, login_name


@click.command()
@click.argument("plate")
@click.argument("position")
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="New file: .geff (napari, motile tracker) or .csv.",
)
@AS_JSON
def tracks(plate: str, position: str, out: Path, as_json: bool) -> None:
    """Write the tracks of one FOV as they stand to a file for other tools, and for `correct`.

    Positions are voxels and times frames; a GEFF's axes hold voxel size and interval.

    \b
    Example:
      cell-assets tracks P1 A/1/000 -o tracks.geff
    """
    from cell_assets.automation.correcting import export_tracks

    with open_lab() as session:
        result = export_tracks(session, plate, position, out)
    click.echo(result.model_dump_json(indent=1) if as_json else result.sentence())


@click.command()
@click.argument("plate")
@click.argument("position")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--why", required=True, metavar="TEXT", help="What was wrong, for whoever meets the tracks.")
@click.option("--by", metavar="NAME", help="Who corrected; your login name by default.")
@AS_JSON
def correct(plate: str, position: str, file: Path, why: str, by: str | None, as_json: bool) -> None:
    """Correct the tracks of one FOV by FILE; `run` then makes what rests on them again, and nothing else.

    FILE is a CSV of corrections with the columns action, track_id, t, other_track_id, or the whole table that
    `tracks` wrote (GEFF or CSV), edited. Corrections apply one after the other to the tracks as they stand,
    after those of earlier files; a whole table takes the place of all. In a GEFF the edges decide what a
    track is.

    \b
      merge,3,,8     track 8, which begins later, becomes part of track 3
      split,3,12,40  from t=12 on, track 3 is the new track 40
      delete,3,12,   the cell of track 3 at t=12 goes; without a t, the whole track
      relink,8,,3    track 8 becomes a daughter of track 3; without a 3, of none

    \b
    Example:
      cell-assets correct P1 A/1/000 corrections.csv --why "cells 3 and 8 are one" --by "M. Curie"
      cell-assets correct P1 A/1/000 edited.geff --why "lineage checked in napari"
    """
    from cell_assets.assets.corrections import CorrectionRequest
    from cell_assets.automation.correcting import correct_position

    request = CorrectionRequest(
        plate=plate,
        position=position,
        file=str(file.absolute()),
        by=login_name() if by is None else by,
        why=why,
    )
    with open_lab() as session:
        result = correct_position(session, request)
    click.echo(result.model_dump_json(indent=1) if as_json else result.sentence())
