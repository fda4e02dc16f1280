"""The figure of smoothness beside identity, and the words that say which of the two it shows."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from cell_assets.evaluation.motion.identity_study import IdentityStudy
from cell_assets.evaluation.resampling import Estimate
from cell_assets.evaluation.studies.evaluate import SpaceDynamics
from cell_assets.reporting.html import ReportFigure
from cell_assets.reporting.score_figures import draw_interval
from cell_assets.reporting.style import ACCENT, MUTED, PALETTE, Sheet, house_style
from cell_assets.reporting.wording import estimate_text, title_text, value_text


@dataclass(frozen=True)
class _Row:
    title: str
    estimate: Estimate
    colour: str
    reference: float | None = None
    """What knowing nothing gives."""


def identity_figures(identity: IdentityStudy, spaces: Sequence[SpaceDynamics]) -> tuple[ReportFigure, ...]:
    """One figure, where the test cells move in feature space at all."""
    features = next((space.dynamics for space in spaces if space.space == "features"), None)
    if features is None or features.smoothness.value is None:
        return ()
    left = [
        _Row("as it is", features.smoothness, ACCENT),
        _Row("track's mean taken away", identity.smoothness_identity_removed.estimate, PALETTE[2]),
        _Row(f"one frame over {features.ratio_lag_frames}", features.displacement_ratio, MUTED),
    ]
    same = identity.same_cell.estimate
    right = [
        _Row("same cell is nearest", same, PALETTE[1], identity.same_cell_chance.estimate.value),
        _Row("variance between tracks", identity.variance_between_tracks.estimate, PALETTE[1], 0.0),
        *(
            _Row(f"{title_text(one.state)} in other FOVs", one.in_other_fovs.estimate, ACCENT, 0.5)
            for one in identity.states
        ),
        *(
            _Row(f"{title_text(one.state)} given the track", one.given_track.estimate, ACCENT, 0.0)
            for one in identity.states
        ),
    ]
    return (
        ReportFigure(
            "smoothness_and_identity",
            "Smooth because of states, or of who the cell is?",
            _caption(identity, features.smoothness),
            identity_figure(
                [row for row in left if row.estimate.value is not None],
                [row for row in right if row.estimate.value is not None],
            ),
        ),
    )


@house_style()
def identity_figure(smoothness: Sequence[_Row], identity: Sequence[_Row]) -> bytes:
    """Smoothness before and after the track's mean is taken away; what is known of cells and of states beside it."""
    n_rows = max(len(smoothness), len(identity))
    sheet = Sheet(10.4, max(1.9, 0.32 * n_rows + 1.0), columns=2)
    left, right = sheet.axes[0]
    _draw(left, smoothness, "movement per interval")
    left.axvline(1.0, color=MUTED, linestyle=(0, (4, 3)), linewidth=1.2)
    left.set_xlim(0, max(1.1, left.get_xlim()[1]))
    left.set_title("Smoothness")
    _draw(right, identity, "share")
    right.set_xlim(-0.03, 1.03)
    right.set_title("Identity and state")
    return sheet.png()


def _draw(axes: Axes, rows: Sequence[_Row], x_label: str) -> None:
    for place, row in enumerate(rows):
        draw_interval(axes, row.estimate, place, row.colour)
        if row.reference is not None:
            axes.plot([row.reference], [place], "|", color=MUTED, markersize=12, markeredgewidth=1.6)
    axes.set_yticks(range(len(rows)), [row.title for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(x_label)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")


def _caption(identity: IdentityStudy, smoothness: Estimate) -> str:
    sentences = [
        "Dots are values, bars 95 % intervals. Left: movement over one interval, where strangers (or, in grey, the "
        "longer lag) are 1 apart. Right: in orange what is known of who the cell is, in blue of its state; ticks are "
        "what knowing nothing gives.",
        f"Smoothness is {estimate_text(smoothness)}; once each track's mean is taken away it is "
        f"{estimate_text(identity.smoothness_identity_removed.estimate)}. Near 1 or a little above, only the mean, "
        "that is who the cell is, made it smooth; well below 1, the cell itself moves on smoothly.",
        f"The nearest cell of the same FOV at least {identity.gap_frames} frames away is the same cell in a share of "
        f"{estimate_text(identity.same_cell.estimate)}; a blind choice is right in "
        f"{value_text(identity.same_cell_chance.estimate.value)}.",
    ]
    sentences += [
        f"{title_text(one.state).capitalize()}: balanced accuracy of the vote of the {identity.neighbours} nearest "
        f"cells of other FOVs, none of which can be the cell itself: {estimate_text(one.in_other_fovs.estimate)} (one "
        "half by chance). Share of the variance within tracks that the state explains: "
        f"{estimate_text(one.given_track.estimate)}."
        for one in identity.states
    ]
    return " ".join(sentences)
