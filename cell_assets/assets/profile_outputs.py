"""Profiles of wells, and what they are learned from, as they would be made now. No Dagster here.

As in `experiment_outputs`, the body that makes an output and the plan that asks whether it must be made call the same
function.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pydantic import BaseModel

from cell_assets.assets.choices import ExperimentChoices
from cell_assets.assets.experiment_outputs import ExperimentOutput, known_plate
from cell_assets.assets.inputs import (
    ReadArtifact,
    ReadTable,
    plate_features,
    plate_tables,
    standing_plates,
)
from cell_assets.assets.partitions import representation_key
from cell_assets.assets.recipes import AssetName, checkpoint_name, profiles_name, report_name
from cell_assets.assets.table_request import TableRows, rows_of
from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.learned_doses import DoseParameters
from cell_assets.evaluation.profiling.profile_parameters import (
    ProfileReportParameters,
    ProfileSelectionParameters,
)
from cell_assets.evaluation.profiling.well_manifest import WellSplitParameters
from cell_assets.evaluation.profiling.well_representations import ProfileParameters
from cell_assets.ledger.records import Plate
from cell_assets.methods.contract import CellTable
from cell_assets.methods.registry import load_profile_method
from cell_assets.methods.supervised_profiles.parameters import SupervisedProfilesParameters
from cell_assets.store.store import Store

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class MeanProfilesOutput(ExperimentOutput):
    """Profiles of the wells of one plate, without learning."""

    plate: Plate
    cells: ReadArtifact
    profiling: ProfileParameters


@dataclass(frozen=True)
class WellManifestOutput(ExperimentOutput):
    """The wells of the experiment, frozen as they stand."""

    plates: tuple[Plate, ...]
    cells: Mapping[str, ReadArtifact]
    """single_cell_features by plate."""
    split: WellSplitParameters


@dataclass(frozen=True)
class ProfileCheckpointOutput(ExperimentOutput):
    """A model trained on the cells of the newest well manifest."""

    training: BaseModel
    """As this machine can run it."""
    manifest: ReadArtifact
    cells: Mapping[str, ReadArtifact]
    """single_cell_features by plate."""


@dataclass(frozen=True)
class ProfilesOutput(ExperimentOutput):
    """The newest model of the experiment applied to the wells of one plate."""

    plate: Plate
    model: ReadArtifact
    manifest: ReadArtifact
    cells: ReadArtifact


@dataclass(frozen=True)
class SupervisedProfilesOutput(ExperimentOutput):
    """The wells of all plates that stand behind heads that learned from their compounds, by folds."""

    mean_profiles: Mapping[str, ReadArtifact]
    """By plate."""
    selection: ProfileSelectionParameters
    """Of the report, so that both see the same features."""
    held_out_plates: tuple[str, ...]
    """Of the split of wells: plates that no head learns from."""
    doses: DoseParameters
    """Of the split of wells: doses that heads learn from."""
    supervision: SupervisedProfilesParameters


@dataclass(frozen=True)
class ProfileReportOutput(ExperimentOutput):
    """What the newest profiles of an experiment's wells know."""

    mean_profiles: Mapping[str, ReadArtifact]
    """By plate."""
    learned: Mapping[str, ReadArtifact]
    """A method's profiles by plate; empty of a report on profiles without learning."""
    checkpoint: ReadArtifact | None
    """Of that method."""
    manifest: ReadArtifact | None
    """The well manifest that it learned by."""
    supervised: ReadArtifact | None
    """The supervised control, where one stands of what stands now."""
    study: ProfileReportParameters
    cells: Mapping[str, ReadArtifact]
    """single_cell_features by plate, where something is asked of the relevance of cells."""
    tables: Mapping[tuple[str, str], ReadTable]
    """Patch tables by plate and position, where cells of filmed plates are shown."""
    raw: Mapping[str, ReadArtifact]
    """Raw acquisition of these plates, from which patches are cut where a table stores none."""


def has_cells(plate: Plate) -> bool:
    """Whether there are cells to learn from; a plate that came as profiles of wells has none."""
    return rows_of(plate) is not TableRows.WELLS


def cells_of(store: Store, plates: Sequence[Plate]) -> dict[str, ReadArtifact]:
    """Newest single_cell_features of these plates, by plate.

    Raises:
        NotFoundError: a plate has none yet, or some that were measured on other tracks than those that stand.
        BadInputError: a plate came as profiles of wells.
    """
    without = [plate.draft.name for plate in plates if not has_cells(plate)]
    if without:
        raise BadInputError(
            f"plate {without[0]} ({len(without)} in all) came as profiles of wells, so there are no cells to learn "
            "from or to profile; bring in its single cells under another name"
        )
    filmed = [(plate.draft.name, one) for plate in plates for one in plate.living_positions]
    measured = plate_features(store, filmed)
    tables = [plate.draft.name for plate in plates if not plate.is_filmed]
    read = store.read_many(AssetName.SINGLE_CELL_FEATURES, tables)
    return {
        name: measured[name] if name in measured else ReadArtifact(*read[name])
        for name in (plate.draft.name for plate in plates)
    }


def mean_profiles_output(store: Store, plate_name: str) -> MeanProfilesOutput:
    """Profiles of a plate's wells from its cells.

    Raises:
        NotFoundError: there is no such plate, or it has no single_cell_features.
        BadInputError: the plate has no cells.
    """
    plate = known_plate(store, plate_name)
    (cells,) = cells_of(store, [plate]).values()
    experiment = plate.draft.experiment
    profiling = ExperimentChoices.of(store.ledger, experiment).profiles
    return MeanProfilesOutput(
        AssetName.MEAN_PROFILES,
        plate_name,
        experiment,
        profiling.model_dump(mode="json"),
        (cells.receipt,),
        plate,
        cells,
        profiling,
    )


def profile_report_output(store: Store, experiment: str, method: str | None) -> ProfileReportOutput:
    """The report on the newest profiles of every plate that stands.

    Args:
        method: whose profiles it is also about; None for those without learning alone.

    Raises:
        NotFoundError: something that it reads has not been made.
    """
    mean = _mean_profiles_of(store, experiment)
    names = list(mean)
    supervised = _current_supervised_profiles(store, experiment, mean)
    plates = standing_plates(store, experiment)
    learned: dict[str, ReadArtifact] = {}
    checkpoint = manifest = None
    if method is not None:
        keys = {representation_key(experiment, name): name for name in names}
        profiled = store.read_many(profiles_name(method), list(keys))
        learned = {name: ReadArtifact(*profiled[key]) for key, name in keys.items()}
        checkpoint = ReadArtifact(*store.read(checkpoint_name(method), experiment))
        manifest = ReadArtifact(*store.read(AssetName.WELL_MANIFEST, experiment))
    study = ExperimentChoices.of(store.ledger, experiment).profile_report
    if method is None:
        # Nobody says how much a cell has to say, so that another choice for it makes nothing anew.
        study = study.model_copy(update={"relevance": None})
    cells: dict[str, ReadArtifact] = {}
    tables: dict[tuple[str, str], ReadTable] = {}
    raw: dict[str, ReadArtifact] = {}
    if study.relevance is not None:
        cells = cells_of(store, plates)
        for plate in (one for one in plates if one.is_filmed and study.relevance.wells_shown):
            tables |= plate_tables(store, plate)
            raw[plate.draft.name] = ReadArtifact(*store.read(AssetName.RAW_ACQUISITION, plate.draft.name))
    whole = [one for one in (checkpoint, manifest, supervised) if one is not None]
    seen = (*cells.values(), *tables.values(), *raw.values())
    return ProfileReportOutput(
        AssetName.MEAN_PROFILES_REPORT.value if method is None else report_name(method),
        experiment,
        experiment,
        study.model_dump(mode="json"),
        tuple(one.receipt for one in (*mean.values(), *learned.values(), *whole, *seen)),
        mean,
        learned,
        checkpoint,
        manifest,
        supervised,
        study,
        cells,
        tables,
        raw,
    )


def supervised_profiles_output(store: Store, experiment: str) -> SupervisedProfilesOutput:
    """What the experiment's choice gives, or its defaults where nobody chose, on the newest mean_profiles.

    Raises:
        NotFoundError: a plate has no mean_profiles.
    """
    return _supervised_on(store, experiment, _mean_profiles_of(store, experiment))


def _supervised_on(
    store: Store, experiment: str, mean: Mapping[str, ReadArtifact]
) -> SupervisedProfilesOutput:
    choices = ExperimentChoices.of(store.ledger, experiment)
    supervision = choices.supervised_profiles or SupervisedProfilesParameters()
    selection, split = choices.profile_report.selection, choices.well_split
    return SupervisedProfilesOutput(
        AssetName.SUPERVISED_PROFILES,
        experiment,
        experiment,
        {
            **supervision.model_dump(mode="json"),
            "selection": selection.model_dump(mode="json"),
            "held_out_plates": list(split.plate_splits),
            "doses": split.doses.model_dump(mode="json"),
        },
        tuple(read.receipt for read in mean.values()),
        mean,
        selection,
        tuple(split.plate_splits),
        split.doses,
        supervision,
    )


def _current_supervised_profiles(
    store: Store, experiment: str, mean: Mapping[str, ReadArtifact]
) -> ReadArtifact | None:
    """The newest supervised profiles where they are what would be made of `mean` now, whoever asked for them."""
    output = _supervised_on(store, experiment, mean)
    if not output.currency(store).is_current:
        return None
    return ReadArtifact(*store.read(output.asset, experiment))


def _mean_profiles_of(store: Store, experiment: str) -> dict[str, ReadArtifact]:
    """The newest of every plate that stands, by plate."""
    names = [plate.draft.name for plate in standing_plates(store, experiment)]
    read = store.read_many(AssetName.MEAN_PROFILES, names)
    return {name: ReadArtifact(*read[name]) for name in names}


def well_manifest_output(store: Store, experiment: str) -> WellManifestOutput:
    """The manifest of the wells of all plates that stand.

    Raises:
        NotFoundError: the experiment has no plate, or a plate no single_cell_features.
        BadInputError: a plate has no cells.
    """
    split = ExperimentChoices.of(store.ledger, experiment).well_split
    plates = standing_plates(store, experiment)
    cells = cells_of(store, plates)
    return WellManifestOutput(
        AssetName.WELL_MANIFEST,
        experiment,
        experiment,
        split.model_dump(mode="json"),
        tuple(read.receipt for read in cells.values()),
        plates,
        cells,
        split,
    )


def profile_checkpoint_output(store: Store, method: str, experiment: str) -> ProfileCheckpointOutput:
    """The checkpoint that the chosen training gives on the newest well manifest.

    Raises:
        NotFoundError: well manifest or single_cell_features have not been made.
        BadInputError: the choices do not fit the method, or this machine cannot run them.
    """
    loaded = load_profile_method(method)
    choice = ExperimentChoices.of(store.ledger, experiment).training_of(method)
    training = loaded.resolve(loaded.parameters(choice.preset, choice.changes)).parameters
    manifest = ReadArtifact(*store.read(AssetName.WELL_MANIFEST, experiment))
    cells = cells_of(store, standing_plates(store, experiment))
    return ProfileCheckpointOutput(
        checkpoint_name(method),
        experiment,
        experiment,
        training.model_dump(mode="json"),
        (manifest.receipt, *(read.receipt for read in cells.values())),
        training,
        manifest,
        cells,
    )


def profiles_output(store: Store, method: str, experiment: str, plate_name: str) -> ProfilesOutput:
    """The profiles that the newest checkpoint gives of one plate, of the experiment or of another.

    Raises:
        NotFoundError: there is no such plate, or checkpoint, manifest or single_cell_features have not been made.
        BadInputError: the plate has no cells.
    """
    plate = known_plate(store, plate_name)
    model = ReadArtifact(*store.read(checkpoint_name(method), experiment))
    manifest = ReadArtifact(*store.read(AssetName.WELL_MANIFEST, experiment))
    (cells,) = cells_of(store, [plate]).values()
    return ProfilesOutput(
        profiles_name(method),
        representation_key(experiment, plate_name),
        experiment,
        {},
        (model.receipt, manifest.receipt, cells.receipt),
        plate,
        model,
        manifest,
        cells,
    )


@contextmanager
def cell_tables(cells: Mapping[str, ReadArtifact], scratch: Path) -> Iterator[list[CellTable]]:
    """The cells as a method takes them; what of filmed plates is written into `scratch` goes with the block."""
    from cell_assets.imaging.feature_tables.measured_cells import feature_table_folder

    scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=scratch) as made:
        yield [
            CellTable(plate, feature_table_folder(read.folder, Path(made) / plate))
            for plate, read in cells.items()
        ]


def wells_of_plate(plate: Plate, table: CellTable) -> "pd.DataFrame":
    """The wells of a plate with their treatments and numbers of cells, see `well_manifest.wells_table`."""
    from cell_assets.evaluation.profiling.well_manifest import wells_table
    from cell_assets.imaging.feature_tables.feature_table import read_feature_table_record

    name = plate.draft.name
    record, start = read_feature_table_record(table.path), f"{name}|"
    return wells_table(
        name,
        plate.draft.wells,
        {well.removeprefix(start): n for well, n in record.wells.items()},
        {well.removeprefix(start): digest for well, digest in record.digests.items()},
    )
