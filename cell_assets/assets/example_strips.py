"""The test tracks that a report shows frame by frame, with their patches. No Dagster here."""

import numpy as np

from cell_assets.assets.inputs import ReportInputs
from cell_assets.assets.track_pictures import turning_tracks
from cell_assets.evaluation.pixels.attribution_cells import evenly_spaced
from cell_assets.evaluation.scores.task_scores import TaskEvaluation
from cell_assets.evaluation.studies.embedding_study import EmbeddingStudy
from cell_assets.evaluation.units import FloatArray, IntArray
from cell_assets.imaging.patch_reading import open_patch_table
from cell_assets.reporting.embedding_figures import MOST_FRAMES, PatchStrip
from cell_assets.reporting.turning_figure import TurningTrack
from cell_assets.reporting.wording import title_text

_MOST_STRIPS = 3


def example_strips(study: EmbeddingStudy, inputs: ReportInputs) -> tuple[PatchStrip, ...]:
    """One for each of up to three tasks that have an example with patches: a cell that turns before all others.

    Of a state that lasts, a cell that turns (DynaCLR, Fig. 2a), from its first frame to its last; of anything else the
    end of the longest track with a positive frame.
    """
    turning = {track.column: track for track in turning_tracks(study)}
    strips: list[PatchStrip] = []
    for task in sorted(study.evaluation.tasks, key=lambda one: one.name not in turning):
        track = turning.get(task.name)
        rows, minutes = _ends(task, study) if track is None else _turns(track)
        if len(strips) < _MOST_STRIPS and len(rows) and study.embedded.cells["row"].iloc[rows].notna().all():
            clock = (
                "minutes before the end of the track"
                if track is None
                else f"minutes from the first frame that is annotated {title_text(track.state)}"
            )
            strips.append(_strip(task, rows, minutes, clock, study, inputs))
    return tuple(strips)


def _turns(track: TurningTrack) -> tuple[IntArray, FloatArray]:
    shown = evenly_spaced(np.arange(len(track.rows)), MOST_FRAMES)
    return track.rows[shown], track.minutes[shown] - track.onset


def _ends(task: TaskEvaluation, study: EmbeddingStudy) -> tuple[IntArray, FloatArray]:
    rows = task.example_rows[-MOST_FRAMES:]
    t = study.embedded.cells["t"].to_numpy(dtype=np.float64)[rows]
    return rows, (t - t[-1:]) * (study.evaluation.settings.interval_min or 0.0)


def _strip(
    task: TaskEvaluation,
    rows: IntArray,
    minutes: FloatArray,
    clock: str,
    study: EmbeddingStudy,
    inputs: ReportInputs,
) -> PatchStrip:
    shown = study.embedded.cells.iloc[rows]
    plate, position = str(shown["plate"].iloc[0]), str(shown["fov_name"].iloc[0])
    table = open_patch_table(inputs.tables[plate, position].folder, acquisition=inputs.raw[plate].folder)
    patches = table.read(shown["row"].to_numpy(dtype=np.int64))
    keys = ["plate", "fov_name", "track_id", "t"]
    seen = shown[keys].merge(task.predictions, on=keys, how="left")
    return PatchStrip(
        task=task.name,
        images=patches[:, :, patches.shape[2] // 2].astype(np.float64),
        channel_names=table.info.channel_names,
        minutes=minutes,
        clock=clock,
        probability=seen["probability"].to_numpy(dtype=np.float64),
        probability_title=f"probability of “{task.positive}”",
    )
