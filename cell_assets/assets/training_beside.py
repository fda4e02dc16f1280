"""The part that another machine takes in the training of a checkpoint, whose step runs on the first."""

from cell_assets.assets.experiment_outputs import checkpoint_output
from cell_assets.assets.inputs import training_tables
from cell_assets.assets.profile_methods import scratch_of
from cell_assets.assets.profile_outputs import cell_tables, profile_checkpoint_output
from cell_assets.assets.unfinished_training import training_folder, trainings_of
from cell_assets.errors import CellAssetsError
from cell_assets.methods.contract import ProgressSink
from cell_assets.methods.registry import Represents, entry_of, load_method, load_profile_method
from cell_assets.store.store import Store


def train_beside(
    store: Store, method: str, experiment: str, node: int, progress: ProgressSink | None = None
) -> None:
    """Wait for the step that trains the experiment's checkpoint, train with it, and end when it has ended.

    Inputs and parameters are found as the step finds them: of the newest manifest, by the choices that are recorded.

    Args:
        node: number of this machine, from 1; the step's is 0.

    Raises:
        NotFoundError: the manifest or its tables have not been made.
        BadInputError: the choices are of one machine, or of none of that number.
        CellAssetsError: no step came, or a process failed or was killed, on whichever machine.
    """
    try:
        _train_beside(store, method, experiment, node, progress)
    except RuntimeError as error:
        raise CellAssetsError(str(error)) from error


def _train_beside(
    store: Store, method: str, experiment: str, node: int, progress: ProgressSink | None
) -> None:
    from cell_assets.evaluation.manifest import read_manifest
    from cell_assets.evaluation.profiling.well_manifest import read_well_manifest

    if entry_of(method).represents is Represents.CELLS:
        of_cells = checkpoint_output(store, method, experiment)
        work = training_folder(trainings_of(store), of_cells)
        _, frozen = read_manifest(of_cells.manifest.folder)
        tables = training_tables(of_cells.tables)
        load_method(method).train_beside(tables, frozen, of_cells.training, node, work, progress)
        return
    of_wells = profile_checkpoint_output(store, method, experiment)
    work = training_folder(trainings_of(store), of_wells)
    _, wells = read_well_manifest(of_wells.manifest.folder)
    with cell_tables(of_wells.cells, scratch_of(store)) as cells:
        load_profile_method(method).train_beside(cells, wells, of_wells.training, node, work, progress)
