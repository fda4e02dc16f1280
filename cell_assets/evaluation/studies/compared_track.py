"""One cell that turns, to be followed through the embeddings of several trainings (DynaCLR, Fig. 2a and 2c)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cell_assets.evaluation.splits import Split
from cell_assets.evaluation.states.onset import Course
from cell_assets.evaluation.studies.held_out_cells import KEYS
from cell_assets.evaluation.studies.published_report import PublishedReport
from cell_assets.evaluation.units import BoolArray

_TRACK = KEYS[:3]


@dataclass(frozen=True)
class ComparedTrack:
    """A test track that all reports know."""

    column: str
    """Annotation that it turns in."""
    plate: str
    fov_name: str
    track_id: int
    onset_t: int
    """First time point that is annotated to be in the state that it turns into."""

    def rows(self, cells: pd.DataFrame) -> BoolArray:
        """(N,) which cells of a `held_out_cells` table are its."""
        own = zip(_TRACK, (self.plate, self.fov_name, str(self.track_id)), strict=True)
        return np.logical_and.reduce([(cells[name].astype(str) == value).to_numpy() for name, value in own])

    def words(self) -> str:
        """For people."""
        return f"track {self.track_id} of {self.plate} {self.fov_name}"


def compared_track(reports: Sequence[PublishedReport]) -> ComparedTrack | None:
    """Of the test tracks that are annotated to turn in every report, that which was followed for longest.

    Of several columns the first by name that has one; of equally long tracks the first. None where there is none.

    Args:
        reports: with `held_out_cells`.
    """
    for column in sorted(set.intersection(*({*one.onsets} for one in reports))):
        shared = [_turning(one, column) for one in reports]
        found = shared[0]
        for other in shared[1:]:
            found = found.merge(other[_TRACK], on=_TRACK)
        if len(found):
            found["length"] = found["annotated_end_time"] - found["annotated_start_time"]
            first = found.sort_values(["length", *_TRACK], ascending=[False, True, True, True]).iloc[0]
            return ComparedTrack(
                column,
                str(first["plate"]),
                str(first["fov_name"]),
                int(first["track_id"]),
                int(first["annotated_onset_t"]),
            )
    return None


def _turning(report: PublishedReport, column: str) -> pd.DataFrame:
    """Tracks of which the report also keeps the cells."""
    onsets = report.onsets[column]
    turning = onsets[(onsets["split"] == Split.TEST) & (onsets["annotated_course"] == Course.TURNS)]
    assert report.held_out_cells is not None
    return turning.merge(report.held_out_cells[_TRACK].drop_duplicates(), on=_TRACK)
