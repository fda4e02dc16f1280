"""Label images of annotations: TIFFs whose values say the state of the cells that they cover, 0 nothing.

A labels layer that napari saves is such an image (uint32, frame after frame).
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from skimage.measure import label as connected
from skimage.measure import regionprops

from cell_assets.errors import BadInputError
from cell_assets.imaging.annotation_files import ReadingChoices, given_rows
from cell_assets.imaging.annotations import (
    JOIN,
    PLACE,
    REASON,
    GivenAnnotations,
    Join,
    Row,
    is_reserved,
    rows_of,
)
from cell_assets.imaging.label_store import LabelImage
from cell_assets.imaging.tiff_volumes import opened_tiff
from cell_assets.imaging.track_tables import Column
from cell_assets.imaging.tracking import LABEL

SUFFIXES = (".tif", ".tiff")


def read_annotation_image(
    path: Path, choices: ReadingChoices, tracks: pd.DataFrame, labels: LabelImage
) -> GivenAnnotations:
    """Read a label image `(T, Y, X)` or `(T, Z, Y, X)` of one position, axes of length 1 left out or not.

    Of a position with several planes, `(T, Y, X)` says the same in each of them.

    A cell has the state whose value covers more than half of its mask; where none does, that of the value at its
    centroid, so that a dot is enough and a stroke that only touches a neighbour says nothing of it. Regions (of
    connected pixels of one value) that give no cell its state are `unjoined`.

    Args:
        choices: `names` of all values, and the one column that they are states of.
        tracks: with the column `LABEL`, which names each cell's value in `labels`.

    Raises:
        BadInputError: the file is no integer image of the position's shape, or holds a value without a name,
            naming time and place; or no column and names were given.
    """
    if len(choices.columns) != 1 or not choices.names:
        raise BadInputError(
            f"{path}: a label image holds numbers only; say what they are, for example with --column infection "
            "--state 1=uninfected --state 2=infected"
        )
    (column,) = choices.columns
    if is_reserved(column):
        raise BadInputError(f"{path}: a column of states cannot be named {column!r}; take another --column")
    image, n_alike = _image(path, labels)
    _refuse_unnamed(image, path, choices)
    records: list[Row] = []
    lost: list[Row] = []
    by_time = tracks.groupby(Column.T).indices
    for t in range(len(image)):
        if not image[t].any():
            continue
        cells = tracks.iloc[by_time.get(t, np.empty(0, np.int64))]
        regions, n_regions = connected(image[t], background=0, return_num=True)
        speaking: set[int] = set()
        for cell, value, region, join in _states_of(image[t], regions, labels.frame(t), cells):
            speaking |= region
            records.append(
                {
                    Column.TRACK_ID.value: int(cell[Column.TRACK_ID]),
                    Column.T.value: t,
                    column: choices.names[str(value)],
                    PLACE: f"t={t}, around y={cell[Column.Y]:.0f}, x={cell[Column.X]:.0f}",
                    JOIN: join.value,
                }
            )
        if len(speaking) < n_regions:
            lost += _silent_regions(image[t], regions, speaking, t, column, choices, n_alike)
    if not records and not lost:
        raise BadInputError(f"{path}: every value is 0, so it says nothing of any cell")
    return GivenAnnotations(
        source=str(path),
        states=(column,),
        rows=given_rows(records, [column], JOIN),
        unjoined=given_rows(lost, [column], REASON),
    )


def _image(path: Path, labels: LabelImage) -> tuple[NDArray[np.integer], int]:
    """(T, Z, Y, X), and how many planes are one and the same."""
    shape = (labels.array.shape[0], *labels.array.shape[2:])
    with opened_tiff(path) as tiff:
        image = np.asarray(tiff.asarray())
    if not np.issubdtype(image.dtype, np.integer):
        raise BadInputError(f"{path}: holds {image.dtype}; a label image holds whole numbers")
    given = [n for n in image.shape if n > 1]
    t, z, *plane = shape
    if z > 1 and given == [n for n in (t, *plane) if n > 1]:
        return np.broadcast_to(image.reshape(t, 1, *plane), shape), z
    if given != [n for n in shape if n > 1]:
        raise BadInputError(
            f"{path}: is {' x '.join(map(str, image.shape))}; the position is t, z, y, x = "
            f"{' x '.join(map(str, shape))}"
        )
    return image.reshape(shape), 1


def _refuse_unnamed(image: NDArray[np.integer], path: Path, choices: ReadingChoices) -> None:
    for value in np.unique(image):
        if value and str(value) not in choices.names:
            t, z, y, x = (int(at[0]) for at in np.nonzero(image == value))
            place = f"{path}, t={t}, z={z}, y={y}, x={x}: the value"
            choices.named(str(value), place)


def _states_of(
    image: NDArray[np.integer], regions: NDArray[np.integer], labels: NDArray[np.uint32], cells: pd.DataFrame
) -> list[tuple[Row, int, set[int], Join]]:
    """Of every cell that has a state: its row, the value, the regions that say so, and how."""
    found = []
    boxes = find_objects(labels)
    for cell in rows_of(cells):
        join, value, saying = Join.CENTROID, 0, np.empty(0, np.int64)
        box = None if pd.isna(cell[LABEL]) or cell[LABEL] > len(boxes) else boxes[int(cell[LABEL]) - 1]
        if box is not None:
            mask = labels[box] == int(cell[LABEL])
            values, counts = np.unique(image[box][mask], return_counts=True)
            most = int(counts.argmax())
            if values[most] and 2 * counts[most] > mask.sum():
                join, value = Join.MASK, int(values[most])
                saying = regions[box][mask & (image[box] == value)]
        if not value:
            at = tuple(
                min(max(round(float(cell[axis])), 0), length - 1)
                for axis, length in zip((Column.Z, Column.Y, Column.X), image.shape, strict=True)
            )
            value, saying = int(image[at]), regions[at]
        if value:
            found.append((cell, value, {int(n) for n in np.unique(saying)}, join))
    return found


def _silent_regions(
    image: NDArray[np.integer],
    regions: NDArray[np.integer],
    speaking: set[int],
    t: int,
    column: str,
    choices: ReadingChoices,
    n_alike: int,
) -> list[Row]:
    silent = []
    for region in regionprops(regions):
        if region.label in speaking:
            continue
        z, y, x = (float(at) for at in region.centroid)
        value = int(image[tuple(region.coords[0])])
        n_pixels = region.num_pixels / n_alike
        silent.append(
            {
                Column.T.value: t,
                Column.Z.value: z,
                Column.Y.value: y,
                Column.X.value: x,
                column: choices.names[str(value)],
                PLACE: f"t={t}, around y={y:.0f}, x={x:.0f}",
                REASON: f"its {n_pixels:.0f} pixels cover neither half of a cell nor a cell's centroid",
            }
        )
    return silent
