"""Choices that a person makes in Dagster's Launchpad: the config of each step, and how it becomes the experiment's.

What is given is recorded as `cell-assets run` records it, so that the plan, `diff`, `explain` and a rerun agree;
what is not given keeps what was chosen before.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import dagster as dg
from pydantic import BaseModel

from cell_assets.assets.choices import ExperimentChoices, StateSegmentationChoice, merge
from cell_assets.assets.independent_plates import independent_plates
from cell_assets.assets.launchpad import config_fields, one_of
from cell_assets.assets.recipes import (
    AssetName,
    attribution_name,
    bleaching_name,
    checkpoint_name,
    embeddings_name,
    report_name,
)
from cell_assets.assets.stored_patches import with_patches_for
from cell_assets.assets.table_config import TABLE, table_field
from cell_assets.errors import CellAssetsError
from cell_assets.evaluation.pixels.attribution_parameters import AttributionParameters
from cell_assets.evaluation.pixels.bleaching_parameters import BleachingParameters
from cell_assets.evaluation.profiling.profile_parameters import ProfileReportParameters
from cell_assets.evaluation.profiling.well_manifest import WellSplitParameters
from cell_assets.evaluation.profiling.well_representations import ProfileParameters
from cell_assets.evaluation.splits import SplitParameters
from cell_assets.evaluation.studies.study_parameters import StudyParameters
from cell_assets.imaging.features.parameters import FeatureParameters
from cell_assets.imaging.fov_chain import FovRequest
from cell_assets.imaging.quality.thresholds import Threshold
from cell_assets.methods.registry import (
    CELL_METHODS,
    ENTRIES,
    WELL_METHODS,
    MethodEntry,
    Represents,
    embedding_model_of,
    load_method,
    load_trainable,
    presets_of,
)
from cell_assets.methods.state_segmentation.parameters import StateSegmentationParameters
from cell_assets.methods.supervised_profiles.parameters import SupervisedProfilesParameters
from cell_assets.store.store import Store

FOV_CHAIN = "fov_chain"
"""The step that makes all assets of a FOV."""
LAUNCHPAD_NOTE = (
    "What the Launchpad's config states is recorded as the experiment's choice; what it leaves out keeps what was "
    "chosen before, there or by `cell-assets run`."
)
"""For the description of every asset that is asked about."""

Given = Mapping[str, Any]
"""Config of one step, as a person wrote it."""


@dataclass(frozen=True)
class LaunchpadChoices:
    """What the Launchpad asks of one step."""

    config: Mapping[str, dg.Field]
    changed: Callable[[ExperimentChoices, Given], ExperimentChoices]
    """The experiment's choices with those given. BadInputError: one of them cannot be."""


def take_choices(context: dg.AssetExecutionContext, store: Store, experiments: Iterable[str]) -> None:
    """Record what the config of this step chooses for these experiments.

    The config of every step of the run is checked first, so that the first step does no work for a run whose later
    step would be refused.

    Raises:
        dg.Failure: a field cannot have its value; nothing is recorded then.
    """
    steps = cast(Mapping[str, Any], context.run.run_config.get("ops", {}))
    given = {step: said["config"] for step, said in steps.items() if step in ASKED and said.get("config")}
    if not given:
        return
    try:
        for experiment in experiments:
            before = ExperimentChoices.of(store.ledger, experiment)
            after = {step: ASKED[step].changed(before, config) for step, config in given.items()}
            for choices in after.values():
                independent_plates(store, experiment, choices.report.independent_plates)
            if (chosen := after.get(context.op_execution_context.op.name)) is not None:
                chosen.record(store.ledger, experiment)
    except CellAssetsError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


def config_of(step: str) -> Mapping[str, dg.Field]:
    """What the Launchpad shows of a step."""
    return ASKED[step].config


def _beside_table(step: AssetName, part: str, model: type[BaseModel]) -> LaunchpadChoices:
    """Of a step that a plate may also come in by, as a table; where it lies is no choice of the experiment."""

    def changed(before: ExperimentChoices, given: Given) -> ExperimentChoices:
        chosen = {name: value for name, value in given.items() if name != TABLE}
        return _merged(before, {part: chosen}, step)

    return LaunchpadChoices({**config_fields(model), **table_field()}, changed)


def _merging(step: str, part: str, model: type[BaseModel]) -> LaunchpadChoices:
    """Of a step whose config is one part of the choices."""
    return LaunchpadChoices(config_fields(model), lambda before, given: _merged(before, {part: given}, step))


def _of_manifest() -> LaunchpadChoices:
    config = {
        "split": dg.Field(
            config_fields(SplitParameters), is_required=False, description=SplitParameters.__doc__
        ),
        "quality": dg.Field(
            [dg.Shape(config_fields(Threshold))],
            is_required=False,
            description="Limits of plate_qc, instead of all that were chosen before. Default: none.",
        ),
    }
    return LaunchpadChoices(
        config, lambda before, given: _merged(before, given, AssetName.EXPERIMENT_MANIFEST)
    )


def _where_asked(step: str, field: str, model: type[BaseModel]) -> LaunchpadChoices:
    """Of a choice that nobody may have made: what is given joins its defaults then."""

    def changed(before: ExperimentChoices, given: Given) -> ExperimentChoices:
        values = before.model_dump(mode="json")
        values[field] = {**(values[field] or {}), **given}
        return ExperimentChoices.checked(values, f"config of {step}")

    return LaunchpadChoices(config_fields(model), changed)


def _of_embedding(entry: MethodEntry) -> LaunchpadChoices:
    def changed(before: ExperimentChoices, given: Given) -> ExperimentChoices:
        chosen = {**before.embedding.get(entry.name, {}), **given}
        load_method(entry.name).embedding_parameters(chosen)
        return before.model_copy(update={"embedding": {**before.embedding, entry.name: chosen}})

    return LaunchpadChoices(config_fields(embedding_model_of(entry)), changed)


def _of_training(entry: MethodEntry) -> LaunchpadChoices:
    presets = presets_of(entry)
    (model,) = {type(preset) for preset in presets.values()}

    def changed(before: ExperimentChoices, given: Given) -> ExperimentChoices:
        method = load_trainable(entry.name)
        changes = {name: value for name, value in given.items() if name != "preset"}
        training = before.training_of(entry.name).changed(given.get("preset"), changes)
        method.resolve(method.parameters(training.preset, training.changes))
        after = before.model_copy(update={"training": {**before.training, entry.name: training}})
        return with_patches_for(entry.name, after) if entry.represents is Represents.CELLS else after

    return LaunchpadChoices(_with_preset(entry.parameters, model, presets), changed)


def _of_state_segmentation() -> LaunchpadChoices:
    model = StateSegmentationParameters

    def changed(before: ExperimentChoices, given: Given) -> ExperimentChoices:
        chosen = (before.baseline or StateSegmentationChoice()).changed(given)
        chosen.parameters()
        return before.model_copy(update={"baseline": chosen})

    return LaunchpadChoices(_with_preset(model.__module__, model, model.presets()), changed)


def _with_preset(
    name: str, model: type[BaseModel], presets: Mapping[str, BaseModel]
) -> Mapping[str, dg.Field]:
    """The fields of a model that has presets; `name` tells its enum of presets from others."""
    preset = dg.Field(
        one_of(f"{name}.preset", list(presets)),
        is_required=False,
        description="Which values hold for every field that nobody chose; another preset lets go of what was "
        f"chosen before. One of {', '.join(presets)}.",
    )
    return {**config_fields(model, presets), "preset": preset}


def _merged(before: ExperimentChoices, given: Given, step: str) -> ExperimentChoices:
    values = before.model_dump(mode="json")
    merge(values, given)
    return ExperimentChoices.checked(values, f"config of {step}")


ASKED: Mapping[str, LaunchpadChoices] = {
    FOV_CHAIN: _merging(FOV_CHAIN, "fovs", FovRequest),
    AssetName.SINGLE_CELL_FEATURES: _beside_table(
        AssetName.SINGLE_CELL_FEATURES, "features", FeatureParameters
    ),
    AssetName.MEAN_PROFILES: _beside_table(AssetName.MEAN_PROFILES, "profiles", ProfileParameters),
    AssetName.EXPERIMENT_MANIFEST: _of_manifest(),
    AssetName.WELL_MANIFEST: _merging(AssetName.WELL_MANIFEST, "well_split", WellSplitParameters),
    AssetName.SUPERVISED_PROFILES: _where_asked(
        AssetName.SUPERVISED_PROFILES, "supervised_profiles", SupervisedProfilesParameters
    ),
    AssetName.MEAN_PROFILES_REPORT: _merging(
        AssetName.MEAN_PROFILES_REPORT, "profile_report", ProfileReportParameters
    ),
    AssetName.STATE_SEGMENTATION: _of_state_segmentation(),
    **{checkpoint_name(entry.name): _of_training(entry) for entry in ENTRIES},
    **{embeddings_name(entry.name): _of_embedding(entry) for entry in CELL_METHODS},
    **{
        report_name(entry.name): _merging(report_name(entry.name), part, model)
        for entries, part, model in (
            (CELL_METHODS, "report", StudyParameters),
            (WELL_METHODS, "profile_report", ProfileReportParameters),
        )
        for entry in entries
    },
    **{
        name(entry.name): _where_asked(name(entry.name), field, model)
        for entry in CELL_METHODS
        for offered, name, field, model in (
            (entry.attributable, attribution_name, "attribution", AttributionParameters),
            (entry.bleachable, bleaching_name, "bleaching", BleachingParameters),
        )
        if offered
    },
}
"""By step, which has the name of its asset unless it makes several."""
