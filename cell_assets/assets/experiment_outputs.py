"""Manifest, kept patches, checkpoint, embeddings and report of an experiment as they would be made now.

Each function reads the choices and the newest inputs of one output. The body that makes the output and the plan
that asks whether it must be made call the same function. No Dagster here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import BaseModel

from cell_assets.assets.choices import ExperimentChoices
from cell_assets.assets.independent_plates import independent_plates
from cell_assets.assets.inputs import (
    ExperimentInputs,
    ReadArtifact,
    ReadTable,
    ReportInputs,
    experiment_inputs,
    plate_features,
    plate_qualities,
    plate_tables,
    read_report_inputs,
    table_receipts,
    tables_with_patches,
)
from cell_assets.assets.keeping import rows_to_keep
from cell_assets.assets.partitions import fov_key, representation_key
from cell_assets.assets.planning import currency, expectation
from cell_assets.assets.recipes import AssetName, checkpoint_name, embeddings_name, report_name
from cell_assets.assets.state_segmentation_inputs import current_state_segmentation
from cell_assets.errors import NotFoundError
from cell_assets.evaluation.splits import SplitParameters
from cell_assets.evaluation.studies.study_parameters import StudyParameters
from cell_assets.imaging.features.parameters import FeatureParameters
from cell_assets.imaging.kept_patches import KeptRows
from cell_assets.imaging.patch_reading import patch_policy
from cell_assets.imaging.patches import PatchPolicy
from cell_assets.imaging.quality.thresholds import Threshold, excluding
from cell_assets.ledger.currency import Currency, Expectation
from cell_assets.ledger.records import JsonValue, Plate, ReadReceipt
from cell_assets.methods.registry import load_method
from cell_assets.store.store import Store


@dataclass(frozen=True)
class ExperimentOutput:
    """One output with everything that decides its bytes, its code apart."""

    asset: str
    partition: str
    experiment: str
    parameters: Mapping[str, JsonValue]
    receipts: tuple[ReadReceipt, ...]

    def expectation(self) -> Expectation:
        """With its code: what a current output was made with."""
        return expectation(self.asset, self.partition, self.parameters, self.receipts)

    def currency(self, store: Store) -> Currency:
        """Whether what stands is this."""
        return currency(store, self.asset, self.partition, self.parameters, self.receipts)


@dataclass(frozen=True)
class ManifestOutput(ExperimentOutput):
    """The experiment, frozen as it stands."""

    inputs: ExperimentInputs
    quality: Mapping[str, ReadArtifact]
    """plate_qc by plate, where a threshold leaves something out."""
    split: SplitParameters
    thresholds: tuple[Threshold, ...]
    """Those that leave something out; those that only warn decide nothing of it."""


@dataclass(frozen=True)
class FeaturesOutput(ExperimentOutput):
    """Features of the cells of one plate."""

    raw: ReadArtifact
    segmentations: Mapping[str, ReadArtifact]
    """By position."""
    tracks: Mapping[str, ReadArtifact]
    """By position."""
    measuring: FeatureParameters


@dataclass(frozen=True)
class ManifestPatchesOutput(ExperimentOutput):
    """The patches of one plate that the newest manifest does not leave out."""

    raw: ReadArtifact
    manifest: ReadArtifact
    tables: Mapping[tuple[str, str], ReadTable]
    """Patch tables by the policy `manifest`, by plate and position; empty where there is nothing to keep."""

    def chosen(self) -> list[KeptRows]:
        """The rows of each table whose patches are kept."""
        return rows_to_keep(self.manifest.folder, {key: table.folder for key, table in self.tables.items()})


@dataclass(frozen=True)
class CheckpointOutput(ExperimentOutput):
    """A model trained on the newest manifest."""

    training: BaseModel
    """As this machine can run it."""
    manifest: ReadArtifact
    tables: Mapping[tuple[str, str], ReadTable]
    """Patch tables by plate and position."""


@dataclass(frozen=True)
class EmbeddingsOutput(ExperimentOutput):
    """The newest model of the experiment applied to one plate."""

    embedding: BaseModel
    """How it is applied."""
    model: ReadArtifact
    manifest: ReadArtifact
    tables: Mapping[tuple[str, str], ReadTable]
    """Patch tables of the plate, by plate and position."""


@dataclass(frozen=True)
class ReportOutput(ExperimentOutput):
    """What the newest embeddings know."""

    inputs: ReportInputs
    study: StudyParameters


def manifest_output(store: Store, experiment: str) -> ManifestOutput:
    """The manifest of the plates and patch tables that stand.

    Raises:
        NotFoundError: the experiment has no plate, a position no patch table, or a plate that thresholds are held
            against no plate_qc.
    """
    choices = ExperimentChoices.of(store.ledger, experiment)
    split, thresholds = choices.split, excluding(choices.quality)
    inputs = experiment_inputs(store, experiment)
    quality = plate_qualities(store, inputs.raw) if thresholds else {}
    stated: dict[str, JsonValue] = {"thresholds": [one.model_dump(mode="json") for one in thresholds]}
    return ManifestOutput(
        AssetName.EXPERIMENT_MANIFEST,
        experiment,
        experiment,
        {**split.model_dump(mode="json"), **(stated if thresholds else {})},
        (*inputs.receipts(), *(read.receipt for read in quality.values())),
        inputs,
        quality,
        split,
        thresholds,
    )


def features_output(store: Store, plate_name: str) -> FeaturesOutput:
    """Features of every FOV of a plate that was not withdrawn.

    Raises:
        NotFoundError: there is no such plate, it was not filmed, or a position has no segmentation or tracks.
    """
    plate = known_plate(store, plate_name)
    if not plate.is_filmed:
        raise NotFoundError(
            f"plate {plate_name} came as a {plate.draft.source_format}, so there are no images to measure its cells in"
        )
    experiment = plate.draft.experiment
    parameters = ExperimentChoices.of(store.ledger, experiment).features
    raw = ReadArtifact(*store.read(AssetName.RAW_ACQUISITION, plate_name))
    keys = {position: fov_key(plate_name, position) for position in plate.living_positions}
    segmentations, tracks = (
        {position: ReadArtifact(*read[key]) for position, key in keys.items()}
        for read in (
            store.read_many(asset, list(keys.values()))
            for asset in (AssetName.SEGMENTATION, AssetName.TRACKS)
        )
    )
    return FeaturesOutput(
        AssetName.SINGLE_CELL_FEATURES,
        plate_name,
        experiment,
        parameters.model_dump(mode="json"),
        (raw.receipt, *(read.receipt for read in (*segmentations.values(), *tracks.values()))),
        raw,
        segmentations,
        tracks,
        parameters,
    )


def manifest_patches_output(store: Store, experiment: str, plate_name: str) -> ManifestPatchesOutput:
    """The patches that the newest manifest keeps of one plate, whether or not the manifest lists the plate.

    Raises:
        NotFoundError: there is no such plate, or manifest, patch tables or raw acquisition have not been made.
    """
    plate = known_plate(store, plate_name)
    raw = ReadArtifact(*store.read(AssetName.RAW_ACQUISITION, plate_name))
    manifest = ReadArtifact(*store.read(AssetName.EXPERIMENT_MANIFEST, experiment))
    tables = {
        key: table
        for key, table in plate_tables(store, plate).items()
        if patch_policy(table.folder) is PatchPolicy.MANIFEST
    }
    return ManifestPatchesOutput(
        AssetName.MANIFEST_PATCHES,
        representation_key(experiment, plate_name),
        experiment,
        {},
        (raw.receipt, manifest.receipt, *table_receipts(tables)),
        raw,
        manifest,
        tables,
    )


def known_plate(store: Store, name: str) -> Plate:
    """The plate of that name. Raises NotFoundError when it is not registered."""
    plate = store.ledger.plate(name)
    if plate is None:
        raise NotFoundError(f"plate {name} is not registered: run `cell-assets ingest` for it")
    return plate


def checkpoint_output(store: Store, method: str, experiment: str) -> CheckpointOutput:
    """The checkpoint that the chosen training gives on the newest manifest.

    Raises:
        NotFoundError: manifest, patch tables or kept patches have not been made.
        BadInputError: the choices do not fit the method, or this machine cannot run them.
    """
    loaded = load_method(method)
    choice = ExperimentChoices.of(store.ledger, experiment).training_of(method)
    training = loaded.resolve(loaded.parameters(choice.preset, choice.changes)).parameters
    manifest = ReadArtifact(*store.read(AssetName.EXPERIMENT_MANIFEST, experiment))
    tables = tables_with_patches(store, experiment, experiment_inputs(store, experiment).tables)
    return CheckpointOutput(
        checkpoint_name(method),
        experiment,
        experiment,
        training.model_dump(mode="json"),
        (manifest.receipt, *table_receipts(tables)),
        training,
        manifest,
        tables,
    )


def embedding_of(store: Store, method: str, experiment: str) -> BaseModel:
    """How the experiment's models of a method are applied to plates, as it was chosen."""
    chosen = ExperimentChoices.of(store.ledger, experiment).embedding.get(method, {})
    return load_method(method).embedding_parameters(chosen)


def embeddings_output(store: Store, method: str, experiment: str, plate_name: str) -> EmbeddingsOutput:
    """The embeddings that the newest checkpoint gives of one plate.

    Raises:
        NotFoundError: there is no such plate, or checkpoint, manifest, patch tables or kept patches have not been
            made.
    """
    plate = known_plate(store, plate_name)
    model = ReadArtifact(*store.read(checkpoint_name(method), experiment))
    manifest = ReadArtifact(*store.read(AssetName.EXPERIMENT_MANIFEST, experiment))
    tables = tables_with_patches(store, experiment, plate_tables(store, plate))
    embedding = embedding_of(store, method, experiment)
    return EmbeddingsOutput(
        embeddings_name(method),
        representation_key(experiment, plate_name),
        experiment,
        embedding.model_dump(mode="json"),
        (model.receipt, manifest.receipt, *table_receipts(tables)),
        embedding,
        model,
        manifest,
        tables,
    )


def report_output(store: Store, method: str, experiment: str) -> ReportOutput:
    """The report of the newest embeddings of every plate, and of the independent plates that were chosen.

    Raises:
        NotFoundError: something that it reads has not been made.
        BadInputError: a plate that was chosen as independent is not.
    """
    study = ExperimentChoices.of(store.ledger, experiment).report
    independent = independent_plates(store, experiment, study.independent_plates)
    inputs = read_report_inputs(store, method, experiment, independent)
    inputs = replace(
        inputs,
        features=plate_features(store, [*inputs.tables, *inputs.independent_tables]),
        state_segmentation=current_state_segmentation(store, experiment, independent),
    )
    return ReportOutput(
        report_name(method),
        experiment,
        experiment,
        study.model_dump(mode="json"),
        tuple(inputs.receipts()),
        inputs,
        study,
    )
