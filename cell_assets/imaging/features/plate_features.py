"""The single_cell_features artifact: features of every cell and time point of a plate.

On disk `features/<row>_<column>_<fov>.parquet`, one table per FOV whose rows are those of its tracks, and
`features.json`: parameters, and how many cells lack each feature. Column names follow CellProfiler's
`Object_Measurement_Name_Channel`; what names a row begins with `Metadata_`. The objects are called Nuclei, as they are
in the paper; they are whatever the segmentation labels, the ring around each is its Cytoplasm, and both together are
Cells.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from cell_assets.errors import BadInputError, CellAssetsError
from cell_assets.imaging.acquisition import open_acquisition
from cell_assets.imaging.acquisition_views import field_of_view
from cell_assets.imaging.features.frame_features import AT_EDGE, channel_columns, frame_features
from cell_assets.imaging.features.parameters import FeatureParameters
from cell_assets.imaging.fields_of_view import FieldOfView, FrameSource
from cell_assets.imaging.fov_chain import refuse_changed
from cell_assets.imaging.label_store import LabelImage
from cell_assets.imaging.parquet_tables import read_parquet, write_parquet
from cell_assets.imaging.track_tables import Column
from cell_assets.imaging.tracking import LABEL, open_track_labels, read_tracks
from cell_assets.imaging.workers import worker_pool
from cell_assets.ledger.records import Artifact

FEATURES_JSON = "features.json"
TABLES = "features"

METADATA_COLUMNS = {
    "Metadata_Plate": "string",
    "Metadata_Well": "string",
    "Metadata_Site": "string",
    "Metadata_PerturbationType": "string",
    "Metadata_Perturbation": "string",
    "Metadata_Dose": "float64",
    "Metadata_DoseUnit": "string",
    "Metadata_MoA": "string",
    "Metadata_IsControl": "boolean",
    "Metadata_ObjectNumber": "Int64",
    AT_EDGE: "boolean",
}
"""Name and type; Metadata_ObjectNumber is the cell's value in the label image."""
KEY_COLUMNS = (Column.FOV_NAME.value, Column.TRACK_ID.value, Column.T.value)
INDEX_COLUMNS = (*METADATA_COLUMNS, *KEY_COLUMNS)
"""What is no feature."""


class FovFeatures(BaseModel):
    """What became of one FOV."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    position: str
    n_cells: int
    """Rows: cells times time points."""
    n_without_label: int
    """Rows that no label belongs to, whose features are all null."""
    n_missing: dict[str, int]
    """Rows with a label, by feature, in which it could not be computed; features that all have are left out."""


class FeaturesRecord(BaseModel):
    """Content of `features.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["cell_assets.single_cell_features"] = "cell_assets.single_cell_features"
    version: Literal[1] = 1
    plate: str
    parameters: FeatureParameters
    channels: dict[str, str]
    """Channel to its part of a column's name."""
    features: tuple[str, ...]
    """Columns that are features, in their order."""
    fovs: tuple[FovFeatures, ...]
    """By position."""


@dataclass(frozen=True)
class FovInput:
    """One position for a worker."""

    position: str
    tracks: Path
    segmentation: Path


def measure_plate(
    plate: str,
    acquisition: Path,
    raw: Artifact,
    fovs: Sequence[FovInput],
    parameters: FeatureParameters,
    folder: Path,
    workers: int,
) -> Iterator[str]:
    """Measure every FOV of a plate into `folder` (exists, empty), and name each position that is done.

    Cost grows linearly with cells and pixels. Memory: one frame and the rows of one FOV for each worker.

    Args:
        acquisition: folder of the raw acquisition.
        raw: its record; the bytes of every position are held against it first.
        workers: processes, at least 1.

    Raises:
        CellAssetsError: FOVs could not be measured, each named with its reason; the others were measured first.
    """
    (folder / TABLES).mkdir()
    done: list[FovFeatures] = []
    failed: list[str] = []
    with worker_pool(max(1, min(workers, len(fovs)))) as pool:
        tasks = {
            pool.submit(_measure_fov, plate, acquisition, raw, fov, parameters, folder): fov.position
            for fov in fovs
        }
        for task in as_completed(tasks):
            try:
                done.append(task.result())
            except CellAssetsError as error:
                failed.append(f"{plate}|{tasks[task]}: {error}")
            yield tasks[task]
    if failed:
        raise CellAssetsError("; ".join(sorted(failed)))
    names = open_acquisition(acquisition).info.channel_names
    record = FeaturesRecord(
        plate=plate,
        parameters=parameters,
        channels=channel_columns(names),
        features=_feature_columns(names, parameters),
        fovs=tuple(sorted(done, key=lambda one: one.position)),
    )
    (folder / FEATURES_JSON).write_text(record.model_dump_json(indent=1), encoding="utf-8")


def position_features(
    source: FrameSource,
    fov: FieldOfView,
    labels: LabelImage,
    tracks: pd.DataFrame,
    plate: str,
    parameters: FeatureParameters,
) -> pd.DataFrame:
    """One row for each row of `tracks`, in its order: INDEX_COLUMNS, then the features, null where there is none."""
    rows = tracks[[*KEY_COLUMNS, LABEL]].reset_index(drop=True)
    parts = []
    for t in range(fov.shape[0]):
        here = rows[(rows[Column.T] == t) & rows[LABEL].notna()]
        if here.empty:
            continue
        pixels = source.read_frame(fov.position, t)
        found = frame_features(labels.frame(t), pixels, fov.channel_names, fov.spacing, parameters)
        parts.append(found.loc[here[LABEL].to_numpy(np.int64)].set_index(here.index))
    features = _feature_columns(fov.channel_names, parameters)
    measured = pd.concat(parts) if parts else pd.DataFrame(columns=[AT_EDGE, *features])
    measured = measured.reindex(rows.index, columns=[AT_EDGE, *features])
    well = fov.well
    table = rows[list(KEY_COLUMNS)].assign(
        Metadata_Plate=plate,
        Metadata_Well=well.name,
        Metadata_Site=fov.position,
        Metadata_PerturbationType=well.perturbation_type,
        Metadata_Perturbation=well.perturbation,
        Metadata_Dose=well.dose,
        Metadata_DoseUnit=well.dose_unit,
        Metadata_MoA=well.moa,
        Metadata_IsControl=well.is_control,
        Metadata_ObjectNumber=rows[LABEL],
    )
    types = {**METADATA_COLUMNS, Column.FOV_NAME.value: "string", **dict.fromkeys(features, "float64")}
    return pd.concat([table, measured], axis=1)[[*INDEX_COLUMNS, *features]].astype(types)


def read_features_record(folder: Path) -> FeaturesRecord:
    """`features.json` of a single_cell_features folder.

    Raises:
        BadInputError: it is not there, or not readable.
    """
    file = folder / FEATURES_JSON
    try:
        return FeaturesRecord.model_validate_json(file.read_bytes())
    except OSError as error:
        raise BadInputError(
            f"{file}: cannot be read ({error.strerror}); give a single_cell_features folder"
        ) from error
    except ValidationError as error:
        raise BadInputError(f"{file}: {error.errors()[0]['msg']}; make single_cell_features again") from error


def read_features(folder: Path) -> pd.DataFrame:
    """The tables of all FOVs of a single_cell_features folder, one after the other.

    Raises:
        BadInputError: see `read_features_record`.
    """
    fovs = read_features_record(folder).fovs
    return pd.concat([read_parquet(folder / table_file(fov.position)) for fov in fovs], ignore_index=True)


def table_file(position: str) -> Path:
    """Where the features of a FOV lie: `features/A_1_000.parquet`."""
    return Path(TABLES) / f"{position.replace('/', '_')}.parquet"


def _measure_fov(
    plate: str, acquisition: Path, raw: Artifact, task: FovInput, parameters: FeatureParameters, folder: Path
) -> FovFeatures:
    opened = open_acquisition(acquisition)
    refuse_changed(acquisition, raw, task.position, opened.has_labels(task.position))
    fov = field_of_view(opened.info, task.position)
    labels = open_track_labels(task.tracks, task.segmentation)
    table = position_features(opened, fov, labels, read_tracks(task.tracks), plate, parameters)
    write_parquet(table, folder / table_file(task.position))
    labelled = table["Metadata_ObjectNumber"].notna()
    missing = table.loc[labelled].drop(columns=list(INDEX_COLUMNS)).isna().sum()
    return FovFeatures(
        position=task.position,
        n_cells=len(table),
        n_without_label=int((~labelled).sum()),
        n_missing={str(name): int(count) for name, count in missing.items() if count},
    )


def _feature_columns(channel_names: Sequence[str], parameters: FeatureParameters) -> tuple[str, ...]:
    """The features of such a plate, in their order: those of a frame with one cell."""
    labels = np.ones((1, 1, 1), np.uint32)
    pixels = np.zeros((len(channel_names), 1, 1, 1), np.uint8)
    found = frame_features(labels, pixels, channel_names, (1.0, 1.0, 1.0), parameters)
    return tuple(found.columns.drop(AT_EDGE))
