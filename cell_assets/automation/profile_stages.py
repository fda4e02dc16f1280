"""What an experiment needs next of a method that profiles wells.

Cells, profiles without learning and their report; then well manifest, checkpoint, profiles and the report on these.
Where a supervised control was chosen, it is made before the first report.
"""

from collections.abc import Iterator

from cell_assets.assets.choices import ExperimentChoices
from cell_assets.assets.experiment_outputs import features_output
from cell_assets.assets.inputs import standing_plates
from cell_assets.assets.profile_outputs import (
    has_cells,
    mean_profiles_output,
    profile_checkpoint_output,
    profile_report_output,
    profiles_output,
    supervised_profiles_output,
    well_manifest_output,
)
from cell_assets.assets.recipes import checkpoint_name
from cell_assets.automation.needed_runs import NeededRun, unless_current
from cell_assets.store.store import Store


def runs_of_profile_method(store: Store, experiment: str, method: str) -> tuple[NeededRun, ...]:
    """The runs of the first stage that is not current, of an experiment whose FOVs all are.

    Where a plate came as profiles of wells, there is nothing to learn from, and what rests on cells is not asked for.

    Raises:
        NotFoundError: bytes are not where they were published.
        BadInputError: the choices do not fit the method.
    """
    stages = [
        _features_runs(store, experiment),
        _mean_profiles_runs(store, experiment),
        _supervised_runs(store, experiment),
        _report_runs(store, experiment, None),
    ]
    if all(map(has_cells, standing_plates(store, experiment))):
        stages += [
            _manifest_runs(store, experiment),
            _model_runs(store, experiment, method),
            _profiles_runs(store, experiment, method),
            _report_runs(store, experiment, method),
        ]
    # Generators: a later stage cannot be asked about while the inputs of an earlier one are missing.
    return next(filter(None, map(tuple, stages)), ())


def _features_runs(store: Store, experiment: str) -> Iterator[NeededRun]:
    """Of filmed plates; those that came as tables came in with their cells."""
    for plate in standing_plates(store, experiment):
        if plate.is_filmed:
            yield from unless_current(store, features_output(store, plate.draft.name))


def _mean_profiles_runs(store: Store, experiment: str) -> Iterator[NeededRun]:
    """Of plates with cells; others came in as profiles."""
    for plate in standing_plates(store, experiment):
        if has_cells(plate):
            yield from unless_current(store, mean_profiles_output(store, plate.draft.name))


def _supervised_runs(store: Store, experiment: str) -> Iterator[NeededRun]:
    """The supervised control, where one was chosen."""
    if ExperimentChoices.of(store.ledger, experiment).supervised_profiles is not None:
        yield from unless_current(store, supervised_profiles_output(store, experiment))


def _report_runs(store: Store, experiment: str, method: str | None) -> Iterator[NeededRun]:
    yield from unless_current(store, profile_report_output(store, experiment, method))


def _manifest_runs(store: Store, experiment: str) -> Iterator[NeededRun]:
    yield from unless_current(store, well_manifest_output(store, experiment))


def _model_runs(store: Store, experiment: str, method: str) -> Iterator[NeededRun]:
    output = profile_checkpoint_output(store, method, experiment)
    if runs := tuple(unless_current(store, output)):
        yield from runs
        return
    latest = store.ledger.latest(checkpoint_name(method), experiment)
    if latest is not None and not store.ledger.model_versions([latest.artifact.id]):
        why = f"{latest.artifact.asset} has no version in MLflow"
        yield NeededRun((output.asset,), None, experiment, None, why, why)


def _profiles_runs(store: Store, experiment: str, method: str) -> Iterator[NeededRun]:
    for plate in standing_plates(store, experiment):
        yield from unless_current(store, profiles_output(store, method, experiment, plate.draft.name))
