"""Figure of one cell that turns (DynaCLR, Fig. 2): its way through the embedding, and how far it is from its start."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from cell_assets.evaluation.motion.dynamics import LagCurve
from cell_assets.evaluation.units import BoolArray, FloatArray, IntArray
from cell_assets.reporting.embedding_figures import Projection
from cell_assets.reporting.style import CONTINUOUS, INK, MUTED, OTHER, RIVAL, Sheet, bare, house_style

_MOST_POINTS = 20_000


@dataclass(frozen=True)
class TurningTrack:
    """A test track that is annotated to turn, frame by frame."""

    column: str
    state: str
    """What it turns into."""
    rows: IntArray
    """(T,) among the study's cells, by time."""
    minutes: FloatArray
    """(T,) since its first frame."""
    onset: float
    """Minutes since its first frame, of the first that is annotated to be in the state."""
    distance: FloatArray
    """(T,) from its first frame, of normalised features (Eq. 2)."""


@house_style()
def turning_figure(
    track: TurningTrack, in_state: BoolArray, projections: Sequence[Projection], mean: LagCurve | None
) -> bytes:
    """The way in every projection, and distance over time beside the mean of all test tracks.

    Args:
        in_state: (N,) cells that are annotated to be in the state.
        mean: of the distance from the first frame.
    """
    n = len(projections)
    sheet = Sheet(3.6 * n + 4.2, 3.5, columns=n + 1, width_ratios=[1.0] * n + [1.15])
    for axes, projection in zip(sheet.axes[0], projections, strict=False):
        _draw_way(axes, projection, track, in_state)
    axes = sheet.axes[0][n]
    if mean is not None:
        axes.fill_between(
            mean.lag_min, mean.mean - mean.sd, mean.mean + mean.sd, color=OTHER, alpha=0.35, linewidth=0
        )
        axes.plot(mean.lag_min, mean.mean, color=MUTED, label="all test tracks, mean ± sd")
    axes.plot(track.minutes, track.distance, "o-", color=INK, markersize=3, label="this track")
    axes.axvline(
        track.onset, color=RIVAL, linestyle=(0, (3, 2)), linewidth=1.2, label=f"annotated {track.state}"
    )
    axes.set_xlim(0, float(track.minutes[-1]))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("minutes since the first frame")
    axes.set_ylabel("distance from the first frame")
    axes.legend(loc="lower right")
    return sheet.png()


def _draw_way(axes: Axes, projection: Projection, track: TurningTrack, in_state: BoolArray) -> None:
    xy = projection.xy
    drawn = np.random.default_rng(0).permutation(len(xy))[:_MOST_POINTS]
    size = float(np.clip(6000 / max(len(drawn), 1), 1.5, 10))
    for chosen, colour, label in (
        (~in_state, OTHER, "other cells"),
        (in_state, RIVAL, f"annotated {track.state}"),
    ):
        shown = xy[drawn[chosen[drawn]]]
        axes.scatter(shown[:, 0], shown[:, 1], s=size, color=colour, alpha=0.35, linewidths=0, label=label)
    way = xy[track.rows]
    axes.plot(way[:, 0], way[:, 1], color=INK, linewidth=1.0)
    axes.scatter(
        way[:, 0], way[:, 1], c=track.minutes, cmap=CONTINUOUS, s=16, edgecolors=INK, linewidths=0.4, zorder=3
    )
    turned = way[np.searchsorted(track.minutes, track.onset)]
    axes.plot(*turned, "*", color=INK, markersize=11, markeredgecolor="white", zorder=4, label="turns")
    bare(axes)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(projection.axis_titles[0], color=MUTED, fontsize=8)
    axes.set_ylabel(projection.axis_titles[1], color=MUTED, fontsize=8)
    axes.set_title(projection.name)
