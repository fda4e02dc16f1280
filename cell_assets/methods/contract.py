"""What every published method takes and gives back; free of torch, so that assets may import it early."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pydantic import BaseModel

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from cell_assets.evaluation.manifest import FrozenCells
    from cell_assets.evaluation.pixels.attribution_parameters import AttributionParameters
    from cell_assets.evaluation.pixels.bleaching_parameters import BleachingParameters
    from cell_assets.methods.attribution.classifier import PatchEncoder


@dataclass(frozen=True)
class TrainingTable:
    """One patch table (folder with cells.parquet, patch_table.json and, by its policy, patches.zarr).

    `imaging.patch_reading.open_patch_table(path, acquisition=acquisition, kept=kept)` reads it by any policy.
    """

    plate: str
    fov_name: str
    path: Path
    acquisition: Path | None = None
    """Folder of the raw acquisition, where the table stores no patches and cuts them from there."""
    kept: Path | None = None
    """Folder of the plate's kept patches, where the table stores none and they are read from there."""


@dataclass(frozen=True)
class CellTable:
    """The single cells of one plate: folder of a feature table, see `imaging.feature_tables`."""

    plate: str
    path: Path


@dataclass(frozen=True)
class Progress:
    """How far a long computation is."""

    done: int
    total: int
    unit: str
    """What is counted, for example `steps` or `cells`."""
    per_second: float
    remaining_s: float
    note: str = ""


ProgressSink = Callable[[Progress], None]


@dataclass(frozen=True)
class Resolution:
    """Parameters as this machine can run them, and a sentence for everything that had to change."""

    parameters: BaseModel
    messages: tuple[str, ...]


@dataclass(frozen=True)
class TrainingResult:
    """A finished training; the checkpoint's files lie in the folder that the caller named."""

    parameters: BaseModel
    """As they were run: what the checkpoint's config.json states."""
    messages: tuple[str, ...]
    """What a person should know: fall-backs, a share of anchors never seen, missing validation data."""
    metrics: Mapping[str, float]
    """Last values for a model registry, for example `train_loss`."""


@dataclass(frozen=True)
class EmbeddingResult:
    """Finished embeddings; `embeddings.zarr` lies in the folder that the caller named."""

    n_cells: int
    n_features: int
    messages: tuple[str, ...]


@dataclass(frozen=True)
class ProfilingResult:
    """Finished profiles; `profiles.parquet` lies in the folder that the caller named."""

    n_wells: int
    n_features: int
    messages: tuple[str, ...]


class TrainableMethod(Protocol):
    """What all published methods share: how their training is configured, and what it tells a reader."""

    name: str

    def parameters(self, preset: str, changes: Mapping[str, object]) -> BaseModel:
        """The preset's parameters with `changes` applied; BadInputError names an unknown or bad value."""
        ...

    def resolve(self, parameters: BaseModel) -> Resolution:
        """What this machine can run of `parameters`; record the result, not the request."""
        ...

    def training_notes(self, checkpoint: Path) -> tuple[str, ...]:
        """What a reader of a report should know about how the checkpoint in this folder was trained."""
        ...


@runtime_checkable
class SeesPatches(Protocol):
    """Training parameters of a method that embeds single cells."""

    @property
    def patch_side_px(self) -> int:
        """Side of the patch that the network sees, cut from the middle of a stored one; `--patch-px` sets it."""
        ...


class Method(TrainableMethod, Protocol):
    """A published method that embeds single cells from their patches: how to train it and apply it.

    Its training parameters are `SeesPatches`.
    """

    def stored_side_px(self, parameters: BaseModel) -> int:
        """Side of the stored patches from which these parameters' training never looks past an edge."""
        ...

    def train(
        self,
        tables: Sequence[TrainingTable],
        manifest: "FrozenCells",
        parameters: BaseModel,
        out: Path,
        progress: ProgressSink | None = None,
        work: Path | None = None,
    ) -> TrainingResult:
        """Writes a checkpoint into the existing empty folder `out`; `work` holds what a resume needs.

        What each cell image of `tables` may be used for, if anything, `manifest.split_of` says.
        """
        ...

    def train_beside(
        self,
        tables: Sequence[TrainingTable],
        manifest: "FrozenCells",
        parameters: BaseModel,
        node: int,
        work: Path,
        progress: ProgressSink | None = None,
    ) -> None:
        """Machine number `node` of a training of several, whose first one writes; `work` is shared by all of them.

        BadInputError where the parameters are of one machine, or of no machine of that number.
        """
        ...

    def embedding_parameters(self, changes: Mapping[str, object]) -> BaseModel:
        """What decides the embeddings' bytes beside the checkpoint and the tables: the defaults with `changes`.

        BadInputError names an unknown or bad value.
        """
        ...

    def embed(
        self,
        checkpoint: Path,
        tables: Sequence[TrainingTable],
        manifest: "FrozenCells",
        out: Path,
        provenance: Mapping[str, str],
        parameters: BaseModel | None = None,
        progress: ProgressSink | None = None,
    ) -> EmbeddingResult:
        """Writes `embeddings.zarr` into `out`; `provenance` (digests by name) goes into its `uns`.

        One row for every cell image of `tables` that the manifest does not leave out.
        """
        ...


class ProfileMethod(TrainableMethod, Protocol):
    """A published method that profiles wells from the features of their cells: how to train it and apply it."""

    def train(
        self,
        tables: Sequence[CellTable],
        wells: "pd.DataFrame",
        parameters: BaseModel,
        out: Path,
        progress: ProgressSink | None = None,
        work: Path | None = None,
    ) -> TrainingResult:
        """Writes a checkpoint, with `history.parquet`, into the existing empty folder `out`.

        Args:
            wells: one row per well of `tables`, as `evaluation.profiling.well_manifest` has them.
            work: holds what a resume needs.
        """
        ...

    def train_beside(
        self,
        tables: Sequence[CellTable],
        wells: "pd.DataFrame",
        parameters: BaseModel,
        node: int,
        work: Path,
        progress: ProgressSink | None = None,
    ) -> None:
        """As `Method.train_beside`."""
        ...

    def profile(
        self,
        checkpoint: Path,
        table: CellTable,
        wells: "pd.DataFrame",
        out: Path,
        provenance: Mapping[str, str],
        progress: ProgressSink | None = None,
    ) -> ProfilingResult:
        """Writes `profiles.parquet`, one row per well, and what it holds into `out`.

        Args:
            wells: as `train` takes them; the columns of a well are kept beside its profile.
        """
        ...


@runtime_checkable
class AttributableMethod(Protocol):
    """The optional part of the contract: a method whose encoder is a network from the pixels of single patches.

    Its entry in the registry says so, because the asset graph is built before any method is imported.
    """

    def open_encoder(
        self,
        checkpoint: Path,
        tables: Sequence[TrainingTable],
        manifest: "FrozenCells",
        parameters: "AttributionParameters",
    ) -> "PatchEncoder":
        """The trained network over the cells of `tables`; its features are those that `embed` writes."""
        ...


@runtime_checkable
class BleachableMethod(Protocol):
    """The optional part of the contract: a method that can see cells as photobleaching would dim them.

    Its entry in the registry says so, because the asset graph is built before any method is imported.
    """

    def embed_dimmed(
        self,
        checkpoint: Path,
        tables: Sequence[TrainingTable],
        manifest: "FrozenCells",
        cells: "pd.DataFrame",
        parameters: "BleachingParameters",
        embedding: BaseModel | None = None,
        progress: ProgressSink | None = None,
    ) -> "Mapping[float, NDArray[np.float32]] | str":
        """Features (n, D) of `cells` by share of remaining light, or why none of what the model sees can bleach.

        Args:
            embedding: as `embed` took them for the features that these are held against.
            cells: n rows with `plate, fov_name` and the `row` of their patch table.
        """
        ...
