"""What the assets of an experiment read: published folders together with the receipts of reading them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cell_assets.assets.partitions import fov_key, representation_key
from cell_assets.assets.recipes import AssetName, checkpoint_name, embeddings_name
from cell_assets.errors import NotFoundError
from cell_assets.imaging.patch_reading import patch_policy
from cell_assets.imaging.patches import PatchPolicy
from cell_assets.ledger.records import ArtifactState, Plate, ReadReceipt
from cell_assets.methods.contract import TrainingTable
from cell_assets.store.store import Store


@dataclass(frozen=True)
class ReadArtifact:
    """A published folder and the proof of having read it."""

    folder: Path
    receipt: ReadReceipt


@dataclass(frozen=True)
class ReadTable(ReadArtifact):
    """A published patch table and, where it stores no patches, what they are read from."""

    raw: ReadArtifact | None = None
    """The raw acquisition of its plate, from which they are cut."""
    kept: ReadArtifact | None = None
    """The manifest_patches of its plate, which hold them."""


@dataclass(frozen=True)
class ExperimentInputs:
    """Raw acquisitions and patch tables of every plate of an experiment."""

    raw: dict[str, ReadArtifact]
    """By plate."""
    tables: dict[tuple[str, str], ReadTable]
    """Patch tables by plate and position."""

    @property
    def simulated(self) -> bool:
        """Whether any plate is a simulation, which every report then says."""
        from cell_assets.imaging.acquisition import open_acquisition

        return any(open_acquisition(read.folder).info.simulated for read in self.raw.values())

    def receipts(self) -> list[ReadReceipt]:
        """All of them, as input edges."""
        return [read.receipt for read in (*self.raw.values(), *self.tables.values())]


def table_receipts(tables: Mapping[tuple[str, str], ReadTable]) -> list[ReadReceipt]:
    """Of the tables and of what their patches are read from, each once."""
    beside = {one.receipt for read in tables.values() for one in (read.raw, read.kept) if one is not None}
    return [
        *(read.receipt for read in tables.values()),
        *sorted(beside, key=lambda one: one.artifact_id),
    ]


def training_tables(tables: Mapping[tuple[str, str], ReadTable]) -> list[TrainingTable]:
    """The tables as a method takes them."""
    return [
        TrainingTable(
            plate,
            position,
            read.folder,
            acquisition=None if read.raw is None else read.raw.folder,
            kept=None if read.kept is None else read.kept.folder,
        )
        for (plate, position), read in tables.items()
    ]


def standing_plates(store: Store, experiment: str) -> tuple[Plate, ...]:
    """The plates of an experiment that stand, filmed or not.

    Raises:
        NotFoundError: there is none.
    """
    known = store.ledger.plates(experiment)
    plates = tuple(plate for plate in known if plate.stands)
    if known and not plates:
        raise NotFoundError(f"every plate of experiment {experiment} was withdrawn, or every FOV of it")
    if not plates:
        raise NotFoundError(
            f"experiment {experiment} has no plate: bring one in with `cell-assets ingest SRC --experiment "
            f"{experiment} --plate P`, or with `cell-assets ingest-table` where it is a table of features"
        )
    return plates


def filmed_plates(store: Store, experiment: str) -> tuple[Plate, ...]:
    """Those of them that were filmed.

    Raises:
        NotFoundError: there is none.
    """
    plates = tuple(plate for plate in standing_plates(store, experiment) if plate.is_filmed)
    if not plates:
        raise NotFoundError(
            f"the plates of experiment {experiment} came as tables of features, so there are no images to look at; "
            f"choose a method that profiles wells, as `cell-assets run --experiment {experiment} --method cytosummary`"
        )
    return plates


def experiment_inputs(store: Store, experiment: str) -> ExperimentInputs:
    """Newest raw acquisition and patch tables of every plate.

    Raises:
        NotFoundError: a position has no patch table yet.
    """
    raw: dict[str, ReadArtifact] = {}
    tables: dict[tuple[str, str], ReadTable] = {}
    for plate in filmed_plates(store, experiment):
        raw[plate.draft.name] = ReadArtifact(*store.read(AssetName.RAW_ACQUISITION, plate.draft.name))
        tables.update(plate_tables(store, plate))
    return ExperimentInputs(raw, tables)


def plate_qualities(store: Store, raw: Mapping[str, ReadArtifact]) -> dict[str, ReadArtifact]:
    """Newest plate_qc of every plate, by plate.

    Raises:
        NotFoundError: a plate has none yet, or one that was measured on another raw acquisition.
    """
    read = store.read_many(AssetName.PLATE_QC, list(raw))
    measured = store.ledger.latest_many(AssetName.PLATE_QC, list(raw))
    for plate, acquisition in raw.items():
        if acquisition.receipt.digest not in {artifact.digest for artifact in measured[plate].inputs}:
            raise NotFoundError(
                f"plate_qc {plate} was measured on an earlier raw acquisition; materialise plate_qc first"
            )
    return {plate: ReadArtifact(*read[plate]) for plate in raw}


def plate_features(store: Store, positions: Sequence[tuple[str, str]]) -> dict[str, ReadArtifact]:
    """Newest single_cell_features of the plates of these positions (plate, position), by plate.

    Raises:
        NotFoundError: a plate has none yet, or some that were measured on other tracks than those that stand.
    """
    plates = list(dict.fromkeys(plate for plate, _ in positions))
    read = store.read_many(AssetName.SINGLE_CELL_FEATURES, plates)
    measured = store.ledger.latest_many(AssetName.SINGLE_CELL_FEATURES, plates)
    tracks = store.ledger.latest_many(AssetName.TRACKS, [fov_key(*position) for position in positions])
    for plate, position in positions:
        standing = tracks[fov_key(plate, position)].artifact.digest
        if standing not in {artifact.digest for artifact in measured[plate].inputs}:
            raise NotFoundError(
                f"single_cell_features {plate} were measured on earlier tracks; materialise single_cell_features first"
            )
    return {plate: ReadArtifact(*read[plate]) for plate in plates}


def plate_tables(store: Store, plate: Plate) -> dict[tuple[str, str], ReadTable]:
    """Newest patch table of every position of one plate that was not withdrawn.

    Raises:
        NotFoundError: a position has none yet.
    """
    name = plate.draft.name
    keys = {fov_key(name, position): position for position in plate.living_positions}
    read = store.read_many(AssetName.PATCH_TABLE, list(keys))
    return {(name, position): ReadTable(*read[key]) for key, position in keys.items()}


def tables_with_patches(
    store: Store, experiment: str, tables: Mapping[tuple[str, str], ReadTable]
) -> dict[tuple[str, str], ReadTable]:
    """Patch tables with what their patches are read from, each by the policy that it was made by.

    Args:
        experiment: whose manifest says which patches were kept.

    Raises:
        NotFoundError: a plate's manifest_patches were not made, or of another manifest or other patch tables.
    """
    policies = {key: patch_policy(table.folder) for key, table in tables.items()}

    def plates(policy: PatchPolicy) -> list[str]:
        return sorted({plate for (plate, _), made_by in policies.items() if made_by is policy})

    raw = {
        plate: ReadArtifact(*store.read(AssetName.RAW_ACQUISITION, plate))
        for plate in plates(PatchPolicy.NONE)
    }
    kept = {
        plate: _kept_patches(
            store,
            experiment,
            plate,
            [
                table.receipt.digest
                for of, table in tables.items()
                if of[0] == plate and policies[of] is PatchPolicy.MANIFEST
            ],
        )
        for plate in plates(PatchPolicy.MANIFEST)
    }
    return {
        key: replace(
            table,
            raw=raw[key[0]] if policies[key] is PatchPolicy.NONE else None,
            kept=kept[key[0]] if policies[key] is PatchPolicy.MANIFEST else None,
        )
        for key, table in tables.items()
    }


def _kept_patches(store: Store, experiment: str, plate: str, table_digests: Sequence[str]) -> ReadArtifact:
    key = representation_key(experiment, plate)
    read = ReadArtifact(*store.read(AssetName.MANIFEST_PATCHES, key))
    made = store.ledger.latest(AssetName.MANIFEST_PATCHES, key)
    manifest = store.ledger.latest(AssetName.EXPERIMENT_MANIFEST, experiment)
    assert made is not None and manifest is not None
    wanted = {manifest.artifact.digest, *table_digests}
    if not wanted <= {artifact.digest for artifact in made.inputs}:
        raise NotFoundError(
            f"manifest_patches {key} were made of an earlier manifest or earlier patch tables; materialise "
            "manifest_patches first"
        )
    return read


@dataclass(frozen=True)
class ReportInputs:
    """What a report reads."""

    embeddings: Mapping[str, ReadArtifact]
    """By plate, independent ones too."""
    raw: Mapping[str, ReadArtifact]
    """By plate, independent ones too; for states given at ingest and the time between frames."""
    tables: Mapping[tuple[str, str], ReadTable]
    """Patch tables of the experiment's own plates, for the pictures of single cells."""
    manifest: ReadArtifact
    checkpoint: ReadArtifact
    annotations: Mapping[tuple[str, str], ReadArtifact]
    """By plate and position, where people annotated cells."""
    features: Mapping[str, ReadArtifact] = field(default_factory=dict)
    """single_cell_features by plate, independent ones too; empty for studies that do without."""
    state_segmentation: ReadArtifact | None = None
    """Where a current one stands."""
    independent_tables: Mapping[tuple[str, str], ReadTable] = field(default_factory=dict)
    """Patch tables of independent plates, likewise."""

    def receipts(self) -> list[ReadReceipt]:
        """All of them, as input edges."""
        read = (
            self.manifest,
            self.checkpoint,
            *self.embeddings.values(),
            *self.raw.values(),
            *self.tables.values(),
            *self.independent_tables.values(),
            *self.annotations.values(),
            *self.features.values(),
            *([] if self.state_segmentation is None else [self.state_segmentation]),
        )
        return [one.receipt for one in read]


def read_report_inputs(
    store: Store, method: str, experiment: str, independent: Sequence[Plate] = ()
) -> ReportInputs:
    """The newest of what every study of `method` on `experiment` rests on: all but features and segmented states.

    Args:
        independent: plates of other experiments that it is also about.

    Raises:
        NotFoundError: something has not been made yet.
    """
    base = experiment_inputs(store, experiment)
    strange = {plate.draft.name: plate for plate in independent}
    raw = store.read_many(AssetName.RAW_ACQUISITION, list(strange))
    keys = {representation_key(experiment, plate): plate for plate in (*base.raw, *strange)}
    strange_tables = {
        key: table for plate in independent for key, table in plate_tables(store, plate).items()
    }
    embeddings = store.read_many(embeddings_name(method), list(keys))
    return ReportInputs(
        embeddings={plate: ReadArtifact(*embeddings[key]) for key, plate in keys.items()},
        raw={**base.raw, **{plate: ReadArtifact(*raw[plate]) for plate in strange}},
        tables=base.tables,
        manifest=ReadArtifact(*store.read(AssetName.EXPERIMENT_MANIFEST, experiment)),
        checkpoint=ReadArtifact(*store.read(checkpoint_name(method), experiment)),
        annotations=standing_annotations(store, [*base.tables, *strange_tables]),
        independent_tables=strange_tables,
    )


def refuse_outdated(store: Store, asset: AssetName, made_of: Mapping[tuple[str, str], ReadArtifact]) -> None:
    """`asset` of these positions (plate, position) must be made of what was read, or labels, tracks and patches are
    not of the same cells.

    Raises:
        NotFoundError: it was made of an earlier one.
    """
    keys = {fov_key(*position): read.receipt for position, read in made_of.items()}
    made = store.ledger.latest_many(asset, list(keys))
    for key, receipt in keys.items():
        if receipt.digest not in {artifact.digest for artifact in made[key].inputs}:
            raise NotFoundError(
                f"{asset.value} {key} was made of an earlier {receipt.asset}; materialise {asset.value} first"
            )


def standing_annotations(
    store: Store, positions: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], ReadArtifact]:
    """Newest annotations of these positions (plate, position) that were not withdrawn; many have none.

    Raises:
        NotFoundError: some were joined to other tracks than those that stand.
    """
    keys = {fov_key(*position): position for position in positions}
    if outdated := outdated_annotations(store, list(keys)):
        raise NotFoundError(
            f"annotations {outdated[0]} were joined to earlier tracks; materialise annotations first"
        )
    newest = store.ledger.latest_many(AssetName.ANNOTATIONS, list(keys), ArtifactState.PRESENT)
    return {
        keys[key]: ReadArtifact(*store.read_artifact(newest[key].artifact.id))
        for key in keys
        if key in newest
    }


def outdated_annotations(store: Store, keys: Sequence[str]) -> list[str]:
    """Those FOVs (by key) whose annotations were joined to other tracks than those that stand."""
    standing = store.ledger.latest_many(AssetName.ANNOTATIONS, keys, ArtifactState.PRESENT)
    joined_to = {key: {artifact.digest for artifact in made.inputs} for key, made in standing.items()}
    return sorted(
        {
            key
            for asset in (AssetName.TRACKS, AssetName.SEGMENTATION)
            for key, made in store.ledger.latest_many(asset, list(standing)).items()
            if made.artifact.digest not in joined_to[key]
        }
    )
