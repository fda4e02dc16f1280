"""Pictures of single cells through their divisions, and all that a report shows along tracks. No Dagster here."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cell_assets.assets.inputs import ReportInputs
from cell_assets.evaluation.motion.disruption_study import ExampleTracks
from cell_assets.evaluation.motion.division_steps import DivisionTrajectory
from cell_assets.evaluation.motion.dynamics import distance_from_first
from cell_assets.evaluation.splits import Split, SplitUnit
from cell_assets.evaluation.states.onset import Course
from cell_assets.evaluation.studies.embedding_study import EmbeddingStudy
from cell_assets.evaluation.units import FloatArray, unit_ids
from cell_assets.imaging.patch_reading import open_patch_table
from cell_assets.reporting.disruption_figure import DisruptionPatches, pictured_frames
from cell_assets.reporting.division_figure import FamilyPatches, Highlight, pictured_rows, trajectory_table
from cell_assets.reporting.embedding_figures import Projection
from cell_assets.reporting.html import ReportFigure
from cell_assets.reporting.track_report import disruption_figures, division_figures, turning_figures
from cell_assets.reporting.turning_figure import TurningTrack

_DIVISION_STATE = "division_state"


def division_trajectories(study: EmbeddingStudy, projections: Sequence[Projection]) -> pd.DataFrame:
    """What the figure of divisions draws (`trajectory_table`); without rows where no test track is seen to divide."""
    families = () if study.divisions is None else study.divisions.trajectories
    return trajectory_table(study.embedded.cells, projections, _highlights(study), families, _minutes(study))


def _minutes(study: EmbeddingStudy) -> FloatArray:
    """(N,) of every cell image since the first time point; NaN without an interval, without which nothing divides."""
    interval = study.evaluation.settings.interval_min
    return study.embedded.cells["t"].to_numpy(dtype=np.float64) * (np.nan if interval is None else interval)


def track_figures(
    study: EmbeddingStudy,
    inputs: ReportInputs,
    projections: Sequence[Projection],
    trajectories: pd.DataFrame,
) -> tuple[ReportFigure, ...]:
    """Injected tracking errors, a cell that turns, and divisions, where there are any.

    Args:
        trajectories: as `division_trajectories` makes them.
    """
    interval = study.evaluation.settings.interval_min
    kinds = () if study.disruptions is None else study.disruptions.kinds
    swapped = [disruption_patches(one.example, study.embedded.cells, inputs) for one in kinds]
    figures = disruption_figures(study.disruptions, projections[-1], interval, swapped)
    turning = turning_tracks(study)
    figures += turning_figures(
        turning,
        [
            (study.annotations[one.column] == one.state).fillna(False).to_numpy(dtype=np.bool_)
            for one in turning
        ],
        projections,
        next(
            (one.dynamics.from_first for one in study.evaluation.dynamics if one.dynamics is not None), None
        ),
    )
    families = () if study.divisions is None else study.divisions.trajectories
    patches = [_family_patches(one, study, inputs, _minutes(study)) for one in families]
    return figures + division_figures(study.divisions, trajectories, projections, patches)


def disruption_patches(
    example: ExampleTracks, cells: pd.DataFrame, inputs: ReportInputs
) -> DisruptionPatches | None:
    """The middle planes of both tracks around the injected error; None where no patch is at hand.

    Args:
        cells: (N) that the example's rows point to.
    """
    t = pictured_frames(example)
    names = (example.event.track, example.event.partner)
    shown = example.rows[example.rows["t"].isin(t)]
    shown = shown[cells["row"].iloc[shown["row"]].notna().to_numpy()]
    if shown.empty:
        return None
    own = cells.iloc[shown["row"]]
    plate, position = str(own["plate"].iloc[0]), str(own["fov_name"].iloc[0])
    table = open_patch_table(inputs.tables[plate, position].folder, acquisition=inputs.raw[plate].folder)
    patches = table.read(own["row"].to_numpy(dtype=np.int64))
    planes = patches[:, :, patches.shape[2] // 2].astype(np.float64)
    place = (shown["track"] == names[1]).to_numpy(dtype=np.int64)
    frame = np.searchsorted(t, shown["t"].to_numpy(dtype=np.int64))
    images = np.full((2, len(t), *planes.shape[1:]), np.nan)
    images[place, frame] = planes
    is_own = np.zeros((2, len(t)), dtype=np.bool_)
    is_own[place, frame] = unit_ids(own, SplitUnit.TRACK) == shown["track"].to_numpy(dtype=np.str_)
    return DisruptionPatches(t, images, is_own)


def turning_tracks(study: EmbeddingStudy) -> list[TurningTrack]:
    """Of every state that lasts, the test track with an annotated onset that was followed for longest."""
    cells, interval = study.embedded.cells, study.evaluation.settings.interval_min
    found = []
    for dynamics in study.dynamics:
        if interval is None or dynamics.calls is None or dynamics.onsets is None:
            continue
        tracks = dynamics.onsets.tracks
        seen = tracks[(tracks["split"] == Split.TEST) & (tracks["annotated_course"] == Course.TURNS)]
        if seen.empty:
            continue
        longest = seen.loc[(seen["end_time"] - seen["start_time"]).idxmax()]
        is_own = np.logical_and.reduce(
            [
                (cells[name].astype(str) == str(longest[name])).to_numpy()
                for name in ("plate", "fov_name", "track_id")
            ]
        )
        rows = np.flatnonzero(is_own)
        rows = rows[np.argsort(cells["t"].to_numpy()[rows])]
        t = cells["t"].to_numpy(dtype=np.float64)[rows]
        found.append(
            TurningTrack(
                column=dynamics.column,
                state=dynamics.calls.direction.state,
                rows=rows,
                minutes=(t - t[0]) * interval,
                onset=float(longest["annotated_onset_t"] - t[0]) * interval,
                distance=distance_from_first(study.embedded.features[rows]),
            )
        )
    return found


def _highlights(study: EmbeddingStudy) -> tuple[Highlight, ...]:
    found = []
    if study.divisions is not None:
        task = next((one for one in study.evaluation.tasks if one.name == "about_to_divide"), None)
        title = "about to divide" if task is None else task.positive
        found.append(Highlight(title, study.divisions.near_division))
    if _DIVISION_STATE in study.annotations:
        values = study.annotations[_DIVISION_STATE]
        # Interphase is what nearly all cells are in: the rarer states are what is looked for.
        commonest = values.value_counts().index[:1]
        rare = values.notna() & ~values.isin(commonest)
        names = ", ".join(sorted(values[rare].astype(str).unique()))
        if rare.any():
            found.append(Highlight(f"annotated {names}", rare.to_numpy(dtype=np.bool_)))
    return tuple(found)


def _family_patches(
    family: DivisionTrajectory, study: EmbeddingStudy, inputs: ReportInputs, minutes: FloatArray
) -> FamilyPatches | None:
    """The middle planes of a few frames; None where one of them has no patch."""
    cells = study.embedded.cells
    rows, who = pictured_rows(family, cells["t"].to_numpy(dtype=np.int64))
    shown = cells.iloc[rows]
    if shown["row"].isna().any():
        return None
    plate, position = str(shown["plate"].iloc[0]), str(shown["fov_name"].iloc[0])
    table = open_patch_table(inputs.tables[plate, position].folder, acquisition=inputs.raw[plate].folder)
    patches = table.read(shown["row"].to_numpy(dtype=np.int64))
    return FamilyPatches(
        images=patches[:, :, patches.shape[2] // 2].astype(np.float64),
        minutes=minutes[rows] - minutes[family.parent[-1]],
        who=who,
    )
