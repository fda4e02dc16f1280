"""Pixels for the network: opened patch tables, read by entries of a `CellIndex`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.evaluation.exclusions import is_excluded
from cell_assets.evaluation.manifest import FrozenCells
from cell_assets.imaging.channels import ChannelKind
from cell_assets.imaging.patch_reading import open_patch_table
from cell_assets.imaging.patches import NormalisationLevel, scaling_columns
from cell_assets.methods.contract import TrainingTable
from cell_assets.methods.dynaclr.cells import CellIndex, IntArray, TableCells

FloatArray = NDArray[np.float32]
PatchArray = NDArray[np.generic]


@dataclass(frozen=True)
class OpenTable:
    """One opened patch table: its rows, how to read pixels, and how to normalise them."""

    plate: str
    fov_name: str
    cells: pd.DataFrame
    """`cells.parquet` without its scalings: one row per cell and time point."""
    channel_names: tuple[str, ...]
    kinds: tuple[ChannelKind, ...]
    patch_shape: tuple[int, int, int]
    """(Z, Y, X)."""
    interval_min: float | None
    offset: FloatArray
    """(rows, C): subtracted from stored intensities; indexed by the table's `row`."""
    scale: FloatArray
    """(rows, C): the difference is divided by it."""
    read: Callable[[IntArray], PatchArray]
    """`row` values → stored intensities (N, C, Z, Y, X)."""
    flat_channels: tuple[str, ...] = ()
    """Channels without contrast in any frame of a cell that is not left out: nothing can normalise them."""

    def select(self, channels: Sequence[str]) -> "OpenTable":
        """The same cells in these of its channels, in this order; without names all of them.

        Raises:
            BadInputError: a channel is not stored here.
        """
        if not channels or tuple(channels) == self.channel_names:
            return self
        missing = [name for name in channels if name not in self.channel_names]
        if missing:
            raise BadInputError(
                f"{self.plate} {self.fov_name} stores the channels {', '.join(self.channel_names)} and not "
                f"{', '.join(missing)}, which the network takes; choose tables that hold it, or train on other channels"
            )
        places = [self.channel_names.index(name) for name in channels]
        return replace(
            self,
            channel_names=tuple(channels),
            kinds=tuple(self.kinds[place] for place in places),
            offset=self.offset[:, places],
            scale=self.scale[:, places],
            read=_ChannelReading(self.read, places),
            flat_channels=tuple(name for name in self.flat_channels if name in channels),
        )


@dataclass(frozen=True)
class _ChannelReading:
    """Reads some channels. A class, because workers of a loader receive it pickled."""

    read: Callable[[IntArray], PatchArray]
    places: list[int]

    def __call__(self, rows: IntArray) -> PatchArray:
        return self.read(rows)[:, self.places]


@dataclass(frozen=True)
class PatchBatch:
    """Stored intensities (N, C, Z, Y, X) and their normalisation (N, C)."""

    patches: PatchArray
    offset: FloatArray
    scale: FloatArray


class PatchSource:
    """Several patch tables of one layout, read as one.

    Raises:
        BadInputError: there is no table, tables differ in channels or patch shape, or a channel has no contrast.
    """

    def __init__(self, tables: Sequence[OpenTable]) -> None:
        if not tables:
            raise BadInputError("there is no patch table; materialise patch_table first")
        first = tables[0]
        for table in tables:
            if table.flat_channels:
                raise BadInputError(
                    f"{table.plate} {table.fov_name}: channel {table.flat_channels[0]!r} has no contrast in any "
                    "frame, so that its patches cannot be normalised; leave the channel or the position out"
                )
        for other in tables[1:]:
            if other.channel_names != first.channel_names:
                raise BadInputError(
                    f"patch tables differ in channels: {first.plate} {first.fov_name} has "
                    f"{', '.join(first.channel_names)}, {other.plate} {other.fov_name} has "
                    f"{', '.join(other.channel_names)}; choose the same channels for both"
                )
            if other.patch_shape != first.patch_shape:
                raise BadInputError(
                    f"patch tables differ in patch shape: {first.plate} {first.fov_name} has "
                    f"{first.patch_shape}, {other.plate} {other.fov_name} has {other.patch_shape}; "
                    "make them again with one shape"
                )
        self.tables = tuple(tables)
        self.channel_names = first.channel_names
        self.kinds = first.kinds
        self.patch_shape = first.patch_shape

    def select(self, channels: Sequence[str]) -> "PatchSource":
        """The same cells in these of the stored channels; without names all of them."""
        return PatchSource([table.select(channels) for table in self.tables])

    def require_side(self, side: int) -> None:
        """BadInputError where a patch of `side` pixels does not fit into the stored ones."""
        stored = min(self.patch_shape[1:])
        if stored < side:
            raise BadInputError(
                f"patch_side_px={side} is larger than the stored patches ({stored} px); "
                "make the patch tables larger, or train on a smaller patch"
            )

    def index(self, manifest: FrozenCells) -> CellIndex:
        """All cells of all tables, with the manifest's splits."""
        return CellIndex.build(
            [TableCells(t.plate, t.fov_name, t.interval_min, t.cells) for t in self.tables], manifest
        )

    def places(self, cells: pd.DataFrame) -> tuple[IntArray, IntArray]:
        """(table, row) of each of `cells`, N rows with `plate, fov_name` and the `row` of their patch table."""
        number_of = {(table.plate, table.fov_name): n for n, table in enumerate(self.tables)}
        names = zip(cells["plate"].astype(str), cells["fov_name"].astype(str), strict=True)
        table = np.array([number_of[name] for name in names], np.int64)
        return table, cells["row"].to_numpy(np.int64)

    def read(self, table: IntArray, row: IntArray) -> PatchBatch:
        """Patches of (table, row) pairs in the order given; each table is read once, in its own order."""
        parts: list[PatchArray] = []
        places: list[IntArray] = []
        offset = np.empty((len(row), len(self.channel_names)), np.float32)
        scale = np.empty_like(offset)
        for number in np.unique(table):
            place = np.flatnonzero(table == number)
            place = place[np.argsort(row[place], kind="stable")]
            opened = self.tables[number]
            parts.append(opened.read(row[place]))
            places.append(place)
            offset[place], scale[place] = opened.offset[row[place]], opened.scale[row[place]]
        patches = np.empty((len(row), *parts[0].shape[1:]), np.result_type(*parts).newbyteorder("="))
        for place, part in zip(places, parts, strict=True):
            patches[place] = part
        return PatchBatch(patches, offset, scale)


def open_tables(
    tables: Sequence[TrainingTable], manifest: FrozenCells, channels: Sequence[str] = ()
) -> PatchSource:
    """Opens patch tables from disk, to be normalised at FOV level (paper, appendix A.2).

    Args:
        channels: names of those to read, in this order; all by default. Tables may differ in the others.

    Raises:
        BadInputError: a table cannot be read, has cells in a FOV without contrast that the manifest does not leave
            out, or differs from the others in these channels or in patch shape.
    """
    return PatchSource([_open(table, manifest).select(channels) for table in tables])


def _open(table: TrainingTable, manifest: FrozenCells) -> OpenTable:
    opened = open_patch_table(table.path, acquisition=table.acquisition, kept=table.kept)
    offset, scale = opened.scaling(NormalisationLevel.FOV)
    unusable = np.isnan(offset) | np.isnan(scale)
    named = opened.cells.assign(plate=table.plate, fov_name=table.fov_name)
    left_out = opened.cells.loc[is_excluded(named, manifest.exclusions), "row"]
    unusable[left_out.to_numpy(np.int64)] = False
    flat = np.flatnonzero(unusable.any(axis=0))
    return OpenTable(
        plate=table.plate,
        fov_name=table.fov_name,
        cells=opened.cells.drop(columns=_scaling_columns(len(opened.info.channels))),
        channel_names=opened.info.channel_names,
        kinds=tuple(channel.kind for channel in opened.info.channels),
        patch_shape=opened.info.patch_shape[1:],
        interval_min=opened.info.interval_min,
        offset=offset,
        scale=scale,
        read=opened.read,
        flat_channels=tuple(opened.info.channels[place].name for place in flat),
    )


def _scaling_columns(channels: int) -> list[str]:
    return [
        name
        for level in NormalisationLevel
        for channel in range(channels)
        for name in scaling_columns(level, channel)
    ]
