"""What makes a cell of CellProfiler's objects: a cytoplasm with the cell and the nucleus that it names as parents."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cell_assets.imaging.feature_tables.columns import COMPARTMENTS, is_feature, known_name, require_place

IMAGE_NUMBER = "ImageNumber"
OBJECT_NUMBER = "Number_Object_Number"
PARENTS = ("Cytoplasm_Parent_Cells", "Cytoplasm_Parent_Nuclei")
"""Numbers of the cell and of the nucleus that a cytoplasm is of."""


class CellJoin:
    """Joins images and their objects to cells, batch by batch, and counts what is left over.

    Args:
        image: columns, of images and of objects, whose values together name one image.
        of_images: columns of images.
        of_objects: columns of all compartments, each of which begins with its compartment's name.

    Raises:
        BadInputError: no column says the plate and well of an image.
    """

    def __init__(
        self, path: Path, image: Sequence[str], of_images: Sequence[str], of_objects: Sequence[str]
    ) -> None:
        self._image = list(image)
        self.features = tuple(column for column in of_objects if is_feature(column))
        others = [column for column in (*of_images, *of_objects) if not is_feature(column)]
        self._names = {column: name for column in others if (name := known_name(column)) is not None}
        self.known = tuple(self._names.values())
        self.keys = tuple(self._names[column] for column in (*image, f"Cells_{OBJECT_NUMBER}"))
        self.left_over: Counter[str] = Counter()
        require_place(self.known, path)

    def cells(self, images: pd.DataFrame, parts: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
        """One row per whole cell, ordered by image and object, with the columns `known` and `features`.

        Args:
            images: rows with what names the image.
            parts: objects by compartment, with what names their image; one without any gives no cell.
        """
        whole = parts["Cytoplasm"].dropna(subset=list(PARENTS))
        # Where a parent is missing, pandas has made floats or objects of the others' numbers.
        found = whole.astype(dict.fromkeys(PARENTS, np.int64)).merge(images, on=self._image)
        for name in ("Cells", "Nuclei"):
            found = found.merge(
                parts[name],
                left_on=[*self._image, f"Cytoplasm_Parent_{name}"],
                right_on=[*self._image, f"{name}_{OBJECT_NUMBER}"],
            )
        self.left_over.update({name: len(parts[name]) - len(found) for name in COMPARTMENTS})
        ordered = found.sort_values([*self._image, f"Cells_{OBJECT_NUMBER}"]).rename(columns=self._names)
        return ordered[[*self.known, *self.features]].reset_index(drop=True)
