"""`cell-assets run`: what is missing or stale of an experiment, stage by stage, as Dagster runs."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from cell_assets.assets.choices import ExperimentChoices, merge
from cell_assets.assets.experiment_outputs import manifest_patches_output
from cell_assets.assets.independent_plates import independent_plates
from cell_assets.assets.inputs import filmed_plates, standing_plates
from cell_assets.assets.partitions import POSITION, register_plate_keys
from cell_assets.assets.planning import FovPlan, plan_plate
from cell_assets.assets.recipes import (
    AssetName,
    attribution_name,
    bleaching_name,
    checkpoint_name,
    embeddings_name,
    profiles_name,
    report_name,
)
from cell_assets.assets.sizing import (
    ROOM_ADVICE,
    Cost,
    fov_cost,
    keeps_patches,
    kept_patches_cost,
    output_cost,
    total_bytes,
    training_cost,
)
from cell_assets.assets.stored_patches import storing_what_is_needed, with_patches_for
from cell_assets.automation.executing import Outcome
from cell_assets.automation.session import Session
from cell_assets.automation.stages import NeededRun, next_runs
from cell_assets.errors import CellAssetsError
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import ArtifactState, Number, Plate, Provenance
from cell_assets.methods.registry import (
    Represents,
    entry_of,
    is_attributable,
    is_bleachable,
    load_method,
    load_trainable,
)
from cell_assets.reporting.tables import left_out_text, numbers_table


class RunRequest(BaseModel):
    """What `cell-assets run` was asked for; None keeps what was chosen before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment: str
    method: str = "dynaclr"
    preset: str | None = None
    segmentation: str | None = None
    tracking: str | None = None
    patch_px: int | None = None
    tau_min: float | None = None
    seed: int | None = None
    choices: dict[str, Any] | None = None
    """Further choices (`ExperimentChoices` as JSON), from a file."""


class PlatePlan(BaseModel):
    """What one plate needs."""

    plate: str
    positions: int
    """FOVs that stand; a plate that came as a table has none."""
    withdrawn: int
    to_make: int
    why: str
    """Why the first FOV must run."""
    source_bytes: int
    """Uncompressed pixels of the FOVs that must run."""


class ExperimentPlan(BaseModel):
    """What would run, before it does."""

    experiment: str
    method: str
    preset: str
    plates: tuple[PlatePlan, ...]
    costs: tuple[Cost, ...]

    def text(self) -> str:
        """For a person."""
        lines = [f"{self.experiment}: {self.method}, preset {self.preset}"]
        for plate in self.plates:
            state = (
                f"{plate.to_make} of {plate.positions} FOVs to make ({plate.why}), "
                f"{plate.source_bytes / 1e6:.0f} MB of pixels to read"
                if plate.to_make
                else f"all {plate.positions} FOVs are current"
                if plate.positions
                else "came as a table, without images"
            )
            if plate.withdrawn:
                state += f", {plate.withdrawn} more were withdrawn"
            lines.append(f"  plate {plate.plate}: {state}")
        lines += [f"  {cost.text()}" for cost in self.costs]
        return "\n".join(lines)


def refuse_without_room(session: Session, plan: ExperimentPlan) -> None:
    """Refuse a plan that would fill the disk.

    Raises:
        BadInputError: it would.
    """
    session.store.require_room(total_bytes(plan.costs), plan.experiment, ROOM_ADVICE)


class RunOutcome(BaseModel):
    """What became of it."""

    experiment: str
    dagster_runs: tuple[str, ...]
    failed: tuple[str, ...]
    """One sentence for every run that failed."""
    numbers: tuple[dict[str, Any], ...]
    report: str | None
    """Path of the report's page."""
    table: str
    left_out: str | None
    """What thresholds of quality left out; None before there is a manifest."""

    def text(self) -> str:
        """For a person."""
        if self.failed:
            return "\n".join(["failed:", *(f"  {sentence}" for sentence in self.failed)])
        return "\n\n".join(
            [self.table, *([self.left_out] if self.left_out else []), f"report: {self.report}"]
        )


def choose(session: Session, request: RunRequest) -> ExperimentChoices:
    """Record what `request` changes of the experiment's choices, and return what holds now.

    Raises:
        BadInputError, NotFoundError: a choice has a value that it cannot have; nothing is recorded then.
    """
    entry = entry_of(request.method)
    _plates_for(session, request)
    before = ExperimentChoices.of(session.ledger, request.experiment)
    values = before.model_dump(mode="json")
    merge(values, request.choices or {})
    if request.segmentation is not None:
        merge(values, {"fovs": {"segmentation": {"backend": request.segmentation}}})
    if request.tracking is not None:
        merge(values, {"fovs": {"tracking": {"backend": request.tracking}}})
    training = ExperimentChoices.checked(values, "run").training_of(request.method)
    given = {"patch_side_px": request.patch_px, "tau_min": request.tau_min, "seed": request.seed}
    if request.seed is not None:
        parts = ("split", "well_split", "report")
        merge(values, {part: {"seed": request.seed} for part in parts})
    chosen = training.changed(request.preset, {name: one for name, one in given.items() if one is not None})
    merge(values, {"training": {request.method: chosen.model_dump(mode="json")}})
    load_trainable(request.method).parameters(chosen.preset, chosen.changes)
    choices = ExperimentChoices.checked(values, "run")
    if entry.represents is Represents.CELLS:
        choices = _with_patches_for(request, choices)
    independent_plates(session.store, request.experiment, choices.report.independent_plates)
    if choices.baseline is not None:
        choices.baseline.parameters()
    choices.record(session.ledger, request.experiment)
    return choices


def _with_patches_for(request: RunRequest, choices: ExperimentChoices) -> ExperimentChoices:
    """Stored patches as large as the training needs, and an embedding that the method knows."""
    load_method(request.method).embedding_parameters(choices.embedding.get(request.method, {}))
    stored = with_patches_for if request.patch_px is None else storing_what_is_needed
    return stored(request.method, choices)


def _plates_for(session: Session, request: RunRequest) -> tuple[Plate, ...]:
    """The experiment's plates that the method can look at."""
    is_of_cells = entry_of(request.method).represents is Represents.CELLS
    return (filmed_plates if is_of_cells else standing_plates)(session.store, request.experiment)


def plan_experiment(session: Session, request: RunRequest) -> ExperimentPlan:
    """What would run for the recorded choices, changed by `request`."""
    choices = choose(session, request)
    plates = _plates_for(session, request)
    plans = [(plate, _plan(session, plate, choices) if plate.is_filmed else []) for plate in plates]
    return ExperimentPlan(
        experiment=request.experiment,
        method=request.method,
        preset=choices.training_of(request.method).preset,
        plates=tuple(_plate_plan(plate, fovs) for plate, fovs in plans),
        costs=_costs(session, request, choices, [fovs for _, fovs in plans]),
    )


def run_experiment(session: Session, request: RunRequest) -> RunOutcome:
    """Make what is missing or stale; a stage starts only when the one before it is whole."""
    quality = ExperimentChoices.of(session.ledger, request.experiment).quality
    outcomes: list[Outcome] = []
    done: set[str] = set()
    with session.executor() as executor:
        for plate in _plates_for(session, request):
            draft = plate.draft
            register_plate_keys(executor.instance, draft.experiment, draft.name, draft.positions)
            if quality and plate.is_filmed:
                # Its checks hold the newest thresholds against what was measured before.
                outcomes.append(executor.materialise([AssetName.PLATE_QC], partition=draft.name))
        positions = executor.instance.get_dynamic_partitions(POSITION)
        while all(outcome.succeeded for outcome in outcomes) and (
            needed := next_runs(session.store, request.experiment, request.method, positions)
        ):
            for run in needed:
                _refuse_again(run, done)
                outcomes.append(
                    executor.materialise(
                        run.assets, partition=run.partition, partition_range=run.partition_range
                    )
                )
    return _outcome(session, request, outcomes)


def _refuse_again(run: NeededRun, done: set[str]) -> None:
    if run.key in done:
        raise CellAssetsError(f"{run.title} was made and is still not current: {run.why}")
    done.add(run.key)


def _plan(session: Session, plate: Plate, choices: ExperimentChoices) -> list[FovPlan]:
    return plan_plate(session.store, plate.draft.name, plate.living_positions, choices.fovs)


def _plate_plan(plate: Plate, fovs: list[FovPlan]) -> PlatePlan:
    todo = [fov for fov in fovs if fov.make]
    return PlatePlan(
        plate=plate.draft.name,
        positions=len(fovs),
        withdrawn=len(plate.withdrawn),
        to_make=len(todo),
        why=todo[0].why if todo else "",
        source_bytes=sum(fov.source_bytes for fov in todo),
    )


def _outcome(session: Session, request: RunRequest, outcomes: list[Outcome]) -> RunOutcome:
    recorded: tuple[Number, ...] = session.ledger.numbers(experiment=request.experiment)
    latest = _newest_report(session, request)
    page = None if latest is None else session.store.fetch(latest.artifact) / "report.html"
    return RunOutcome(
        experiment=request.experiment,
        dagster_runs=tuple(outcome.run_id for outcome in outcomes),
        failed=tuple(outcome.error for outcome in outcomes if outcome.error is not None),
        numbers=tuple(
            {
                "id": number.id,
                "report": number.draft.report,
                "name": number.draft.name,
                "value": number.draft.value,
            }
            for number in recorded
        ),
        report=None if page is None else str(page),
        table=numbers_table(recorded),
        left_out=_left_out(session, request.experiment),
    )


def _newest_report(session: Session, request: RunRequest) -> Provenance | None:
    """Of the method or, where its plates came as profiles of wells, on these."""
    found = session.ledger.latest(report_name(request.method), request.experiment)
    if found is None and entry_of(request.method).represents is Represents.WELLS:
        return session.ledger.latest(AssetName.MEAN_PROFILES_REPORT, request.experiment)
    return found


def _left_out(session: Session, experiment: str) -> str | None:
    from cell_assets.evaluation.left_out import what_is_left_out
    from cell_assets.evaluation.manifest import read_manifest

    latest = session.ledger.latest(AssetName.EXPERIMENT_MANIFEST, experiment)
    if latest is None or latest.artifact.state is not ArtifactState.PRESENT:
        return None
    return left_out_text(what_is_left_out(*read_manifest(session.store.fetch(latest.artifact))))


def _costs(
    session: Session, request: RunRequest, choices: ExperimentChoices, plates: Sequence[Sequence[FovPlan]]
) -> tuple[Cost, ...]:
    """Of the FOVs and patches to make, and of each later part, whether or not it turns out to be current.

    Args:
        plates: the plans of each plate's FOVs.
    """
    ledger, name = session.ledger, request.method
    fovs = [fov for plate in plates for fov in plate]
    keeping = [fov for plate in plates if _must_keep(session, plate) for fov in plate]
    method, chosen = load_trainable(name), choices.training_of(name)
    training = method.resolve(method.parameters(chosen.preset, chosen.changes)).parameters
    is_of_cells = entry_of(name).represents is Represents.CELLS
    n_embedded = len(plates) + (len(choices.report.independent_plates) if is_of_cells else 0)
    vectors, what = (
        (embeddings_name(name), "embedding") if is_of_cells else (profiles_name(name), "profiling")
    )
    made = (fov_cost(session.store, fovs, session.settings.processes),) if any(f.make for f in fovs) else ()
    kept = (kept_patches_cost(session.store, keeping),) if keeping else ()
    return (
        *made,
        *kept,
        training_cost(ledger, checkpoint_name(name), "training, where needed", training),
        output_cost(ledger, vectors, f"{what}, where needed", n_embedded),
        output_cost(ledger, AssetName.SINGLE_CELL_FEATURES, "features, where needed", n_embedded),
        *(_baseline_cost if is_of_cells else _supervised_cost)(ledger, choices),
        output_cost(ledger, report_name(name), "report, where needed"),
        *_pixel_study_costs(ledger, name, choices),
    )


def _pixel_study_costs(ledger: Ledger, method: str, choices: ExperimentChoices) -> tuple[Cost, ...]:
    asked = (
        (choices.attribution is not None and is_attributable(method), attribution_name, "attribution"),
        (choices.bleaching is not None and is_bleachable(method), bleaching_name, "bleaching"),
    )
    return tuple(
        output_cost(ledger, name(method), f"{what}, where needed")
        for is_asked, name, what in asked
        if is_asked
    )


def _baseline_cost(ledger: Ledger, choices: ExperimentChoices) -> tuple[Cost, ...]:
    if choices.baseline is None:
        return ()
    what, parameters = "supervised baseline, where needed", choices.baseline.parameters()
    return (training_cost(ledger, AssetName.STATE_SEGMENTATION, what, parameters),)


def _supervised_cost(ledger: Ledger, choices: ExperimentChoices) -> tuple[Cost, ...]:
    if choices.supervised_profiles is None:
        return ()
    return (output_cost(ledger, AssetName.SUPERVISED_PROFILES, "supervised profiles, where needed"),)


def _must_keep(session: Session, fovs: Sequence[FovPlan]) -> bool:
    """Whether the patches that the manifest keeps of a plate are missing or stale, as far as can be told beforehand."""
    if not any(map(keeps_patches, fovs)):
        return False
    if any(fov.make for fov in fovs):
        return True
    experiment, plate = fovs[0].experiment, fovs[0].plate
    made = session.ledger.latest(AssetName.EXPERIMENT_MANIFEST, experiment)
    if made is None or made.artifact.state is not ArtifactState.PRESENT:
        return True
    output = manifest_patches_output(session.store, experiment, plate)
    return not output.currency(session.store).is_current
