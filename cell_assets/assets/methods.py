"""Checkpoint, embeddings and report of every method in the registry, made by one factory each.

A method is added to the registry; its three assets appear here by themselves.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from cell_assets.assets.checks import report_check_specs, standing_check_specs
from cell_assets.assets.chosen_in_launchpad import LAUNCHPAD_NOTE, config_of, take_choices
from cell_assets.assets.experiment_outputs import (
    EmbeddingsOutput,
    ExperimentOutput,
    checkpoint_output,
    embeddings_output,
    report_output,
)
from cell_assets.assets.inputs import training_tables
from cell_assets.assets.partitions import (
    experiments,
    representations,
    split_representation_key,
)
from cell_assets.assets.publishing import Making, Publisher, Written
from cell_assets.assets.recipes import AssetName, checkpoint_name, embeddings_name, report_name
from cell_assets.assets.report_publishing import publish_report
from cell_assets.assets.specs import asset_spec
from cell_assets.assets.steps import StepResults, begin, finished
from cell_assets.assets.stored_patches import refuse_small_patches
from cell_assets.assets.unfinished_training import trainings_of, unfinished_training
from cell_assets.errors import NotFoundError
from cell_assets.ledger.records import Provenance
from cell_assets.methods.contract import Method, ProgressSink, TrainingResult, TrainingTable
from cell_assets.methods.contract import Progress as MethodProgress
from cell_assets.methods.registry import CELL_METHODS, MethodEntry, load_method
from cell_assets.resources.mlflow_registry import MetricPoint, ModelRegistry
from cell_assets.resources.progress import Progress, ProgressDisplay
from cell_assets.store.store import Store

if TYPE_CHECKING:
    from cell_assets.evaluation.manifest import FrozenCells


def method_assets() -> list[dg.AssetsDefinition]:
    """All assets of all methods."""
    return [
        make(entry) for entry in CELL_METHODS for make in (checkpoint_asset, embeddings_asset, report_asset)
    ]


def checkpoint_asset(entry: MethodEntry) -> dg.AssetsDefinition:
    """`<method>_checkpoint`: a model trained on an experiment's manifest, registered in MLflow."""
    name = checkpoint_name(entry.name)

    @dg.multi_asset(
        name=name,
        specs=[
            asset_spec(
                name,
                entry.name,
                f"{entry.title}. The edges to all patch tables are for the picture only. {LAUNCHPAD_NOTE}",
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
        from cell_assets.evaluation.manifest import read_manifest

        begin(context, store)
        experiment = context.partition_key
        take_choices(context, store, [experiment])
        output = checkpoint_output(store, entry.name, experiment)
        refuse_small_patches(entry.name, experiment, output.training, output.tables)
        _, frozen = read_manifest(output.manifest.folder)
        tables = training_tables(output.tables)

        def train(out: Path, bar: Progress, work: Path) -> TrainingResult:
            return load_method(entry.name).train(tables, frozen, output.training, out, shown(bar), work)

        publish_checkpoint(context, store, models, progress, entry, output, train)
        yield finished(context, store, name)

    return checkpoint


def publish_checkpoint(
    context: dg.AssetExecutionContext,
    store: Store,
    models: ModelRegistry,
    progress: ProgressDisplay,
    entry: MethodEntry,
    output: ExperimentOutput,
    train: Callable[[Path, Progress, Path], TrainingResult],
) -> None:
    """Train unless the checkpoint is current, and give it its version in MLflow.

    Args:
        train: into a folder, moving a bar, with what a resume needs in another folder.
    """

    def write(out: Path) -> Written:
        work = unfinished_training(trainings_of(store), output)
        with Progress(context, progress, f"training {output.experiment}", 0) as bar:
            result = train(out, bar, work)
        for message in result.messages:
            context.log.info(message)
        return Written()

    register = partial(register_newest, store, models, entry.name, output.experiment)
    commit = Publisher(context, store).make(
        Making.of(output, context.run_id), output.receipts, write, committed=register
    )
    # Where it was current, its registration may be what a crash left out.
    register()
    if commit is not None:
        context.log.info(f"{output.asset} {output.experiment} is artifact {commit.artifact.id}")


def register_newest(store: Store, models: ModelRegistry, method: str, experiment: str) -> None:
    """Give the newest checkpoint its version in MLflow; does nothing when it has one."""
    latest = store.ledger.latest(checkpoint_name(method), experiment)
    if latest is not None and not store.ledger.model_versions([latest.artifact.id]):
        register_checkpoint(store, models, method, latest)


def register_checkpoint(store: Store, models: ModelRegistry, method: str, made: Provenance) -> None:
    """Register a checkpoint in MLflow and record its version in the ledger.

    Raises:
        OSError: its files are not there.
    """
    import pandas as pd

    folder, experiment = store.fetch(made.artifact), made.artifact.partition
    history = pd.read_parquet(folder / "history.parquet")
    name = f"{experiment}.{method}"
    version = models.register(
        name,
        made.artifact,
        folder,
        experiment=experiment,
        ledger_run=made.run.id,
        dagster_run=made.run.dagster_run_id,
        parameters=made.run.parameters,
        history=[
            MetricPoint(str(column), float(value), int(epoch))
            for column in history.columns.drop("epoch")
            for epoch, value in zip(history["epoch"], history[column], strict=True)
            if pd.notna(value)
        ],
    )
    store.ledger.record_model_version(made.artifact.id, name, version)


def embeddings_asset(entry: MethodEntry) -> dg.AssetsDefinition:
    """`<method>_embeddings`: an experiment's model applied to one plate."""
    name = embeddings_name(entry.name)

    @dg.multi_asset(
        name=name,
        specs=[
            asset_spec(
                name,
                entry.name,
                f"Features of every cell and time point of one plate, as AnnData. {LAUNCHPAD_NOTE}",
                {"anndata"},
            )
        ],
        partitions_def=representations,
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
        check_specs=standing_check_specs(name),
        config_schema=config_of(name),
    )
    def embeddings(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[Store],
        progress: dg.ResourceParam[ProgressDisplay],
    ) -> StepResults:
        from cell_assets.evaluation.manifest import read_manifest

        begin(context, store)
        take_choices(
            context, store, dict.fromkeys(split_representation_key(key)[0] for key in context.partition_keys)
        )
        method = load_method(entry.name)
        publisher = Publisher(context, store)
        for experiment, plate_name in applicable(context.partition_keys, store, entry):
            output = embeddings_output(store, entry.name, experiment, plate_name)
            _, frozen = read_manifest(output.manifest.folder)
            write = partial(
                _embed,
                context,
                progress,
                method,
                plate_name,
                training_tables(output.tables),
                frozen,
                output,
            )
            publisher.make(Making.of(output, context.run_id), output.receipts, write)
        yield finished(context, store, name)

    return embeddings


def applicable(keys: Sequence[str], store: Store, entry: MethodEntry) -> Iterator[tuple[str, str]]:
    """Experiment and plate of each key that has both a plate and a checkpoint: a range holds others, too.

    Raises:
        NotFoundError: a key was asked for alone and lacks one of them.
    """
    for key in keys:
        experiment, plate = split_representation_key(key)
        if (
            store.ledger.plate(plate) is not None
            and store.ledger.latest(checkpoint_name(entry.name), experiment) is not None
        ):
            yield experiment, plate
        elif len(keys) == 1:
            raise NotFoundError(
                f"{key}: there is no plate {plate} or no checkpoint of {experiment}; make it first"
            )


def _embed(
    context: dg.AssetExecutionContext,
    progress: ProgressDisplay,
    method: Method,
    plate: str,
    tables: Sequence[TrainingTable],
    frozen: "FrozenCells",
    output: EmbeddingsOutput,
    out: Path,
) -> Written:
    with Progress(context, progress, f"embedding {plate}", 0) as bar:
        result = method.embed(
            output.model.folder,
            tables,
            frozen,
            out,
            {"checkpoint": output.model.receipt.digest},
            output.embedding,
            shown(bar),
        )
    for message in result.messages:
        context.log.info(message)
    return Written()


def report_asset(entry: MethodEntry) -> dg.AssetsDefinition:
    """`<method>_report`: what an experiment's embeddings know, with intervals, figures and a page."""
    name = report_name(entry.name)

    @dg.multi_asset(
        name=name,
        specs=[
            asset_spec(
                name,
                entry.name,
                f"Numbers with intervals, figures and an HTML page. {LAUNCHPAD_NOTE}",
                {"html"},
            )
        ],
        partitions_def=experiments,
        can_subset=True,
        check_specs=report_check_specs(name),
        config_schema=config_of(name),
    )
    def report(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> StepResults:
        from cell_assets.assets.report_pages import write_embedding_report

        begin(context, store)
        experiment = context.partition_key
        take_choices(context, store, [experiment])
        output = report_output(store, entry.name, experiment)
        if output.inputs.state_segmentation is None and store.ledger.latest(
            AssetName.STATE_SEGMENTATION, experiment
        ):
            context.log.warning(
                f"state_segmentation {experiment} was not made of what stands now, so the report leaves it out"
            )

        def write(out: Path) -> Written:
            return Written(
                write_embedding_report(out, entry.name, entry.title, experiment, output.inputs, output.study)
            )

        publish_report(context, store, output, write)
        yield finished(context, store, name)

    return report


def shown(bar: Progress) -> ProgressSink:
    """Lets a method's progress move the bar."""

    def show(state: MethodProgress) -> None:
        bar.stand(state.done, state.total, f"{state.unit} {state.note}".strip())

    return show
