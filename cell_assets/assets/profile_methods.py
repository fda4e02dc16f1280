"""Well manifest, and checkpoint, profiles and report of every method that profiles wells, by one factory each."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import dagster as dg

from cell_assets.assets.checks import report_check_specs, standing_check_specs
from cell_assets.assets.chosen_in_launchpad import LAUNCHPAD_NOTE, config_of, take_choices
from cell_assets.assets.methods import applicable, publish_checkpoint, shown
from cell_assets.assets.partitions import experiments, representations
from cell_assets.assets.profile_outputs import (
    ProfilesOutput,
    WellManifestOutput,
    cell_tables,
    profile_checkpoint_output,
    profile_report_output,
    profiles_output,
    well_manifest_output,
    wells_of_plate,
)
from cell_assets.assets.publishing import Making, Publisher, Written
from cell_assets.assets.recipes import AssetName, checkpoint_name, profiles_name, report_name
from cell_assets.assets.report_publishing import publish_report
from cell_assets.assets.specs import asset_spec
from cell_assets.assets.steps import StepResults, begin, finished
from cell_assets.methods.contract import TrainingResult
from cell_assets.methods.registry import WELL_METHODS, MethodEntry, load_profile_method
from cell_assets.resources.mlflow_registry import ModelRegistry
from cell_assets.resources.progress import Progress, ProgressDisplay
from cell_assets.store.store import Store

PROFILING = "profiling"
"""Group of what all such methods share."""


def profile_method_assets() -> list[dg.AssetsDefinition]:
    """All assets of all methods that profile wells."""
    return [
        make(entry) for entry in WELL_METHODS for make in (_checkpoint_asset, _profiles_asset, _report_asset)
    ]


@dg.multi_asset(
    name="well_manifest",
    specs=[
        asset_spec(
            AssetName.WELL_MANIFEST,
            PROFILING,
            "The wells of an experiment with their treatments, frozen, and which compounds and plates may be learned "
            f"from. The edge to the cells of all plates is for the picture only. {LAUNCHPAD_NOTE}",
            {"parquet"},
        )
    ],
    partitions_def=experiments,
    can_subset=True,
    check_specs=standing_check_specs(AssetName.WELL_MANIFEST),
    config_schema=config_of(AssetName.WELL_MANIFEST),
)
def well_manifest(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> StepResults:
    """Freeze the wells."""
    begin(context, store)
    experiment = context.partition_key
    take_choices(context, store, [experiment])
    output = well_manifest_output(store, experiment)
    write = partial(_freeze, output, scratch_of(store))
    Publisher(context, store).make(Making.of(output, context.run_id), output.receipts, write)
    yield finished(context, store, AssetName.WELL_MANIFEST.value)


def scratch_of(store: Store) -> Path:
    """Where cells of filmed plates are written as tables while they are read."""
    return store.root.parent / "tables"


def _freeze(output: WellManifestOutput, scratch: Path, out: Path) -> Written:
    import pandas as pd

    from cell_assets.evaluation.profiling.well_leakage import find_well_leakage
    from cell_assets.evaluation.profiling.well_manifest import split_wells, write_well_manifest

    with cell_tables(output.cells, scratch) as tables:
        wells = [wells_of_plate(plate, table) for plate, table in zip(output.plates, tables, strict=True)]
    digests = {plate: read.receipt.digest for plate, read in output.cells.items()}
    split = split_wells(pd.concat(wells, ignore_index=True), output.split)
    find_well_leakage(split).refuse(f"the well manifest of {output.experiment}")
    write_well_manifest(output.experiment, split, digests, output.split, out)
    return Written()


def _checkpoint_asset(entry: MethodEntry) -> dg.AssetsDefinition:
    """`<method>_checkpoint`: a model trained on an experiment's wells, registered in MLflow."""
    name = checkpoint_name(entry.name)

    @dg.multi_asset(
        name=name,
        specs=[
            asset_spec(
                name,
                entry.name,
                f"{entry.title}. The edge to the cells of all plates is for the picture only. {LAUNCHPAD_NOTE}",
                {"pytorch", "mlflow"},
            )
        ],
        partitions_def=experiments,
        can_subset=True,
        check_specs=standing_check_specs(name),
        config_schema=config_of(name),
    )
    def checkpoint(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[Store],
        models: dg.ResourceParam[ModelRegistry],
        progress: dg.ResourceParam[ProgressDisplay],
    ) -> StepResults:
        from cell_assets.evaluation.profiling.well_manifest import read_well_manifest

        begin(context, store)
        experiment = context.partition_key
        take_choices(context, store, [experiment])
        output = profile_checkpoint_output(store, entry.name, experiment)
        _, wells = read_well_manifest(output.manifest.folder)

        def train(out: Path, bar: Progress, work: Path) -> TrainingResult:
            with cell_tables(output.cells, scratch_of(store)) as tables:
                return load_profile_method(entry.name).train(
                    tables, wells, output.training, out, shown(bar), work
                )

        publish_checkpoint(context, store, models, progress, entry, output, train)
        yield finished(context, store, name)

    return checkpoint


def _profiles_asset(entry: MethodEntry) -> dg.AssetsDefinition:
    """`<method>_profiles`: an experiment's model applied to the wells of one plate."""
    name = profiles_name(entry.name)

    @dg.multi_asset(
        name=name,
        specs=[
            asset_spec(
                name,
                entry.name,
                "A profile of every well of one plate, as pycytominer and copairs read them, and how much each cell "
                "has to say in it.",
                {"parquet"},
            )
        ],
        partitions_def=representations,
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
        check_specs=standing_check_specs(name),
    )
    def profiles(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[Store],
        progress: dg.ResourceParam[ProgressDisplay],
    ) -> StepResults:
        begin(context, store)
        publisher = Publisher(context, store)
        for experiment, plate_name in applicable(context.partition_keys, store, entry):
            output = profiles_output(store, entry.name, experiment, plate_name)
            write = partial(_profile, context, progress, entry, output, scratch_of(store))
            publisher.make(Making.of(output, context.run_id), output.receipts, write)
        yield finished(context, store, name)

    return profiles


def _profile(
    context: dg.AssetExecutionContext,
    progress: ProgressDisplay,
    entry: MethodEntry,
    output: ProfilesOutput,
    scratch: Path,
    out: Path,
) -> Written:
    from cell_assets.evaluation.profiling.well_manifest import read_well_manifest
    from cell_assets.imaging.feature_tables.columns import PLATE

    plate = output.plate.draft.name
    _, frozen = read_well_manifest(output.manifest.folder)
    own = frozen[frozen[PLATE] == plate].reset_index(drop=True)
    with (
        Progress(context, progress, f"profiling {plate}", 0) as bar,
        cell_tables({plate: output.cells}, scratch) as (table,),
    ):
        result = load_profile_method(entry.name).profile(
            output.model.folder,
            table,
            # A plate of another experiment is in no split of this one's manifest.
            wells_of_plate(output.plate, table) if own.empty else own,
            out,
            {"checkpoint": output.model.receipt.digest, "cells": output.cells.receipt.digest},
            shown(bar),
        )
    _say(context, result.messages)
    return Written()


def _report_asset(entry: MethodEntry) -> dg.AssetsDefinition:
    """`<method>_report`: what an experiment's profiles know, beside those without learning."""
    return _report_on_profiles(
        report_name(entry.name),
        entry.name,
        "Whether learned profiles find mechanisms and replicates, and what they gain over those without learning",
        entry,
    )


def _report_on_profiles(
    name: str, group: str, question: str, entry: MethodEntry | None
) -> dg.AssetsDefinition:
    """Of a method's profiles, or of those without learning alone where `entry` is None."""

    @dg.multi_asset(
        name=name,
        specs=[
            asset_spec(
                name,
                group,
                f"{question}: numbers with intervals, figures and an HTML page. {LAUNCHPAD_NOTE}",
                {"html"},
            )
        ],
        partitions_def=experiments,
        can_subset=True,
        check_specs=report_check_specs(name),
        config_schema=config_of(name),
    )
    def report(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> StepResults:
        from cell_assets.assets.profile_report_pages import write_profiles_report

        begin(context, store)
        experiment = context.partition_key
        take_choices(context, store, [experiment])
        output = profile_report_output(store, experiment, None if entry is None else entry.name)

        def write(out: Path) -> Written:
            numbers = write_profiles_report(out, entry, experiment, output, scratch_of(store), store.ledger)
            return Written(numbers)

        publish_report(context, store, output, write)
        yield finished(context, store, name)

    return report


mean_profiles_report = _report_on_profiles(
    AssetName.MEAN_PROFILES_REPORT.value,
    PROFILING,
    "Whether profiles without learning find mechanisms and replicates",
    None,
)


def _say(context: dg.AssetExecutionContext, messages: Sequence[str]) -> None:
    for message in messages:
        context.log.info(message)
