"""DynaCLR as the registry sees it."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from cell_assets.errors import BadInputError
from cell_assets.evaluation.manifest import FrozenCells
from cell_assets.evaluation.pixels.attribution_parameters import AttributionParameters
from cell_assets.evaluation.pixels.bleaching_parameters import BleachingParameters
from cell_assets.methods.attribution.classifier import PatchEncoder
from cell_assets.methods.contract import (
    EmbeddingResult,
    Method,
    ProgressSink,
    Resolution,
    TrainingResult,
    TrainingTable,
)
from cell_assets.methods.dynaclr.attribution import open_encoder
from cell_assets.methods.dynaclr.augmentation import side_without_padding
from cell_assets.methods.dynaclr.bleaching import embed_cells_dimmed
from cell_assets.methods.dynaclr.checkpoint import load_config
from cell_assets.methods.dynaclr.embedding import embed
from cell_assets.methods.dynaclr.embedding_parameters import EmbeddingParameters
from cell_assets.methods.dynaclr.machine import supported
from cell_assets.methods.dynaclr.parameters import InitialState, TrainingParameters
from cell_assets.methods.dynaclr.sampling_record import SamplingReport
from cell_assets.methods.dynaclr.training import SAMPLING_FILE, train
from cell_assets.methods.launching import Team, train_beside, train_together


class DynaclrMethod:
    """DynaCLR behind the contract that all methods share."""

    name = "dynaclr"

    def parameters(self, preset: str, changes: Mapping[str, object]) -> TrainingParameters:
        """The preset's parameters with `changes` applied; BadInputError names an unknown or bad value."""
        try:
            base = TrainingParameters.named(preset)
            return TrainingParameters.model_validate({**base.model_dump(), **changes})
        except ValidationError as error:
            raise _refused("", error) from error
        except ValueError as error:
            raise BadInputError(f"{error}; choose one of these") from error

    def resolve(self, parameters: BaseModel) -> Resolution:
        """What this machine can run of `parameters`."""
        resolved, messages = supported(_own(parameters))
        return Resolution(resolved, messages)

    def stored_side_px(self, parameters: BaseModel) -> int:
        """See `augmentation.side_without_padding`."""
        own = _own(parameters)
        return side_without_padding(own.patch_side_px, own.augmentation)

    def train(
        self,
        tables: Sequence[TrainingTable],
        manifest: FrozenCells,
        parameters: BaseModel,
        out: Path,
        progress: ProgressSink | None = None,
        work: Path | None = None,
    ) -> TrainingResult:
        """See `training.train`; in as many processes as there are devices, `launching.train_together`."""
        own = _own(parameters)
        if own.devices == 1:
            return train(tables, manifest, own, out, progress, work)
        own, messages = supported(own)
        each = partial(train, tables, manifest, own, out, work=work)
        return train_together(each, _team(own), messages, progress, work)

    def train_beside(
        self,
        tables: Sequence[TrainingTable],
        manifest: FrozenCells,
        parameters: BaseModel,
        node: int,
        work: Path,
        progress: ProgressSink | None = None,
    ) -> None:
        """See `launching.train_beside`; the first machine writes the checkpoint."""
        own, _ = supported(_own(parameters))
        with TemporaryDirectory() as out:
            each = partial(train, tables, manifest, own, Path(out), work=work)
            train_beside(each, _team(own), node, work, progress)

    def training_notes(self, checkpoint: Path) -> tuple[str, ...]:
        """What the network started from, how much of the data it saw, and why some cells could not be anchors."""
        report = SamplingReport.model_validate_json((checkpoint / SAMPLING_FILE).read_text(encoding="utf-8"))
        parameters = load_config(checkpoint).parameters
        train = next(anchors for anchors in report.anchors if anchors.split == "train")
        return (
            f"Training ({report.strategy}, τ {report.tau_min:g} min) saw {report.share_of_anchors_seen:.1%} of "
            f"{train.anchors} anchors in {len(report.epochs)} epochs. Of {train.cells} training images, "
            f"{train.without_later_image} were no anchors because their cell has no image τ later, and "
            f"{train.without_negative} because no other cell has one.",
            _start(parameters),
        )

    def embedding_parameters(self, changes: Mapping[str, object]) -> EmbeddingParameters:
        """The defaults with `changes` applied; BadInputError names an unknown or bad value."""
        try:
            return EmbeddingParameters.model_validate(dict(changes))
        except ValidationError as error:
            raise _refused("embedding ", error) from error

    def embed(
        self,
        checkpoint: Path,
        tables: Sequence[TrainingTable],
        manifest: FrozenCells,
        out: Path,
        provenance: Mapping[str, str],
        parameters: BaseModel | None = None,
        progress: ProgressSink | None = None,
    ) -> EmbeddingResult:
        """See `embedding.embed`."""
        return embed(checkpoint, tables, manifest, out, provenance, _own_embedding(parameters), progress)

    def open_encoder(
        self,
        checkpoint: Path,
        tables: Sequence[TrainingTable],
        manifest: FrozenCells,
        parameters: AttributionParameters,
    ) -> PatchEncoder:
        """See `attribution.open_encoder`."""
        return open_encoder(checkpoint, tables, manifest, parameters)

    def embed_dimmed(
        self,
        checkpoint: Path,
        tables: Sequence[TrainingTable],
        manifest: FrozenCells,
        cells: pd.DataFrame,
        parameters: BleachingParameters,
        embedding: BaseModel | None = None,
        progress: ProgressSink | None = None,
    ) -> Mapping[float, NDArray[np.float32]] | str:
        """See `bleaching.embed_cells_dimmed`."""
        how = _own_embedding(embedding)
        return embed_cells_dimmed(checkpoint, tables, manifest, cells, parameters, how, progress)


def _refused(what: str, error: ValidationError) -> BadInputError:
    """The first of what pydantic finds, in one sentence."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    # Without a field it is about several, which its message names.
    named = f"parameter {field}={first['input']!r}" if field else "parameters"
    return BadInputError(f"dynaclr {what}{named} cannot be used: {first['msg']}")


def _own_embedding(parameters: BaseModel | None) -> EmbeddingParameters:
    if parameters is None:
        return EmbeddingParameters()
    if not isinstance(parameters, EmbeddingParameters):
        raise TypeError(f"parameters of embedding are {type(parameters).__name__}, not EmbeddingParameters")
    return parameters


def _start(parameters: TrainingParameters) -> str:
    if parameters.initial is InitialState.IMAGENET:
        return f"The backbone started from ImageNet weights (BLAKE3 {parameters.imagenet_blake3})."
    return "The backbone started from random values, where the paper starts from ImageNet weights."


def _team(parameters: TrainingParameters) -> Team:
    return Team(parameters.devices, parameters.device, parameters.num_nodes)


def _own(parameters: BaseModel) -> TrainingParameters:
    if not isinstance(parameters, TrainingParameters):
        raise TypeError(f"dynaclr takes TrainingParameters, not {type(parameters).__name__}")
    return parameters


METHOD: Method = DynaclrMethod()
