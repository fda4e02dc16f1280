"""What makes a cell of CellProfiler's objects: a cytoplasm with the cell and the nucleus that it names as parents."""

from collections.abc import Mapping

import pandas as pd

from cell_assets.imaging.feature_tables.columns import COMPARTMENTS

IMAGE_NUMBER = "ImageNumber"
OBJECT_NUMBER = "Number_Object_Number"


def joined_cells(
    images: pd.DataFrame, parts: Mapping[str, pd.DataFrame]
) -> tuple[pd.DataFrame, dict[str, int]]:
    """One row per whole cell, ordered by image and object; and by compartment, how many objects are of none.

    Args:
        images: rows with `ImageNumber`.
        parts: by compartment, objects with `ImageNumber` and columns that begin with the compartment's name.
    """
    found = parts["Cytoplasm"].merge(images, on=IMAGE_NUMBER)
    for name in ("Cells", "Nuclei"):
        found = found.merge(
            parts[name],
            left_on=[IMAGE_NUMBER, f"Cytoplasm_Parent_{name}"],
            right_on=[IMAGE_NUMBER, f"{name}_{OBJECT_NUMBER}"],
        )
    left_over = {name: len(parts[name]) - len(found) for name in COMPARTMENTS}
    return found.sort_values([IMAGE_NUMBER, f"Cells_{OBJECT_NUMBER}"]), left_over
