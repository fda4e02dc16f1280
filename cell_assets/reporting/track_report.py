"""Captions of the figures along tracks: injected tracking errors and divisions, with their numbers."""

from collections.abc import Sequence

import pandas as pd

from cell_assets.evaluation.motion.disruption_study import COMBINED, MOTION, KindStudy, TrackDisruptions
from cell_assets.evaluation.motion.division_steps import DivisionSteps
from cell_assets.evaluation.motion.dynamics import LagCurve
from cell_assets.evaluation.resampling import Estimate
from cell_assets.evaluation.units import BoolArray
from cell_assets.reporting.disruption_figure import (
    DisruptionPatches,
    disruption_example_figure,
    disruption_figure,
)
from cell_assets.reporting.division_figure import FamilyPatches, division_figure
from cell_assets.reporting.embedding_figures import Projection
from cell_assets.reporting.html import ReportFigure
from cell_assets.reporting.turning_figure import TurningTrack, turning_figure
from cell_assets.reporting.wording import estimate_text, title_text, value_text


def disruption_figures(
    found: TrackDisruptions | None,
    projection: Projection,
    interval_min: float | None,
    patches: Sequence[DisruptionPatches | None],
) -> tuple[ReportFigure, ...]:
    """Detection, and an example, of every kind of error that could be injected; where none could the numbers say why.

    Args:
        projection: of all cells.
        patches: of each kind's example, None where they are not at hand.
    """
    if found is None or not found.kinds or interval_min is None:
        return ()
    chosen = found.parameters
    sentences = [
        "Errors were put into tracks that are taken as true: in a swap two neighbours exchange names from a frame on, "
        f"in a merge a track shows its neighbour for 1 to {chosen.max_merged_frames} frames (DynaCLR, Appendix "
        f"Figure 3). Partners are among the {chosen.nearest} cells that come nearest, within "
        f"{chosen.max_distance_um:g} µm.",
        *(sentence for kind in found.kinds for sentence in _kind(kind)),
        "A step is scored by its length in the embedding (Eq. 3) per frame, less what is usual for its track and for "
        "cells at large, over the usual spread; thresholds are learned on train and val tracks.",
    ]
    first, second = projection.axis_titles
    example = (
        "One error of each kind, in the two tracks that were followed for longest on both sides, so that none was "
        f"picked for its looks. {first} solid, {second} dashed; at a vertical line a name changes its cell."
    )
    if projection.name == "PCA":
        example += " There is no UMAP of these cells, so principal components are drawn instead."
    if any(one is not None for one in patches):
        example += " Right: what either name shows then, outlined in the colour of the track that the cell is truly of."
    return (
        ReportFigure(
            name="track_disruptions",
            title="Whether the embedding notices that a track jumps to another cell",
            caption=" ".join(sentences),
            png=disruption_figure(found.kinds),
        ),
        ReportFigure(
            name="track_disruption_examples",
            title="What a track looks like that jumps to another cell",
            caption=example,
            png=disruption_example_figure(found.kinds, projection, interval_min, patches),
        ),
    )


def turning_figures(
    tracks: Sequence[TurningTrack],
    in_state: Sequence[BoolArray],
    projections: Sequence[Projection],
    mean: LagCurve | None,
) -> tuple[ReportFigure, ...]:
    """One figure for every state that lasts; `in_state` (N,) are the cells annotated to be in it."""
    return tuple(
        ReportFigure(
            name=f"{track.column}_course",
            title=f"One cell turns {title_text(track.state)}",
            caption=(
                "Left: the way of one cell, from dark to light, among all cells; the star is the first frame that is "
                f"annotated {title_text(track.state)}. Right: how far its normalised features are from those of its "
                "first frame (Eq. 2), 0 to 2. It is the test track with an annotated onset that was followed for "
                "longest, so it was not picked for its looks. UMAP keeps neighbours and not distances."
            ),
            png=turning_figure(track, cells, projections, mean),
        )
        for track, cells in zip(tracks, in_state, strict=True)
    )


def division_figures(
    found: DivisionSteps | None,
    trajectories: pd.DataFrame,
    projections: Sequence[Projection],
    patches: Sequence[FamilyPatches | None],
) -> tuple[ReportFigure, ...]:
    """One figure of up to three test tracks that divide; none where no test track is seen to.

    Args:
        trajectories: as `trajectory_table` makes them of what was found and the projections.
    """
    if found is None or not found.trajectories:
        return ()
    caption = (
        "All cells in grey, those that are labelled coloured. The test tracks with both daughters that were followed "
        "for longest, so they were not picked for their looks; the star is the parent's last frame. Mean displacement "
        f"(Eq. 3) over one frame: {estimate_text(found.estimate('before_division'))} where the step ends right before "
        f"a division, {estimate_text(found.estimate('other_steps'))} elsewhere, a ratio of "
        f"{estimate_text(found.estimate('before_division_over_other_steps'))}"
        f"{_verdict(found.estimate('before_division_over_other_steps'))}; from the parent's last frame to its "
        f"daughters' next one it is {estimate_text(found.estimate('across_division'))}. UMAP keeps neighbours and not "
        "distances."
    )
    return (
        ReportFigure(
            name="division_trajectories",
            title="Trajectories through a division",
            caption=caption,
            png=division_figure(trajectories, projections, patches),
        ),
    )


def _kind(study: KindStudy) -> list[str]:
    gain = study.estimate(f"average_precision_gain_over_{MOTION}")
    added = study.estimate(f"average_precision_gain_of_{COMBINED}_over_{MOTION}")
    return [
        f"{study.kind.capitalize()}, {study.n_events_test} in test tracks: average precision of the embedding "
        f"{estimate_text(study.estimate('average_precision'))}, of motion alone "
        f"{estimate_text(study.estimate('average_precision', MOTION))}, of both combined "
        f"{estimate_text(study.estimate('average_precision', COMBINED))}; embedding less motion "
        f"{estimate_text(gain)}, combined less motion {estimate_text(added)}. Of the disrupted steps a share of "
        f"{value_text(study.estimate('recall').value)} is found by the embedding, with a precision of "
        f"{value_text(study.estimate('precision').value)}. A share of "
        f"{value_text(study.estimate('share_that_looks_different').value)} joins cells that look more different than "
        "19 of 20 ordinary steps do, and could be found from looks: of those, "
        f"{value_text(study.estimate('recall_where_different').value)} are found; of those that look alike, "
        f"{value_text(study.estimate('recall_where_alike').value)}."
    ]


def _verdict(ratio: Estimate) -> str:
    if ratio.low is None or ratio.high is None:
        return ""
    if ratio.low > 1:
        return ", so cells about to divide move further"
    if ratio.high < 1:
        return ", so cells about to divide move less"
    return ", which does not tell the two apart"
