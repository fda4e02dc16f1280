"""From published folders to a trained segmentation and its predictions, in one folder."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cell_assets.evaluation.manifest import read_manifest
from cell_assets.methods.contract import ProgressSink
from cell_assets.methods.state_segmentation.folders import FovFolders
from cell_assets.methods.state_segmentation.fovs import open_fovs, open_independent, with_states
from cell_assets.methods.state_segmentation.parameters import StateSegmentationParameters
from cell_assets.methods.state_segmentation.prediction import predict
from cell_assets.methods.state_segmentation.states import known_states
from cell_assets.methods.state_segmentation.training import StateTrainingResult, train


def make_state_segmentation(
    folders: Sequence[FovFolders],
    manifest: Path,
    annotations: Mapping[tuple[str, str], Path],
    parameters: StateSegmentationParameters,
    out: Path,
    progress: ProgressSink | None = None,
    *,
    independent: Sequence[FovFolders] = (),
    unused_states: Collection[str] = (),
) -> StateTrainingResult:
    """Train on the manifest's train and val tracks and predict every cell of every FOV into the existing folder `out`.

    Nothing is learned from `independent` FOVs: their cells are predicted alone, and have `INDEPENDENT_SPLIT`.

    Files: `model.safetensors`, `config.json`, `history.parquet`, `states.parquet`, `states.json`.

    Args:
        manifest: folder of the experiment manifest.
        annotations: folders by plate and position, where people annotated cells.
        parameters: with a column.
        unused_states: annotated values, of any column, that say nothing of a cell.

    Raises:
        BadInputError: FOVs, channels or annotations cannot be used with these parameters.
    """
    if parameters.column is None:
        raise ValueError("the column of a state segmentation must be resolved before it is made")
    _, frozen = read_manifest(manifest)
    known = known_states({one.plate: one.acquisition for one in folders}, annotations, unused_states)
    opened = open_fovs(folders, frozen, parameters.channels, parameters.z_rule)
    fovs, states = with_states(opened, known, parameters.column)
    strangers = open_independent(independent, opened.channel_names, parameters.z_rule)
    result = train(fovs, states, parameters, out, progress)
    predict(out, replace(fovs, fovs=(*fovs.fovs, *strangers)), out, progress)
    return result
