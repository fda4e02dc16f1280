"""What a state segmentation reads, and whether the one that stands was made of it. No Dagster here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cell_assets.assets.inputs import (
    ReadArtifact,
    ReadTable,
    experiment_inputs,
    plate_tables,
    standing_annotations,
)
from cell_assets.assets.partitions import fov_key
from cell_assets.assets.planning import currency
from cell_assets.assets.recipes import AssetName
from cell_assets.ledger.records import ArtifactState, Plate, ReadReceipt
from cell_assets.methods.state_segmentation.folders import FovFolders
from cell_assets.store.store import Store


@dataclass(frozen=True)
class StateSegmentationInputs:
    """What a state segmentation reads."""

    manifest: ReadArtifact
    raw: Mapping[str, ReadArtifact]
    """By plate; for pixels and for states given at ingest."""
    segmentations: Mapping[tuple[str, str], ReadArtifact]
    """By plate and position, as the following ones."""
    tracks: Mapping[tuple[str, str], ReadArtifact]
    tables: Mapping[tuple[str, str], ReadTable]
    annotations: Mapping[tuple[str, str], ReadArtifact]
    """Where people annotated cells of the experiment's own plates."""
    independent: frozenset[str] = frozenset()
    """Those of the plates that nothing is learned from: their cells are only predicted."""

    def receipts(self) -> tuple[ReadReceipt, ...]:
        """All of them, as input edges."""
        by_key = (self.raw, self.segmentations, self.tracks, self.tables, self.annotations)
        return (self.manifest.receipt, *(read.receipt for reads in by_key for read in reads.values()))

    def folders(self) -> list[FovFolders]:
        """Every FOV of the experiment's own plates as the method takes it."""
        return [one for one in self._folders() if one.plate not in self.independent]

    def independent_folders(self) -> list[FovFolders]:
        """Every FOV of the independent plates."""
        return [one for one in self._folders() if one.plate in self.independent]

    def own_raw(self) -> dict[str, ReadArtifact]:
        """Raw acquisitions of the experiment's own plates, by plate."""
        return {plate: read for plate, read in self.raw.items() if plate not in self.independent}

    def _folders(self) -> list[FovFolders]:
        return [
            FovFolders(
                plate,
                position,
                acquisition=self.raw[plate].folder,
                segmentation=self.segmentations[plate, position].folder,
                tracks=self.tracks[plate, position].folder,
                patch_table=table.folder,
            )
            for (plate, position), table in self.tables.items()
        ]


def read_state_segmentation_inputs(
    store: Store, experiment: str, independent: Sequence[Plate]
) -> StateSegmentationInputs:
    """The newest of everything that a state segmentation is made of.

    Args:
        independent: plates of other experiments whose cells are predicted as well.

    Raises:
        NotFoundError: manifest, FOVs or annotations have not been made, or annotations not of the tracks that stand.
    """
    base = experiment_inputs(store, experiment)
    strange = {plate.draft.name: plate for plate in independent}
    raw = store.read_many(AssetName.RAW_ACQUISITION, list(strange))
    tables = dict(base.tables)
    for plate in independent:
        tables |= plate_tables(store, plate)
    keys = {fov_key(*position): position for position in tables}
    segmentations, tracks = (
        store.read_many(asset, list(keys)) for asset in (AssetName.SEGMENTATION, AssetName.TRACKS)
    )
    return StateSegmentationInputs(
        ReadArtifact(*store.read(AssetName.EXPERIMENT_MANIFEST, experiment)),
        {**base.raw, **{plate: ReadArtifact(*raw[plate]) for plate in strange}},
        {keys[key]: ReadArtifact(*read) for key, read in segmentations.items()},
        {keys[key]: ReadArtifact(*read) for key, read in tracks.items()},
        tables,
        standing_annotations(store, list(base.tables)),
        frozenset(strange),
    )


def current_state_segmentation(
    store: Store, experiment: str, independent: Sequence[Plate]
) -> ReadArtifact | None:
    """The newest state segmentation where it is of the inputs that stand and of this code, whoever asked for it.

    Args:
        independent: see `read_state_segmentation_inputs`.

    Raises:
        NotFoundError: what it would be made of has not been made.
    """
    asset = AssetName.STATE_SEGMENTATION
    made = store.ledger.latest(asset, experiment)
    if made is None or made.artifact.state is not ArtifactState.PRESENT:
        return None
    receipts = read_state_segmentation_inputs(store, experiment, independent).receipts()
    if not currency(store, asset, experiment, made.run.parameters, receipts).is_current:
        return None
    return ReadArtifact(*store.read(asset, experiment))
