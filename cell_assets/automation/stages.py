"""What an experiment needs next: FOVs of each plate, then manifest and checkpoint, embeddings, features, report.

Where patches are kept by the manifest, it is made by itself, and the patches of each plate before the checkpoint.
Where a supervised baseline was chosen, it is made before the report. Once a second training has its report, the
two are compared; attribution and the study of bleaching follow where a choice asks for them.

`cell-assets run` carries the answer out in its own process, the sensor `follow_through` asks Dagster for it.
Whether something is current is the one rule of `assets.planning`; what is current is not asked for.
"""

from collections.abc import Container, Iterator, Sequence

from cell_assets.assets.annotations import tracked_cells
from cell_assets.assets.attribution_output import attribution_output
from cell_assets.assets.bleaching_output import bleaching_output
from cell_assets.assets.choices import ExperimentChoices
from cell_assets.assets.comparison_output import comparison_output
from cell_assets.assets.experiment_outputs import (
    ManifestOutput,
    checkpoint_output,
    embeddings_output,
    features_output,
    manifest_output,
    manifest_patches_output,
    report_output,
)
from cell_assets.assets.independent_plates import independent_plates
from cell_assets.assets.inputs import (
    filmed_plates,
    outdated_annotations,
    plate_tables,
    standing_plates,
)
from cell_assets.assets.partitions import fov_key
from cell_assets.assets.planning import FovPlan, plan_plate
from cell_assets.assets.recipes import RECIPES, AssetName, checkpoint_name
from cell_assets.assets.state_segmentation_output import state_segmentation_output
from cell_assets.automation.needed_runs import (
    NeededRun,
    digest,
    last_made,
    said,
    standing_run,
    unless_current,
    why_outdated,
)
from cell_assets.automation.profile_stages import runs_of_profile_method
from cell_assets.imaging.fov_chain import Stage
from cell_assets.imaging.patch_reading import patch_policy
from cell_assets.imaging.patches import PatchPolicy
from cell_assets.ledger.records import JsonValue, Plate
from cell_assets.methods.registry import (
    CELL_METHODS,
    WELL_METHODS,
    Represents,
    entry_of,
    is_attributable,
    is_bleachable,
)
from cell_assets.store.code_identity import code_version
from cell_assets.store.store import Store

FOV_ASSETS = tuple(stage.value for stage in Stage)


def next_runs(
    store: Store, experiment: str, method: str, position_keys: Sequence[str]
) -> tuple[NeededRun, ...]:
    """The runs that can go now, side by side; empty when everything up to the report of `method`, and
    what else was asked for, is current.

    A stage is asked for only when the one before it is whole. See `fov_runs` and `runs_after_fovs`.
    """
    return fov_runs(store, experiment, position_keys) or runs_after_fovs(store, experiment, method)


def fov_runs(
    store: Store, experiment: str, position_keys: Sequence[str], leave_out: Container[str] = ()
) -> tuple[NeededRun, ...]:
    """For each plate one run, from the first FOV to make to the last.

    The body leaves out those between that are current. Cost: three ledger queries for each plate, and the
    comparison of three outputs for each FOV.

    Args:
        position_keys: keys of Dagster's dimension `position`, in its order, which decides the ends of a range.
        leave_out: plates that are not asked about.

    Raises:
        NotFoundError: the experiment has no plate that stands, or a plate's bytes are not there.
    """
    return tuple(_fov_runs(_unverified(store), experiment, position_keys, leave_out))


def methods_of(store: Store, experiment: str) -> tuple[str, ...]:
    """Methods whose training somebody chose for an experiment, or else the first that its plates are for."""
    chosen = tuple(ExperimentChoices.of(store.ledger, experiment).training)
    is_filmed = any(plate.is_filmed for plate in standing_plates(store, experiment))
    return chosen or ((CELL_METHODS if is_filmed else WELL_METHODS)[0].name,)


def runs_after_fovs(store: Store, experiment: str, method: str) -> tuple[NeededRun, ...]:
    """Of an experiment whose FOVs are all current: the runs of the first stage that is not.

    Cost: a few ledger queries, and for each FOV one stat, or the reading of a small file where its table stores no
    patches. Where the manifest is current, torch is imported, because
    only the method knows what this machine makes of its parameters.

    Raises:
        NotFoundError: a FOV has no patch table, or bytes are not where they were published.
        BadInputError: the choices do not fit the method, or a plate that was chosen as independent is not.
    """
    looking = _unverified(store)
    if entry_of(method).represents is Represents.WELLS:
        return runs_of_profile_method(looking, experiment, method)
    manifest = manifest_output(looking, experiment)
    stages = (
        _kept_patches_runs(looking, manifest),
        _model_runs(looking, manifest, method),
        _embeddings_runs(looking, experiment, method),
        _features_runs(looking, experiment),
        _annotation_runs(looking, experiment),
        _baseline_runs(looking, experiment),
        _report_runs(looking, experiment, method),
        _comparison_runs(looking, experiment, method),
        _pixel_study_runs(looking, experiment, method),
    )
    # Generators: a later stage cannot be asked about while the inputs of an earlier one are missing.
    return next(filter(None, map(tuple, stages)), ())


def _unverified(store: Store) -> Store:
    """The bodies re-hash what they read, where that is asked for; a plan reads the ledger."""
    return store.unverified()


def _fov_runs(
    store: Store, experiment: str, position_keys: Sequence[str], leave_out: Container[str]
) -> Iterator[NeededRun]:
    request = ExperimentChoices.of(store.ledger, experiment).fovs
    order = {position: n for n, position in enumerate(position_keys)}
    for plate in standing_plates(store, experiment):
        name = plate.draft.name
        if not plate.is_filmed or name in leave_out:
            continue
        plans = plan_plate(store, name, plate.living_positions, request)
        todo = sorted((plan for plan in plans if plan.make), key=lambda plan: order[plan.position])
        if not todo:
            continue
        first, last = fov_key(name, todo[0].position), fov_key(name, todo[-1].position)
        yield NeededRun(
            FOV_ASSETS,
            name,
            first if len(todo) == 1 else None,
            None if len(todo) == 1 else (first, last),
            f"{len(todo)} of {len(plans)} FOVs, the first because {todo[0].why}",
            _fov_state(store, plans, todo),
        )


def _fov_state(store: Store, plans: Sequence[FovPlan], todo: Sequence[FovPlan]) -> str:
    wanted: list[JsonValue] = [
        [plan.position, stage.value, dict(plan.parameters.recorded(stage))]
        for plan in plans
        for stage in Stage
    ]
    code: list[JsonValue] = [code_version(RECIPES[stage].code) for stage in FOV_ASSETS]
    raw = plans[0].raw_receipt
    corrections = [plan.corrections.receipt.digest for plan in plans if plan.corrections is not None]
    stale = {
        stage: [fov_key(plan.plate, plan.position) for plan in todo if plan.make[0] is stage]
        for stage in Stage
    }
    standing = max(standing_run(store, stage.value, keys) for stage, keys in stale.items())
    return digest([wanted, [*corrections], code, raw.digest, last_made(store, [raw]), standing])


def _kept_patches_runs(store: Store, manifest: ManifestOutput) -> Iterator[NeededRun]:
    """Where patches are kept by the manifest: the manifest by itself, then the patches of each plate."""
    independent = {
        key: table
        for plate in _independent(store, manifest.experiment)
        for key, table in plate_tables(store, plate).items()
    }
    plates = {
        plate
        for (plate, _), table in (*manifest.inputs.tables.items(), *independent.items())
        if patch_policy(table.folder) is PatchPolicy.MANIFEST
    }
    if plates and not manifest.currency(store).is_current:
        yield from unless_current(store, manifest)
        return
    for plate in sorted(plates):
        yield from unless_current(store, manifest_patches_output(store, manifest.experiment, plate))


def _model_runs(store: Store, manifest: ManifestOutput, method: str) -> Iterator[NeededRun]:
    """Manifest and checkpoint are one run, because a new manifest always asks for a new checkpoint."""
    experiment = manifest.experiment
    why = why_outdated(store, manifest) or _why_no_model(store, experiment, method)
    if not why:
        return
    training = ExperimentChoices.of(store.ledger, experiment).training_of(method)
    asset = checkpoint_name(method)
    # Of what the manifest is made of, since the checkpoint's own inputs are known only once it stands.
    chosen: list[JsonValue] = [asset, code_version(RECIPES[asset].code), training.model_dump(mode="json")]
    made: list[JsonValue] = [last_made(store, manifest.receipts), standing_run(store, asset, [experiment])]
    state = digest([said(manifest.expectation()), chosen, *made])
    yield NeededRun((AssetName.EXPERIMENT_MANIFEST.value, asset), None, experiment, None, why, state)


def _why_no_model(store: Store, experiment: str, method: str) -> str:
    if why := why_outdated(store, checkpoint_output(store, method, experiment)):
        return why
    latest = store.ledger.latest(checkpoint_name(method), experiment)
    if latest is not None and not store.ledger.model_versions([latest.artifact.id]):
        return f"{latest.artifact.asset} has no version in MLflow"
    return ""


def _independent(store: Store, experiment: str) -> tuple[Plate, ...]:
    """The plates of other experiments that the report was chosen to be about as well."""
    names = ExperimentChoices.of(store.ledger, experiment).report.independent_plates
    return independent_plates(store, experiment, names)


def _embeddings_runs(store: Store, experiment: str, method: str) -> Iterator[NeededRun]:
    for plate in (*filmed_plates(store, experiment), *_independent(store, experiment)):
        yield from unless_current(store, embeddings_output(store, method, experiment, plate.draft.name))


def _features_runs(store: Store, experiment: str) -> Iterator[NeededRun]:
    """After the model: nothing before the report rests on features, so what goes wrong here holds up no training."""
    for plate in (*filmed_plates(store, experiment), *_independent(store, experiment)):
        yield from unless_current(store, features_output(store, plate.draft.name))


def _annotation_runs(store: Store, experiment: str) -> Iterator[NeededRun]:
    """Annotations whose tracks were made anew follow them, FOV by FOV: what lies between was not annotated."""
    asset = AssetName.ANNOTATIONS.value
    for plate in (*filmed_plates(store, experiment), *_independent(store, experiment)):
        keys = [fov_key(plate.draft.name, position) for position in plate.living_positions]
        for key in outdated_annotations(store, keys):
            cells = tracked_cells(store, key)
            made: list[JsonValue] = [last_made(store, cells.receipts()), standing_run(store, asset, [key])]
            state = digest([asset, key, code_version(RECIPES[asset].code), *made])
            yield NeededRun((asset,), None, key, None, f"{asset}: its tracks were made anew", state)


def _baseline_runs(store: Store, experiment: str) -> Iterator[NeededRun]:
    """The supervised baseline, where one was chosen."""
    if ExperimentChoices.of(store.ledger, experiment).baseline is not None:
        yield from unless_current(store, state_segmentation_output(store, experiment))


def _report_runs(store: Store, experiment: str, method: str) -> Iterator[NeededRun]:
    yield from unless_current(store, report_output(store, method, experiment))


def _comparison_runs(store: Store, experiment: str, method: str) -> Iterator[NeededRun]:
    """Where more than one training of the manifest has a report."""
    output = comparison_output(store, method, experiment)
    if len(output.trainings) > 1:
        yield from unless_current(store, output)


def _pixel_study_runs(store: Store, experiment: str, method: str) -> Iterator[NeededRun]:
    """Only where somebody asked for them: they take longer than the report."""
    choices = ExperimentChoices.of(store.ledger, experiment)
    if choices.attribution is not None and is_attributable(method):
        yield from unless_current(store, attribution_output(store, method, experiment))
    if choices.bleaching is not None and is_bleachable(method):
        yield from unless_current(store, bleaching_output(store, method, experiment))
