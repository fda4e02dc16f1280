"""What makes a cell of CellProfiler's objects: a cytoplasm with the cell and the nucleus that it names as parents."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from cell_assets.imaging.feature_tables.columns import COMPARTMENTS, is_feature, known_name, require_place

IMAGE_NUMBER = "ImageNumber"
OBJECT_NUMBER = "Number_Object_Number"


class CellJoin:
    """Joins images and their objects to cells, batch by batch, and counts what is left over.

    Args:
        of_images: columns of images.
        of_objects: columns of all compartments, each of which begins with its compartment's name.

    Raises:
        BadInputError: no column says the plate and well of an image.
    """

    def __init__(self, path: Path, of_images: Sequence[str], of_objects: Sequence[str]) -> None:
        self.features = tuple(column for column in of_objects if is_feature(column))
        others = [column for column in (*of_images, *of_objects) if not is_feature(column)]
        self._names = {column: name for column in others if (name := known_name(column)) is not None}
        self.known = tuple(self._names.values())
        self.keys = (self._names[IMAGE_NUMBER], self._names[f"Cells_{OBJECT_NUMBER}"])
        self.left_over: Counter[str] = Counter()
        require_place(self.known, path)

    def cells(self, images: pd.DataFrame, parts: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
        """One row per whole cell, ordered by image and object, with the columns `known` and `features`.

        Args:
            images: rows with `ImageNumber`.
            parts: objects by compartment, with `ImageNumber`; one without any gives no cell.
        """
        found = parts["Cytoplasm"].merge(images, on=IMAGE_NUMBER)
        for name in ("Cells", "Nuclei"):
            found = found.merge(
                parts[name],
                left_on=[IMAGE_NUMBER, f"Cytoplasm_Parent_{name}"],
                right_on=[IMAGE_NUMBER, f"{name}_{OBJECT_NUMBER}"],
            )
        self.left_over.update({name: len(parts[name]) - len(found) for name in COMPARTMENTS})
        ordered = found.sort_values([IMAGE_NUMBER, f"Cells_{OBJECT_NUMBER}"]).rename(columns=self._names)
        return ordered[[*self.known, *self.features]].reset_index(drop=True)
