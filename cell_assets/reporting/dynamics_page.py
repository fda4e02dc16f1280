"""An animated page: where cells lie in the embedding at each time point (DynaCLR, videos 1 to 3).

One self-contained HTML file with its data and a small script inside; it asks nothing of any network.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from cell_assets.errors import BadInputError
from cell_assets.evaluation.units import FloatArray, IntArray, StrArray
from cell_assets.reporting.embedding_figures import Colouring, Projection
from cell_assets.reporting.style import OTHER, PALETTE
from cell_assets.reporting.wording import title_text

MOST_CELLS = 300
"""Shown of one set at one time point: enough to see where a population lies, few enough for a smooth page."""
MOST_BACKGROUND = 1500
"""Grey points of all time points together, behind those of the time point that is shown."""
SIDE = 1000
"""Coordinates are whole numbers from 0 to this."""
_MARGIN = 40
_SAME_TIME_H = 1e-5
"""Times are rounded to a tenth of this, so that a sum of them is as near as this to its time."""
NOT_KNOWN = "not known"


@dataclass(frozen=True)
class MovingCells:
    """One set of cells over time, for example the test cells of an experiment, or those of an independent one."""

    title: str
    track: StrArray
    """(N,) names, so that a cell keeps its point from one time to the next."""
    plate: StrArray
    """(N,) names of what was filmed together."""
    time: FloatArray
    """(N,) hours."""
    interval: float
    """Hours between two frames of a plate."""
    projections: tuple[Projection, ...]
    """Of the same N cells; all sets of a page have them by the same names, and are drawn to the scale of the first."""
    colourings: tuple[Colouring, ...]
    """A panel each; categories, of which missing ones are not known."""


def render_dynamics_page(
    title: str,
    sets: Sequence[MovingCells],
    *,
    time_title: str,
    is_simulated: bool,
    notes: Sequence[str] = (),
    most_cells: int = MOST_CELLS,
    seed: int = 0,
) -> str:
    """The page of these sets: a panel for every colouring of every set, and one time for all panels.

    The page has every time at which any plate was filmed; between its own frames a plate shows the last one.
    Of a set with more cells at a time point, `most_cells` are drawn with `seed`, by whole tracks as far as that goes.
    `notes` are sentences above the panels. The same content gives the same text.

    Raises:
        BadInputError: there is no cell, or sets have projections of different names.
    """
    if not sets or not any(len(one.time) for one in sets):
        raise BadInputError("an animated page needs at least one cell; give a set that has some")
    names = [projection.name for projection in sets[0].projections]
    for one in sets:
        if [projection.name for projection in one.projections] != names:
            raise BadInputError(
                f"cells of {one.title} are not projected to {', '.join(names)}; project them alike"
            )
    times = np.unique(np.concatenate([one.time for one in sets]))
    colours = _colours(sets)
    document = {
        "times": times.tolist(),
        "time_title": time_title,
        "projections": [
            {"name": projection.name, "axes": list(projection.axis_titles)}
            for projection in sets[0].projections
        ],
        "sets": [_set_data(one, sets, times, colours, most_cells, seed) for one in sets],
    }
    template = resources.files("cell_assets.reporting").joinpath("dynamics.html").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(
        title=title,
        simulated=is_simulated,
        notes=notes,
        most_cells=most_cells,
        side=SIDE,
        n_times=len(times),
        data=_as_script(document),
    )


def _colours(sets: Sequence[MovingCells]) -> dict[str, str]:
    """A colour for each category, the same in every panel, so that annotation and prediction compare."""
    names = {
        str(name)
        for one in sets
        for colouring in one.colourings
        for name in colouring.values.dropna().unique()
    }
    return {name: PALETTE[k % len(PALETTE)] for k, name in enumerate(sorted(names))} | {NOT_KNOWN: OTHER}


def _set_data(
    one: MovingCells,
    sets: Sequence[MovingCells],
    times: FloatArray,
    colours: dict[str, str],
    most_cells: int,
    seed: int,
) -> dict[str, object]:
    xy = np.hstack(
        [
            _to_page(projection.xy, np.vstack([other.projections[k].xy for other in sets]))
            for k, projection in enumerate(one.projections)
        ]
    )
    texts = [
        colouring.values.astype("object").where(colouring.values.notna(), NOT_KNOWN).astype(str)
        for colouring in one.colourings
    ]
    categories = [_in_order(text) for text in texts]
    codes = [
        text.map({name: k for k, name in enumerate(names)}).to_numpy(dtype=np.int64)
        for text, names in zip(texts, categories, strict=True)
    ]
    tracks, code = np.unique(one.track, return_inverse=True)
    rng = np.random.default_rng(seed)
    rank = rng.permutation(len(tracks))[code]
    background = np.sort(rng.permutation(len(xy))[:MOST_BACKGROUND])
    frames, totals = [], []
    for time in times:
        rows = _rows_at(one, time)
        totals.append(len(rows))
        rows = rows[np.argsort(rank[rows], kind="stable")][:most_cells]
        frames.append(
            [[int(code[row]), *xy[row].tolist(), *(int(of[row]) for of in codes)] for row in np.sort(rows)]
        )
    return {
        "title": one.title,
        "tracks": tracks.tolist(),
        "background": xy[background].tolist(),
        "frames": frames,
        "totals": totals,
        "colourings": [
            {
                "title": title_text(colouring.title),
                "names": names,
                "colours": [colours[name] for name in names],
            }
            for colouring, names in zip(one.colourings, categories, strict=True)
        ],
    }


def _rows_at(one: MovingCells, time: float) -> IntArray:
    """Rows of each plate's last frame: none before its first, nor by more than one interval after its last."""
    shown = np.zeros(len(one.time), dtype=np.bool_)
    for plate in np.unique(one.plate):
        own = one.plate == plate
        past = one.time[own & (one.time <= time)]
        if len(past) and time <= one.time[own].max() + one.interval + _SAME_TIME_H:
            shown |= own & (one.time == past.max())
    return np.flatnonzero(shown)


def _in_order(text: pd.Series) -> list[str]:
    """Categories by name, and last what is not known."""
    return sorted(text.unique(), key=lambda name: (name == NOT_KNOWN, name))


def _to_page(xy: FloatArray, every: FloatArray) -> np.ndarray:
    """Whole coordinates (N, 2) on the page, the scale that of `every` and alike in both directions, y downwards."""
    low, high = every.min(axis=0), every.max(axis=0)
    scale = (SIDE - 2 * _MARGIN) / max(float((high - low).max()), 1e-12)
    placed = (xy - (low + high) / 2) * scale * [1, -1] + SIDE / 2
    return np.rint(placed).astype(np.int64)


def _as_script(document: object) -> Markup:
    """JSON that can stand in a script element whatever its texts hold."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))
