"""CytoSummaryNet as the registry sees it."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from pydantic import BaseModel, ValidationError

from cell_assets.errors import BadInputError
from cell_assets.methods.contract import (
    CellTable,
    ProfileMethod,
    ProfilingResult,
    ProgressSink,
    Resolution,
    TrainingResult,
)
from cell_assets.methods.cytosummary.checkpoint import load_config
from cell_assets.methods.cytosummary.machine import supported
from cell_assets.methods.cytosummary.parameters import PRESETS, TrainingParameters
from cell_assets.methods.cytosummary.profiling import profile
from cell_assets.methods.cytosummary.table_training import HISTORY_FILE, read_feature_use, train
from cell_assets.methods.launching import Team, train_beside, train_together


class CytoSummaryMethod:
    """CytoSummaryNet behind the contract of methods that profile wells."""

    name = "cytosummary"

    def parameters(self, preset: str, changes: Mapping[str, object]) -> TrainingParameters:
        """The preset's parameters with `changes` applied, part by part; BadInputError names a bad value."""
        if preset not in PRESETS:
            raise BadInputError(f"preset {preset!r} is not one of {', '.join(PRESETS)}; choose one of these")
        try:
            return TrainingParameters.model_validate(_changed(PRESETS[preset].model_dump(), changes))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise BadInputError(
                f"cytosummary parameter {field}={first['input']!r} cannot be used: {first['msg']}"
            ) from error

    def resolve(self, parameters: BaseModel) -> Resolution:
        """What this machine can run of `parameters`."""
        resolved, messages = supported(_own(parameters))
        return Resolution(resolved, messages)

    def train(
        self,
        tables: Sequence[CellTable],
        wells: pd.DataFrame,
        parameters: BaseModel,
        out: Path,
        progress: ProgressSink | None = None,
        work: Path | None = None,
    ) -> TrainingResult:
        """See `table_training.train`; in as many processes as there are devices, `launching.train_together`."""
        own = _own(parameters)
        if own.devices == 1:
            return train(tables, wells, own, out, progress, work)
        own, messages = supported(own)
        each = partial(train, tables, wells, own, out, work=work)
        return train_together(each, _team(own), messages, progress, work)

    def train_beside(
        self,
        tables: Sequence[CellTable],
        wells: pd.DataFrame,
        parameters: BaseModel,
        node: int,
        work: Path,
        progress: ProgressSink | None = None,
    ) -> None:
        """See `launching.train_beside`; the first machine writes the checkpoint."""
        own, _ = supported(_own(parameters))
        with TemporaryDirectory() as out:
            each = partial(train, tables, wells, own, Path(out), work=work)
            train_beside(each, _team(own), node, work, progress)

    def profile(
        self,
        checkpoint: Path,
        table: CellTable,
        wells: pd.DataFrame,
        out: Path,
        provenance: Mapping[str, str],
        progress: ProgressSink | None = None,
    ) -> ProfilingResult:
        """See `profiling.profile`."""
        return profile(checkpoint, table, wells, out, provenance, progress)

    def training_notes(self, checkpoint: Path) -> tuple[str, ...]:
        """What was learned from, which epoch was kept and why, and what of the tables was lost."""
        config, use = load_config(checkpoint), read_feature_use(checkpoint)
        history = pd.read_parquet(checkpoint / HISTORY_FILE)
        parameters = config.parameters
        best = history.loc[history["epoch"] == config.kept_epoch, "validation_map"].iloc[0]
        why = (
            "the last, as nothing validates"
            if pd.isna(best)
            else f"the best at retrieving replicates of validation compounds (mAP {best:.3f})"
        )
        lost = {name for of_plate in use.lost.values() for name in of_plate}
        cells, used = (
            sum(one.cells for one in use.cells.values()),
            sum(one.used for one in use.cells.values()),
        )
        return (
            f"Learned from {len(config.compounds)} compounds on {len(config.plates)} plates, "
            f"{parameters.sets.sets_per_compound} sets of about {parameters.sets.mean_cells:g} cells of each "
            f"compound in a batch ({parameters.positives}); of {len(history)} epochs number {config.kept_epoch + 1} "
            f"is kept, {why}.",
            f"Of {use.used + len(lost)} features {use.used} are used, because {len(lost)} are missing or do not vary "
            f"on some plate; {cells - used} of {cells} cells lack one of those that are used and were left out.",
            f"Cells are standardised over their plate; conditioning on its controls: {parameters.conditioning}.",
        )


def _changed(values: dict[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """`values` with `changes`; a change of a part leaves the rest of that part as it was."""
    changed = dict(values)
    for name, change in changes.items():
        part = values.get(name)
        if isinstance(part, dict) and isinstance(change, Mapping):
            change = _changed(part, change)
        changed[name] = change
    return changed


def _team(parameters: TrainingParameters) -> Team:
    return Team(parameters.devices, parameters.device, parameters.num_nodes)


def _own(parameters: BaseModel) -> TrainingParameters:
    if not isinstance(parameters, TrainingParameters):
        raise TypeError(f"cytosummary takes TrainingParameters, not {type(parameters).__name__}")
    return parameters


METHOD: ProfileMethod = CytoSummaryMethod()
