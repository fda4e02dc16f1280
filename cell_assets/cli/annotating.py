"""Commands by which people say what they see in cells, and look at them in napari."""

import os
import sys
from pathlib import Path

import click

from cell_assets.cli.lab import open_lab
from cell_assets.cli.options import AS_JSON, login_name
from cell_assets.errors import BadInputError


@click.command()
@click.argument("plate")
@click.argument("position")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--why", required=True, metavar="TEXT", help="What was looked at, for whoever meets the labels."
)
@click.option("--by", metavar="NAME", help="Who annotated; your login name by default.")
@click.option(
    "--column", "columns", multiple=True, metavar="NAME", help="A column of states; all others by default."
)
@click.option(
    "--state", "states", multiple=True, metavar="VALUE=NAME", help="What a value means, such as 2=infected."
)
@AS_JSON
def annotate(
    plate: str,
    position: str,
    file: Path,
    why: str,
    by: str | None,
    columns: tuple[str, ...],
    states: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say by FILE which states the cells of one FOV are in; `run` then makes the report again, and nothing else.

    FILE is a CSV with track_id and t (or t, y, x, where only the place is known) and one column per kind of state;
    a points layer that napari saved as CSV; or a label image (TIFF, as napari saves labels), with --column and
    --state. A place stands for the cell whose centroid is nearest, at most 4 px away at the same time. A track that
    divided before stands for its descendants. A later file adds to earlier ones and replaces what they say of the
    same cell and column; each state so replaced is named, with the file and the person who said it. A blank says
    nothing. Two states for one cell in one file are refused; rows without a cell are listed.

    \b
      track_id,t,infection
      3,0,uninfected
      3,12,infected

    \b
    Example:
      cell-assets annotate P1 A/1/000 infection.csv --why "read from the sensor channel" --by "M. Curie"
      cell-assets annotate P1 A/1/000 painted.tif --why "painted in napari" --column infection \\
        --state 1=uninfected --state 2=infected
    """
    from cell_assets.assets.annotations import AnnotationRequest, file_digest
    from cell_assets.automation.annotating import annotate_position

    request = AnnotationRequest(
        plate=plate,
        position=position,
        file=str(file.absolute()),
        digest=file_digest(file.absolute()),
        by=login_name() if by is None else by,
        why=why,
        columns=columns,
        names=_names(states),
    )
    with open_lab() as session:
        result = annotate_position(session, request)
    click.echo(result.model_dump_json(indent=1) if as_json else result.sentence())


def _names(states: tuple[str, ...]) -> dict[str, str]:
    names: dict[str, str] = {}
    for text in states:
        value, equals, name = (part.strip() for part in text.partition("="))
        if not (value and equals and name):
            raise BadInputError(f"--state {text!r}: give a value and its name, such as 2=infected")
        if value in names:
            raise BadInputError(
                f"--state {text!r}: the value {value} has the name {names[value]} already; keep one"
            )
        names[value] = name
    return names


@click.command()
@click.argument("experiment")
@click.argument("plate")
@click.argument("fov")
def napari(experiment: str, plate: str, fov: str) -> None:
    """Open one FOV in napari: channels, cells, tracks with their divisions, annotations, and the newest embeddings
    of EXPERIMENT as coloured points, whose projection is in napari's features table.

    To annotate, add a feature to points or paint a new labels layer, save it (Ctrl-S), and hand it to `annotate`.

    \b
    Example:
      cell-assets napari E1 P1 A/1/000
    """
    refuse_without_window()
    from cell_assets.automation.viewing import fov_view

    with open_lab() as session:
        view = fov_view(session.store, experiment, plate, fov)
    for sentence in view.absent:
        click.echo(sentence, err=True)
    from napari import Viewer, run
    from napari.layers import Layer

    viewer = Viewer(title=view.title)
    for layer in view.layers:
        viewer.add_layer(Layer.create(*layer))
    viewer.window.add_plugin_dock_widget("napari", "Features table widget")
    run()


def refuse_without_window() -> None:
    """Nothing where a window can be opened. Qt itself would end the process without a display.

    Raises:
        BadInputError: there is no napari, no Qt or no display.
    """
    try:
        import napari as _  # noqa: F401
        import qtpy.QtWidgets  # noqa: F401
    except ImportError as error:
        raise BadInputError(
            f"napari cannot open a window here ({error}): run pip install '.[lab,napari]' in the checkout of "
            "cell_assets"
        ) from None
    named = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in named):
        raise BadInputError(
            "there is no display here: run it on the machine where you sit, or through `ssh -X`"
        )
