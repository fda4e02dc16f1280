"""Patches of chosen rows of a plate's patch tables, which themselves store none (`PatchPolicy.MANIFEST`).

On disk, for each position: `patches.zarr` as a patch table has it, and `rows.parquet`, which row of the table each
patch is of. `open_patch_table(table, kept=folder)` reads them by the table's own rows.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from cell_assets.imaging.acquisition import open_acquisition
from cell_assets.imaging.fov_chain import refuse_changed
from cell_assets.imaging.parquet_tables import write_parquet
from cell_assets.imaging.patch_reading import open_patch_table, read_patch_record
from cell_assets.imaging.patch_store import PatchLayout, PatchWriter
from cell_assets.imaging.patches import (
    KEPT_ROWS_PARQUET,
    PATCHES_ZARR,
    ROW,
    PatchTableRecord,
    cell_times,
    refuse_too_large,
)
from cell_assets.imaging.workers import worker_pool
from cell_assets.ledger.records import Artifact

KEPT_PATCHES_JSON = "kept_patches.json"


@dataclass(frozen=True)
class KeptRows:
    """Rows of one position's patch table whose patches are to be kept."""

    position: str
    table: Path
    """Folder of the patch table."""
    rows: NDArray[np.int64]
    """`(n,)`, ascending."""


class KeptPosition(BaseModel):
    """One position of `kept_patches.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    position: str
    n_cells: int
    """Rows of its patch table."""
    n_kept: int


class KeptPatchesRecord(BaseModel):
    """Content of `kept_patches.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["cell_assets.kept_patches"] = "cell_assets.kept_patches"
    version: Literal[1] = 1
    positions: tuple[KeptPosition, ...]


def kept_bytes(chosen: Sequence[KeptRows]) -> int:
    """What their patches weigh on disk.

    Raises:
        BadInputError: those of one position weigh more than its table's `max_bytes`, or a table cannot be read.
    """
    total = 0
    for one in chosen:
        info = read_patch_record(one.table)
        layout = _layout(info, len(one.rows))
        refuse_too_large(one.position, layout, info.parameters.max_bytes)
        total += layout.total_bytes
    return total


def keep_patches(
    acquisition: Path, raw: Artifact, chosen: Sequence[KeptRows], folder: Path, workers: int
) -> Iterator[str]:
    """Cut the patches of the chosen rows into `folder` (exists, empty), and name each position that is done.

    Every frame that shows a chosen cell is read once. Memory: one frame and its patches for each worker.

    Args:
        acquisition: folder of the raw acquisition that the tables were made from.
        raw: its record; the bytes of every position are held against it first.
        workers: processes, at least 1.

    Raises:
        BadInputError: as `kept_bytes`; nothing is written then.
        ChangedBytesError: a position's raw bytes are not what was ingested.
    """
    kept_bytes(chosen)
    done: list[KeptPosition] = []
    with worker_pool(max(1, min(workers, len(chosen)))) as pool:
        tasks = [pool.submit(_keep, acquisition, raw, one, folder / one.position) for one in chosen]
        for task in as_completed(tasks):
            done.append(task.result())
            yield done[-1].position
    record = KeptPatchesRecord(positions=tuple(sorted(done, key=lambda one: one.position)))
    (folder / KEPT_PATCHES_JSON).write_text(record.model_dump_json(indent=1), encoding="utf-8")


def _keep(acquisition: Path, raw: Artifact, chosen: KeptRows, out: Path) -> KeptPosition:
    refuse_changed(
        acquisition, raw, chosen.position, open_acquisition(acquisition).has_labels(chosen.position)
    )
    out.mkdir(parents=True)
    table = open_patch_table(chosen.table, acquisition=acquisition)
    times = cell_times(chosen.table).to_numpy(np.int64)[chosen.rows]
    with PatchWriter(out / PATCHES_ZARR, _layout(table.info, len(chosen.rows))) as writer:
        for t in np.unique(times):
            places = np.flatnonzero(times == t)
            for place, patch in zip(places, table.read(chosen.rows[places]), strict=True):
                writer.write(int(place), patch)
    write_parquet(pd.DataFrame({ROW: chosen.rows}), out / KEPT_ROWS_PARQUET)
    return KeptPosition(position=chosen.position, n_cells=len(table), n_kept=len(chosen.rows))


def _layout(info: PatchTableRecord, n_rows: int) -> PatchLayout:
    return PatchLayout(n_rows, info.patch_shape, np.dtype(info.dtype))
