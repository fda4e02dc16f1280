"""States that a rival of the embedding predicted itself, cell by cell: their files, and their place in a task."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from cell_assets.errors import BadInputError
from cell_assets.evaluation.scores.task_scores import GivenPrediction
from cell_assets.evaluation.scores.tasks import INDEPENDENT_SUFFIX, Labels
from cell_assets.evaluation.splits import Split
from cell_assets.imaging.parquet_tables import read_parquet, write_parquet

PREDICTED_PARQUET = "states.parquet"
PREDICTED_JSON = "states.json"
PREDICTED_COLUMNS = ("plate", "fov_name", "track_id", "t", "split", "probability", "segmented")
STATE_SEGMENTATION = "state_segmentation"
"""Name of the rival in numbers."""
INDEPENDENT_SPLIT = "independent"
"""Of rows of plates of other experiments, from which nothing was learned."""
_KEYS = ["plate", "fov_name", "track_id", "t"]


class PredictedStatesRecord(BaseModel):
    """Content of `states.json`: what the probabilities are of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["cell_assets.predicted_states"] = "cell_assets.predicted_states"
    version: Literal[1] = 1
    column: str
    """Annotation column."""
    negative: str
    positive: str


@dataclass(frozen=True)
class PredictedStates:
    """Predicted states and what they are of."""

    record: PredictedStatesRecord
    table: pd.DataFrame
    """`PREDICTED_COLUMNS`, one row per cell image; `probability` of the positive state, and whether that was read from
    the pixels of the cell's label or, without one, from around its centroid."""


def write_predicted_states(folder: Path, predicted: PredictedStates) -> None:
    """Write `states.parquet` and `states.json`."""
    write_parquet(predicted.table[list(PREDICTED_COLUMNS)], folder / PREDICTED_PARQUET)
    (folder / PREDICTED_JSON).write_text(predicted.record.model_dump_json(indent=1), encoding="utf-8")


def read_predicted_states(folder: Path) -> PredictedStates:
    """What `write_predicted_states` wrote.

    Raises:
        BadInputError: the folder holds something else.
    """
    try:
        record = PredictedStatesRecord.model_validate_json((folder / PREDICTED_JSON).read_bytes())
        table = read_parquet(folder / PREDICTED_PARQUET)
    except (OSError, ValidationError) as error:
        reason = " ".join(str(error).split())
        raise BadInputError(
            f"{folder}: holds no predicted states ({reason}); materialise them again"
        ) from error
    return PredictedStates(record, table)


def given_predictions(
    predicted: PredictedStates, cells: pd.DataFrame, tasks: Sequence[Labels], *, independent: bool = False
) -> dict[str, GivenPrediction]:
    """The rival of the task that asks for the predicted column, by the task's name; empty where there is none.

    Args:
        cells: N rows, `plate, fov_name, track_id, t, split`.
        independent: the tasks are the questions put to independent plates, whose cells have `INDEPENDENT_SPLIT` and
            are scored instead of test cells.

    Raises:
        BadInputError: a cell is in another split than it was when the rival learned.
    """
    record = predicted.record
    right = predicted.table[[*_KEYS, "split", "probability", "segmented"]].rename(columns={"split": "_split"})
    left = cells[[*_KEYS, "split"]].astype({"plate": str, "fov_name": str, "split": str})
    joined = left.merge(right, on=_KEYS, how="left", validate="one_to_one")
    moved = joined["_split"].notna() & (joined["_split"] != joined["split"])
    if moved.any():
        row = joined[moved].iloc[0]
        raise BadInputError(
            f"{row['plate']} {row['fov_name']}, track {row['track_id']} has the split {row['split']} and had "
            f"{row['_split']} when {STATE_SEGMENTATION} was trained; materialise {STATE_SEGMENTATION} again"
        )
    probability = joined["probability"].to_numpy(dtype=np.float64, na_value=np.nan)
    asked = f"{record.column}{INDEPENDENT_SUFFIX}" if independent else record.column
    is_scored = joined["split"] == (INDEPENDENT_SPLIT if independent else Split.TEST.value)
    n_without = int((is_scored & joined["segmented"].eq(False)).sum())
    note = (
        f"{n_without} of {int(is_scored.sum())} {'independent' if independent else 'test'} cells have no label, and "
        "were read around their centroid"
    )
    states = {
        (record.positive, record.negative): probability,
        (record.negative, record.positive): 1 - probability,
    }
    return {
        task.name: GivenPrediction(
            STATE_SEGMENTATION, "supervised segmentation", states[task.positive, task.negative], note
        )
        for task in tasks
        if task.name == asked and (task.positive, task.negative) in states
    }
