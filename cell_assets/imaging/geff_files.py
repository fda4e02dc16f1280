"""Track tables as GEFF, the Graph Exchange File Format: Zarr groups of nodes, edges and their properties.

Read and written by the format's own package, which tracks its changes. A node is a row, an edge goes from
`parent_id` to `id`; positions are voxels and times frames, with µm and minutes as the axes' scales.
Importing this module imports networkx and Zarr: only do so for a GEFF.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from geff import GeffReader
from geff._typing import PropDictNpArray
from geff.core_io import write_arrays
from geff_spec import Axis, GeffMetadata
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.imaging.label_geometry import Spacing
from cell_assets.imaging.track_tables import (
    NO_PARENT,
    TRACK_COLUMNS,
    Column,
    ImageExtent,
    check_tracks,
    first_true,
)

_NODE_COLUMNS = (Column.T, Column.Z, Column.Y, Column.X, Column.TRACK_ID, Column.PARENT_TRACK_ID)
_SPACE = (Column.Z, Column.Y, Column.X)
_FRAME_UNITS = (None, "frame")
_VOXEL_UNITS = (None, "pixel")
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError)
"""What Zarr, its codecs and the format's package raise for a file that is damaged."""
_MOST_ROWS = 50_000_000
"""A header that claims more is refused before memory is asked for: 2.8 GB as a table of one position."""


def write_geff(table: pd.DataFrame, path: Path, spacing: Spacing, interval_min: float | None) -> None:
    """Write a sound track table of one FOV as the new GEFF `path` (Zarr 3).

    Raises:
        BadInputError: `path` exists, or an id is negative, which GEFF does not allow.
    """
    if path.exists():
        raise BadInputError(f"{path}: exists already; give a new name")
    ids, parent = table[Column.ID].to_numpy(np.int64), table[Column.PARENT_ID].to_numpy(np.int64)
    if (row := first_true(ids < 0)) is not None:
        raise BadInputError(f"{path}: id {ids[row]} is negative, and GEFF numbers its nodes from 0; renumber")
    linked = parent != NO_PARENT
    edges = np.column_stack([parent[linked], ids[linked]]).astype(np.uint64)
    properties: dict[str, PropDictNpArray] = {
        column.value: {"values": table[column].to_numpy(), "missing": None} for column in _NODE_COLUMNS
    }
    minute = None if interval_min is None else "minute"
    axes = [
        Axis(name="t", type="time", unit="frame", scale=interval_min, scaled_unit=minute),
        *(
            Axis(name=axis.value, type="space", unit="pixel", scale=side, scaled_unit="micrometer")
            for axis, side in zip(_SPACE, spacing, strict=True)
        ),
    ]
    metadata = GeffMetadata(
        directed=True,
        axes=axes,
        node_props_metadata={},
        edge_props_metadata={},
        track_node_props={"tracklet": Column.TRACK_ID.value} if _are_tracklets(table) else None,
    )
    write_arrays(path, ids.astype(np.uint64), properties, edges, {}, metadata, zarr_format=3)


def read_geff(path: Path, fov_name: str, extent: ImageExtent | None = None) -> pd.DataFrame:
    """Read one FOV's tracks and check them; TRACK_COLUMNS, ordered by track and time.

    The axes name the time and position properties; `z` may be absent and is then 0. Tracks are those of
    the `tracklet` property, else of `track_id`, else the unbranched paths of the graph, numbered from 1 by
    first appearance.

    Raises:
        BadInputError: naming file, property and value, when it is no GEFF, an axis is not in frames or
            pixels, a node has two parents (a merge) or is not whole, or the table is not sound.
    """
    nodes = _read_nodes(path)
    track = nodes.track if nodes.track is not None else _paths(nodes, names=None)
    parents = nodes.parent_track if nodes.parent_track is not None else _parent_tracks(track, nodes.before)
    return _checked_table(path, fov_name, extent, nodes, track, parents)


def read_edited_geff(path: Path, fov_name: str, extent: ImageExtent | None = None) -> pd.DataFrame:
    """Read one FOV's tracks as `read_geff` does, but let the edges decide which cells are a track.

    A tool in which a person adds and removes edges may leave the properties as they were. So a cell without
    an edge from an earlier one begins a track, as do the daughters of a cell with several; track ids are
    kept where they still fit, and new ones follow the largest.

    Raises:
        BadInputError: as `read_geff`.
    """
    nodes = _read_nodes(path)
    track = _paths(nodes, nodes.track)
    return _checked_table(path, fov_name, extent, nodes, track, _parent_tracks(track, nodes.before))


def _checked_table(
    path: Path,
    fov_name: str,
    extent: ImageExtent | None,
    nodes: "_Nodes",
    track: NDArray[np.int64],
    parents: NDArray[np.int64],
) -> pd.DataFrame:
    ids, before = nodes.ids, nodes.before
    parent_id = np.where(before >= 0, ids[before], NO_PARENT) if len(ids) else np.empty(0, np.int64)
    table = pd.DataFrame(
        {
            Column.FOV_NAME.value: fov_name,
            Column.TRACK_ID.value: track,
            Column.T.value: nodes.t,
            Column.ID.value: ids,
            Column.PARENT_TRACK_ID.value: parents,
            Column.PARENT_ID.value: parent_id,
            **{axis.value: nodes.centroid[:, column] for column, axis in enumerate(_SPACE)},
        }
    )
    table = table.sort_values([Column.TRACK_ID, Column.T], ignore_index=True)[list(TRACK_COLUMNS)]
    check_tracks(table, str(path), extent)
    return table


@dataclass(frozen=True)
class _Nodes:
    """One entry per node."""

    ids: NDArray[np.int64]
    t: NDArray[np.int64]
    centroid: NDArray[np.float64]
    """`(n, 3)` z, y, x in voxels."""
    before: NDArray[np.int64]
    """Index of the node that an edge comes from; -1 for none."""
    track: NDArray[np.int64] | None
    parent_track: NDArray[np.int64] | None


def _read_nodes(path: Path) -> _Nodes:
    try:
        reader = GeffReader(path)
    except _UNREADABLE as error:
        raise BadInputError(f"{path}: is no GEFF that can be read ({_first_line(error)})") from error
    metadata = reader.metadata
    if not metadata.directed:
        raise BadInputError(f"{path}: the graph is undirected; export it with edges from parent to child")
    names = _axis_names(path, metadata)
    tracklet = (metadata.track_node_props or {}).get("tracklet", Column.TRACK_ID.value)
    optional = [name for name in (tracklet, Column.PARENT_TRACK_ID.value) if name in reader.node_prop_names]
    _refuse_hostile(path, reader)
    try:
        reader.read_node_props([*names.values(), *optional])
        graph = reader.build()
    except _UNREADABLE as error:
        raise BadInputError(
            f"{path}: nodes, edges or properties cannot be read ({_first_line(error)}); export it again"
        ) from error
    values = {name: _complete(path, name, graph["node_props"][name]) for name in graph["node_props"]}
    ids = _whole(path, "node id", graph["node_ids"])
    if (row := first_true(pd.Series(ids).duplicated())) is not None:
        raise BadInputError(f"{path}: node id {ids[row]} is given twice; each node needs its own")
    centroid = np.zeros((len(ids), 3))
    for column, axis in enumerate(_SPACE):
        if axis.value in names:
            centroid[:, column] = values[names[axis.value]]
    return _Nodes(
        ids=ids,
        t=_whole(path, names["t"], values[names["t"]]),
        centroid=centroid,
        before=_sources(path, ids, _whole(path, "edge", graph["edge_ids"]).reshape(-1, 2)),
        track=_whole(path, tracklet, values[tracklet]) if tracklet in optional else None,
        parent_track=(
            _whole(path, Column.PARENT_TRACK_ID, values[Column.PARENT_TRACK_ID])
            if Column.PARENT_TRACK_ID in optional and tracklet in optional
            else None
        ),
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _axis_names(path: Path, metadata: GeffMetadata) -> dict[str, str]:
    """Property of each of t, z, y, x: by name, else the space axes in the order of the file."""
    axes = metadata.axes or []
    times = [axis for axis in axes if axis.type == "time"]
    space = [axis for axis in axes if axis.type == "space"]
    if len(times) != 1 or len(space) not in (2, 3):
        raise BadInputError(
            f"{path}: axes has {len(times)} of time and {len(space)} of space; one of time and two or three "
            "of space, in the order (z) y x, are needed"
        )
    for axis, units in ((times[0], _FRAME_UNITS), *((axis, _VOXEL_UNITS) for axis in space)):
        if axis.unit not in units:
            raise BadInputError(
                f"{path}: axis {axis.name!r} is in {axis.unit}; give it in {units[1]}s, with the size as scale"
            )
    by_name = {axis.name: axis.name for axis in space}
    if not set(by_name) <= {axis.value for axis in _SPACE}:
        by_name = dict(zip([axis.value for axis in _SPACE][-len(space) :], by_name.values(), strict=True))
    return {"t": times[0].name, **by_name}


def _refuse_hostile(path: Path, reader: GeffReader) -> None:
    """Before a byte is decoded: no absurd sizes, and no codec that runs what a file says."""
    for name, array in (("nodes", reader.nodes), ("edges", reader.edges)):
        if array.shape[0] > _MOST_ROWS:
            raise BadInputError(
                f"{path}: claims {array.shape[0]} {name}; {_MOST_ROWS} is the most for one FOV"
            )
    # Zarr 2 may name Python's pickle as a filter; version 3 has no such codec.
    for file in (*path.rglob(".zarray"), *path.rglob(".zmetadata")):
        try:
            said = json.dumps(json.loads(file.read_bytes()))
        except (ValueError, RecursionError) as error:
            raise BadInputError(
                f"{file}: cannot be read ({_first_line(error)}); export the graph again"
            ) from error
        # After decoding, as JSON has other spellings for every letter.
        if "pickle" in said.lower():
            raise BadInputError(f"{file}: asks for pickled objects, which are not read; export numbers")


def _complete(path: Path, name: str, property_: PropDictNpArray) -> NDArray[np.generic]:
    values, missing = property_["values"], property_["missing"]
    if missing is not None and (row := first_true(np.asarray(missing))) is not None:
        raise BadInputError(f"{path}: property {name!r} of node {row} is missing; give every node one")
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise BadInputError(
            f"{path}: property {name!r} is {values.dtype} of {values.ndim} axes; give one number per node"
        )
    return values


def _whole(path: Path, name: str, values: NDArray[np.generic]) -> NDArray[np.int64]:
    numbers = np.ravel(values).astype(np.float64)
    unfit = ~np.isfinite(numbers) | (np.abs(numbers) >= 2**63) | (numbers != np.floor(numbers))
    if (row := first_true(np.asarray(unfit))) is not None:
        raise BadInputError(f"{path}: {name} number {row} is {numbers[row]}; give a whole 64-bit number")
    return np.ravel(values).astype(np.int64)


def _sources(path: Path, ids: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.int64]:
    before = np.full(len(ids), -1, np.int64)
    if not len(edges):
        return before
    rows = pd.Index(ids).get_indexer(pd.Index(edges.reshape(-1))).reshape(-1, 2)
    if (edge := first_true(rows.min(axis=1) < 0)) is not None:
        raise BadInputError(f"{path}: edge {edges[edge].tolist()} names a node that does not exist")
    if (edge := first_true(pd.Series(rows[:, 1]).duplicated())) is not None:
        raise BadInputError(
            f"{path}: node {edges[edge, 1]} has two parents; a merge is no lineage, remove one edge"
        )
    before[rows[:, 1]] = rows[:, 0]
    return before


def _paths(nodes: "_Nodes", names: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Each node's unbranched path, by the name of its first node, which also ends where the name changes.

    A name that an earlier path has, and every path where there are no `names`, gets the next free number.
    """
    before = nodes.before
    followers = np.bincount(before[before >= 0], minlength=len(before))
    track = np.full(len(before), -1, np.int64)
    taken: set[int] = set()
    next_free = 1 if names is None or not len(names) else int(names.max()) + 1
    for row in np.lexsort((nodes.ids, nodes.t)):
        above = before[row]
        # An edge back in time is left to `check_tracks`, which names it.
        if (
            above >= 0
            and followers[above] == 1
            and track[above] >= 0
            and (names is None or names[row] == names[above])
        ):
            track[row] = track[above]
            continue
        if names is None or int(names[row]) in taken:
            track[row], next_free = next_free, next_free + 1
        else:
            track[row] = names[row]
        taken.add(int(track[row]))
    return track


def _parent_tracks(track: NDArray[np.int64], before: NDArray[np.int64]) -> NDArray[np.int64]:
    crosses = (
        np.flatnonzero((before >= 0) & (track[before] != track)) if len(track) else np.empty(0, np.int64)
    )
    parents = dict(zip(track[crosses].tolist(), track[before[crosses]].tolist(), strict=True))
    return np.array([parents.get(int(number), NO_PARENT) for number in track], np.int64)


def _are_tracklets(table: pd.DataFrame) -> bool:
    """Whether the tracks are the unbranched paths of the graph, as GEFF wants of a `tracklet` property."""
    ids = table[Column.ID].to_numpy(np.int64)
    before = pd.Index(ids).get_indexer(pd.Index(table[Column.PARENT_ID].to_numpy(np.int64)))
    nodes = _Nodes(ids, table[Column.T].to_numpy(np.int64), np.empty((len(ids), 0)), before, None, None)
    paths = _paths(nodes, names=None)
    pairs = pd.DataFrame({"path": paths, "track": table[Column.TRACK_ID].to_numpy()}).drop_duplicates()
    return len(pairs) == pairs["path"].nunique() == pairs["track"].nunique()
