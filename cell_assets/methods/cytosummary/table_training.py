"""Training from feature tables to a checkpoint on disk."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from blake3 import blake3
from pydantic import BaseModel, ConfigDict

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.well_manifest import COMPOUND, COUNT, IS_CONTROL, learned_from
from cell_assets.evaluation.splits import Split
from cell_assets.evaluation.units import BoolArray
from cell_assets.imaging.feature_tables.columns import PLATE, WELL
from cell_assets.imaging.feature_tables.feature_table import CELLS_PARQUET
from cell_assets.imaging.feature_tables.selection import FeatureSelection, select_features
from cell_assets.imaging.parquet_tables import write_parquet
from cell_assets.imaging.record_files import read_record
from cell_assets.methods.contract import CellTable, ProgressSink, TrainingResult
from cell_assets.methods.cytosummary.checkpoint import CheckpointConfig, save_checkpoint
from cell_assets.methods.cytosummary.conditioning import condition, with_controls
from cell_assets.methods.cytosummary.lightning_module import Epoch, can_ask
from cell_assets.methods.cytosummary.machine import supported
from cell_assets.methods.cytosummary.parameters import Conditioning, Positives, TrainingParameters
from cell_assets.methods.cytosummary.plate_cells import PlateCells, batch_of, compared_plates
from cell_assets.methods.cytosummary.plate_reading import (
    UsablePlate,
    open_plate,
    require_wells_once,
    standardised,
    written,
)
from cell_assets.methods.cytosummary.training import Trained, train_network
from cell_assets.methods.distributed import gathered, rank, wait_for_first
from cell_assets.methods.resuming import RESUME_FILE, ResumeFile

HISTORY_FILE = "history.parquet"
FEATURES_FILE = "features.json"
CELLS_FILE = "cells_of_plate_{}.float32"


class CellUse(BaseModel):
    """What became of one plate's cells."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cells: int
    used: int
    """Those that have all features that are used."""
    dropped_by: dict[str, int]
    """Cells that lack a feature, by feature; a cell that lacks several counts with each."""

    @classmethod
    def of(cls, plate: UsablePlate) -> "CellUse":
        """Of the plate's usable cells."""
        rows = plate.usable.rows
        return cls(cells=len(rows), used=int(rows.sum()), dropped_by=dict(plate.usable.dropped_by))


class FeatureUse(BaseModel):
    """Content of `features.json`: what was lost on the way from tables to training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["cell_assets.cytosummary_features"] = "cell_assets.cytosummary_features"
    version: Literal[1] = 1
    used: int
    """Features that the network takes; `config.json` names them."""
    lost: dict[str, dict[str, str]]
    """By plate, the features that are left out because of it, and why."""
    cells: dict[str, CellUse]
    """By plate, of those that were learned or validated on."""


@dataclass(frozen=True)
class _Reading:
    """How cells are read."""

    features: tuple[str, ...]
    conditioning: Conditioning
    seed: int
    progress: ProgressSink | None


@dataclass(frozen=True)
class _ReadPlates:
    training: list[PlateCells]
    """Of wells that are learned from."""
    validation: list[PlateCells]
    cells: dict[str, CellUse]
    empty: list[str]
    """Wells that would have been used and have no usable cell, as `plate|well`."""
    of_one_cell: list[str]
    """Wells that are learned from and have one, as `plate|well`."""


def train(
    tables: Sequence[CellTable],
    wells: pd.DataFrame,
    parameters: TrainingParameters,
    out: Path,
    progress: ProgressSink | None = None,
    work: Path | None = None,
) -> TrainingResult:
    """Learn from the wells that `well_manifest.learned_from` names and write a checkpoint into the empty folder `out`.

    Files: `model.safetensors`, `config.json`, `history.parquet`, `features.json`. Equal inputs and equal resolved
    parameters give equal bytes in an equal environment, also after an interruption. Plates that are held out decide
    which features are common to all, and nothing else. No table is in memory as a whole, see
    `plate_reading.standardised`; a batch is (18 compounds x 4 sets of 1500 cells at most 108,000 x D).

    Args:
        tables: of all plates, held out ones too.
        wells: one row for every well, as `well_manifest` has them.
        progress: called while tables are read, and after every batch.
        work: folder for the cells as they are trained on, 4 bytes a number, and for what a resume needs; an
            interrupted training of the same parameters and cells goes on from its last saved epoch.

    Raises:
        BadInputError: tables or wells cannot be used with these parameters.
    """
    parameters, messages = supported(parameters)
    require_wells_once(wells)
    by_plate = {table.plate: table for table in tables}
    _require_tables(by_plate, wells)
    if parameters.positives is Positives.WITHIN_BATCH:
        for plate, own in wells.groupby(PLATE):
            batch_of(str(plate), own)
    selection = select_features({plate: one.path for plate, one in by_plate.items()}, parameters.selection)
    reading = _Reading(selection.features, parameters.conditioning, parameters.seed, progress)
    with ExitStack() as stack:
        folder = work or Path(stack.enter_context(tempfile.TemporaryDirectory(dir=out)))
        # The first process writes the cells that all of them learn from.
        folder = gathered(folder)[0]
        if rank() > 0:
            wait_for_first()
        read = _read(by_plate, wells, reading, folder)
        if rank() == 0:
            wait_for_first()
        compounds = _compounds(read)
        config = CheckpointConfig(
            features=selection.features,
            compounds=compounds,
            plates=tuple(plate.plate for plate in read.training),
            kept_epoch=parameters.max_epochs - 1,
            parameters=parameters,
            torch_version=torch.__version__,
        )
        fingerprint = _fingerprint(config, by_plate, wells, read)
        resume = None if work is None else ResumeFile(work / RESUME_FILE, fingerprint)
        messages += () if resume is None else resume.remarks()
        trained = train_network(read.training, compounds, parameters, read.validation, progress, resume)
        if rank() == 0:
            if resume is not None:
                resume.remove()
            for place in range(len(by_plate)):
                (folder / CELLS_FILE.format(place)).unlink(missing_ok=True)
    if rank() == 0:
        save_checkpoint(trained.network, config.model_copy(update={"kept_epoch": trained.kept_epoch}), out)
        _write_history(trained.history, out / HISTORY_FILE)
        _write_features(selection, read, out / FEATURES_FILE)
    messages += _remarks(wells, read, compounds, parameters)
    return TrainingResult(parameters, messages, _metrics(trained))


def read_feature_use(checkpoint: Path) -> FeatureUse:
    """`features.json` of a checkpoint.

    Raises:
        BadInputError: it is not there, or not readable.
    """
    return read_record(
        checkpoint / FEATURES_FILE, FeatureUse, "cytosummary_checkpoint", "features of a checkpoint"
    )


def _require_tables(tables: Mapping[str, CellTable], wells: pd.DataFrame) -> None:
    used = wells[learned_from(wells, Split.TRAIN) | learned_from(wells, Split.VAL)]
    without = sorted(set(used[PLATE].astype(str)) - set(tables))
    if without:
        raise BadInputError(
            f"plate {without[0]} ({len(without)} in all) has wells to learn from and no table of cells; bring in its "
            "table, or hold the plate out"
        )


def _read(
    tables: Mapping[str, CellTable], wells: pd.DataFrame, reading: _Reading, folder: Path
) -> _ReadPlates:
    """Training wells of every plate first, then validation wells: both are one piece of its map."""
    found = _ReadPlates([], [], {}, [], [])
    for place, (name, table) in enumerate(tables.items()):
        own = wells[(wells[PLATE] == name).fillna(False).to_numpy(np.bool_)]
        found.empty.extend(f"{name}|{well}" for well in own.loc[_would_teach(own) & (own[COUNT] == 0), WELL])
        wanted = pd.concat([own[learned_from(own, split)] for split in (Split.TRAIN, Split.VAL)])
        if wanted.empty:
            continue
        plate = open_plate(table, reading.features)
        counts = plate.counts(wanted)
        has_cells = counts > 0
        found.cells[name] = CellUse.of(plate)
        found.empty.extend(f"{name}|{well}" for well in wanted.loc[~has_cells, WELL])
        single = learned_from(wanted) & (counts == 1)
        found.of_one_cell.extend(f"{name}|{well}" for well in wanted.loc[single, WELL])
        wanted = wanted[has_cells]
        if wanted.empty:
            continue
        placed = wanted
        if reading.conditioning is not Conditioning.NONE:
            controls = own[own[IS_CONTROL].to_numpy(np.bool_)]
            placed = pd.concat([wanted, controls[plate.counts(controls) > 0]])
        file = folder / CELLS_FILE.format(place)
        if rank() == 0:
            cells = standardised(plate, placed, file, reading.progress)
            cells = condition(cells, reading.conditioning, reading.seed)
        else:
            cells = with_controls(written(plate, placed, file), reading.conditioning, reading.seed)
        n_learned = int(learned_from(wanted, Split.TRAIN).sum())
        if n_learned:
            found.training.append(cells.between(0, n_learned))
        if n_learned < len(wanted):
            found.validation.append(cells.between(n_learned, len(wanted)))
    return found


def _would_teach(wells: pd.DataFrame) -> BoolArray:
    """Which wells (W,) would be learned from or validated on if they had cells."""
    full = wells.assign(**{COUNT: 1})
    return learned_from(full, Split.TRAIN) | learned_from(full, Split.VAL)


def _compounds(read: _ReadPlates) -> tuple[str, ...]:
    compounds = sorted({str(name) for plate in read.training for name in plate.wells[COMPOUND]})
    if len(compounds) < 2:
        raise BadInputError(
            f"{len(compounds)} compounds have wells with usable cells to learn from, and two are needed to tell one "
            f"from another ({len(read.empty)} wells have none); bring in more plates, or raise max_missing_share"
        )
    return tuple(compounds)


def _fingerprint(
    config: CheckpointConfig, tables: Mapping[str, CellTable], wells: pd.DataFrame, read: _ReadPlates
) -> str:
    """Tells whether an interrupted training was this one: parameters, tables, and what wells are used for."""
    digest = blake3(config.model_dump_json().encode())
    digest.update(wells.to_json(orient="values").encode())
    for name in read.cells:
        digest.update_mmap(tables[name].path / CELLS_PARQUET)
    return digest.hexdigest()


def _write_history(history: Sequence[Epoch], file: Path) -> None:
    frame = pd.DataFrame([vars(epoch) for epoch in history], columns=list(Epoch.__dataclass_fields__))
    write_parquet(frame.astype({"validation_map": "float64"}), file)


def _write_features(selection: FeatureSelection, read: _ReadPlates, file: Path) -> None:
    lost = {plate: dict(why) for plate, why in selection.lost.items()}
    use = FeatureUse(used=len(selection.features), lost=lost, cells=read.cells)
    file.write_text(use.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _remarks(
    wells: pd.DataFrame, read: _ReadPlates, compounds: Sequence[str], parameters: TrainingParameters
) -> tuple[str, ...]:
    remarks = []
    if read.empty:
        remarks.append(
            f"{len(read.empty)} wells ({', '.join(read.empty[:5])}) have no cell with all features, and were left out"
        )
    if read.of_one_cell:
        remarks.append(
            f"{len(read.of_one_cell)} wells that are learned from ({', '.join(read.of_one_cell[:5])}) have one cell "
            "with all features, so that a set of theirs is that cell many times and has no spread"
        )
    would = learned_from(wells.assign(**{COUNT: 1}), Split.TRAIN)
    without = sorted(set(wells.loc[would, COMPOUND].astype(str)) - set(compounds))
    if without:
        remarks.append(
            f"nothing was learned from {len(without)} compounds without such a cell ({', '.join(without[:5])})"
        )
    alone = sorted(set(compounds) - _compared(read.training, parameters.positives))
    if alone:
        remarks.append(
            f"nothing was learned from {len(alone)} compounds that are alone wherever they are compared "
            f"({', '.join(alone[:5])}); compare them with those of other plates by positives=across-plates"
        )
    asking = [
        np.concatenate([read.validation[place].wells[COMPOUND].to_numpy(str) for place in group])
        for group in compared_plates(read.validation, parameters.positives)
    ]
    if not asking:
        remarks.append("no compound validates, so the last epoch is kept and nothing says how well it does")
    elif not any(map(can_ask, asking)):
        remarks.append(
            "no validation compound has two wells that could be compared, beside one of another compound, so the last "
            "epoch is kept"
        )
    return tuple(remarks)


def _compared(plates: Sequence[PlateCells], positives: Positives) -> set[str]:
    """Compounds that somewhere are beside another one."""
    groups = [
        {str(name) for place in group for name in plates[place].wells[COMPOUND]}
        for group in compared_plates(plates, positives)
    ]
    return {name for names in groups if len(names) >= 2 for name in names}


def _metrics(trained: Trained) -> dict[str, float]:
    metrics = {"train_loss": trained.history[-1].train_loss}
    kept = next(epoch for epoch in trained.history if epoch.epoch == trained.kept_epoch)
    if kept.validation_map is not None:
        metrics["validation_map"] = kept.validation_map
    return metrics
