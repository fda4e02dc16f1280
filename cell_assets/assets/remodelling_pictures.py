"""Example tracks of a channel that the embedding did not see, with their pictures. No Dagster here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cell_assets.assets.inputs import ReportInputs
from cell_assets.evaluation.features.remodelling import Remodelling
from cell_assets.evaluation.pixels.attribution_cells import evenly_spaced
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.states.onset import Course
from cell_assets.evaluation.states.state_calls import time_axis
from cell_assets.evaluation.states.state_dynamics import StateDynamics
from cell_assets.evaluation.studies.embedding_study import EmbeddingStudy
from cell_assets.evaluation.units import FloatArray, IntArray, unit_ids
from cell_assets.imaging.channels import ChannelKind, infer_channel_kind
from cell_assets.imaging.patch_reading import open_patch_table
from cell_assets.reporting.embedding_figures import Projection
from cell_assets.reporting.html import ReportFigure
from cell_assets.reporting.independent_report import HEADING, TRACKS
from cell_assets.reporting.remodelled_tracks import MOST_FRAMES, RemodelledTrack, remodelled_tracks_figure

_TURNING = 3
"""As the paper's Figure 6, beside one that does not turn."""


@dataclass(frozen=True)
class _Studied:
    """Cells around whose onsets the unseen channels were followed, and how their figures are told apart."""

    cells: pd.DataFrame
    interval_min: float | None
    dynamics: Sequence[StateDynamics]
    remodelling: Sequence[Remodelling]
    projection: Projection
    heading: str
    chosen_from: str


def remodelled_track_figures(
    study: EmbeddingStudy, inputs: ReportInputs, projections: Sequence[Projection]
) -> tuple[ReportFigure, ...]:
    """One for each unseen channel and state of which there are curves and patches, in the last projection."""
    settings = study.evaluation.settings
    own = _Studied(
        study.embedded.cells,
        settings.interval_min,
        study.dynamics,
        study.remodelling,
        projections[-1],
        "",
        f"{settings.test_split} tracks",
    )
    return _figures(own, study, inputs)


def independent_track_figures(
    study: EmbeddingStudy, inputs: ReportInputs, umap: Projection | None
) -> tuple[ReportFigure, ...]:
    """The same of independent plates (DynaCLR, Figure 6); none where there are none.

    Args:
        umap: of own cells, followed by theirs; None: principal axes of the former.
    """
    found = study.independent
    if found is None:
        return ()
    projection = (
        Projection("PCA", found.pca, ("PC 1", "PC 2"))
        if umap is None
        else replace(umap, xy=umap.xy[len(study.embedded.cells) :])
    )
    theirs = _Studied(
        found.cells,
        found.interval_min,
        found.dynamics,
        found.remodelling,
        projection,
        f"{HEADING}: ",
        TRACKS,
    )
    return _figures(theirs, study, inputs)


def _figures(of: _Studied, study: EmbeddingStudy, inputs: ReportInputs) -> tuple[ReportFigure, ...]:
    if of.interval_min is None:
        return ()
    hours, time_title = _hours(of.cells, of.interval_min)
    figures = []
    for place, one in enumerate(of.remodelling, start=1):
        dynamics = next((found for found in of.dynamics if found.column == one.column), None)
        if not one.curves or dynamics is None:
            continue
        channels = [one.channel, *_sensor(study)]
        tracks = [
            pictured_track(rows, onset_t, of.cells, inputs, channels, hours)
            for rows, onset_t in example_tracks(dynamics, of.cells, study.evaluation.settings.test_split)
        ]
        shown = [track for track in tracks if track is not None]
        if shown:
            figures.append(
                remodelled_tracks_figure(
                    f"{one.column}_remodelled_tracks_{place}",
                    one.state,
                    channels,
                    shown,
                    of.projection,
                    time_title,
                    heading=of.heading,
                    chosen_from=of.chosen_from,
                )
            )
    return tuple(figures)


def _hours(cells: pd.DataFrame, interval_min: float) -> tuple[FloatArray, str]:
    """(N,) time of every cell, and since when: the perturbation where it is known, else the first frame."""
    axis = time_axis(cells, interval_min)
    if axis.unit == "h":
        return axis.values, axis.title
    return axis.values / 60.0, "hours since the first frame"


def example_tracks(
    dynamics: StateDynamics, cells: pd.DataFrame, test_split: str
) -> list[tuple[IntArray, int | None]]:
    """A test track that never turns, then up to three that turn: rows of `cells` by time, and the called onset's frame.

    Of each kind those with most frames that have a patch; one that never turns is of a
    control where there is any.
    """
    if dynamics.onsets is None:
        return []
    tracks = dynamics.onsets.tracks
    tracks = tracks[tracks["split"] == test_split]
    pictured = cells.assign(at=np.arange(len(cells)))[cells["row"].notna().to_numpy()].sort_values("t")
    rows_of = {
        str(name): own["at"].to_numpy(dtype=np.int64)
        for name, own in pictured.groupby(unit_ids(pictured, SplitUnit.TRACK))
    }
    controls = (
        cells["is_control"].fillna(False).to_numpy(dtype=np.bool_)
        if "is_control" in cells.columns
        else np.zeros(len(cells), dtype=np.bool_)
    )
    found: list[tuple[IntArray, int | None]] = []
    for course, most in ((Course.NEVER, 1), (Course.TURNS, _TURNING)):
        of_course = tracks[tracks["course"] == course]
        candidates = [
            (rows_of[name], None if course is Course.NEVER else int(onset_t))
            for name, onset_t in zip(
                unit_ids(of_course, SplitUnit.TRACK).tolist(), of_course["onset_t"], strict=True
            )
            if name in rows_of
        ]
        prefers_controls = course is Course.NEVER
        candidates.sort(key=lambda one: (prefers_controls and not controls[one[0][0]], -len(one[0])))
        found += candidates[:most]
    return found


def _sensor(study: EmbeddingStudy) -> list[str]:
    """The first fluorescence channel that the network saw, where it saw any."""
    seen = [
        name for name in study.embedded.channels or () if infer_channel_kind(name) is ChannelKind.FLUORESCENCE
    ]
    return seen[:1]


def pictured_track(
    rows: IntArray,
    onset_t: int | None,
    cells: pd.DataFrame,
    inputs: ReportInputs,
    channels: Sequence[str],
    hours: FloatArray,
) -> RemodelledTrack | None:
    """The track and the cell at evenly spaced frames; None where its patches are not of all `channels`.

    Args:
        rows: of `cells` (N), by time, each with a patch.
        onset_t: frame of the called onset; None where there is none.
        hours: (N,)
    """
    own = cells.iloc[rows]
    plate, position = str(own["plate"].iloc[0]), str(own["fov_name"].iloc[0])
    tables = {**inputs.tables, **inputs.independent_tables}
    table = open_patch_table(tables[plate, position].folder, acquisition=inputs.raw[plate].folder)
    names = table.info.channel_names
    if not set(channels) <= set(names):
        return None
    shown = evenly_spaced(np.arange(len(rows)), MOST_FRAMES)
    patches = table.read(own["row"].to_numpy(dtype=np.int64)[shown])
    t = own["t"].to_numpy(dtype=np.int64)[shown]
    return RemodelledTrack(
        track=f"track {own['track_id'].iloc[0]}",
        condition=str(own["condition"].iloc[0]),
        rows=rows,
        images=patches[:, [names.index(one) for one in channels]].max(axis=2).astype(np.float64),
        hours=hours[rows[shown]],
        in_state=np.zeros(len(t), dtype=np.bool_) if onset_t is None else t >= onset_t,
    )
