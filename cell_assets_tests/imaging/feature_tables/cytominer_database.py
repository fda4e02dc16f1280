"""A small database as cytominer-database writes it: numbers of images begin anew with each of its tables."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd

FEATURES = (
    "Cells_AreaShape_Area",
    "Cells_Texture_Variance",
    "Cytoplasm_Intensity_Mean",
    "Cytoplasm_Texture_Variance",
    "Nuclei_AreaShape_Area",
    "Nuclei_AreaShape_FormFactor",
)
MISSING = {"Nuclei_AreaShape_FormFactor": 2, "Cytoplasm_Texture_Variance": 1}
"""Whole cells without a value, which is once NULL and once the text `nan`."""
WHOLE, WITHOUT_NUCLEUS = 27, 3
"""Cells; of those without nucleus one is an image's only cell."""

_CELLS_OF_IMAGES = (4, 3, 5, 2, 4, 6, 5, 1)


def write_cytominer_database(path: Path, tables: Sequence[object], metadata: str = "Metadata_") -> Path:
    """Four tables of two images each, of wells A01 and B02 by turns.

    Args:
        tables: the numbers of the four.
        metadata: what begins the columns of plate, well and site.
    """
    random = np.random.default_rng(0)
    images, parts = [], {name: list[pd.DataFrame]() for name in ("Cells", "Cytoplasm", "Nuclei")}
    for place, n in enumerate(_CELLS_OF_IMAGES):
        key = {"TableNumber": tables[place // 2], "ImageNumber": place % 2 + 1}
        where = {"Plate": "SQ0001", "Well": ("A01", "B02")[place // 2 % 2], "Site": place % 2 + 1}
        images.append(
            key | {f"{metadata}{name}": value for name, value in where.items()} | {"Count_Cells": n}
        )
        # Numbers of the cell, its cytoplasm and its nucleus differ, as they do where objects were filtered.
        numbers = {
            "Cells": np.arange(n) + 1,
            "Cytoplasm": np.arange(n) + 1,
            "Nuclei": np.arange(n)[::-1] + 11,
        }
        for name, of_objects in numbers.items():
            table = pd.DataFrame(
                key | {"ObjectNumber": of_objects, f"{name}_Number_Object_Number": of_objects}
            )
            for feature in (one for one in FEATURES if one.startswith(name)):
                table[feature] = random.normal(size=n).round(3)
            table[f"{name}_Location_Center_X"] = random.normal(size=n)
            parts[name].append(table)
        parts["Cytoplasm"][-1]["Cytoplasm_Parent_Cells"] = numbers["Cells"]
        parts["Cytoplasm"][-1]["Cytoplasm_Parent_Nuclei"] = numbers["Nuclei"]
    with closing(sqlite3.connect(path)) as sql:
        pd.DataFrame(images).to_sql("Image", sql, index=False)
        for name, some in parts.items():
            # The order of rows says nothing.
            pd.concat(some).sample(frac=1, random_state=0).to_sql(name, sql, index=False)
        at = "TableNumber = ? AND ImageNumber = ? AND ObjectNumber"
        first, last = (tables[0], 1), (tables[3], 2)
        sql.execute(f"UPDATE Cytoplasm SET Cytoplasm_Parent_Nuclei = NULL WHERE {at} = 1", last)
        sql.execute(f"UPDATE Cytoplasm SET Cytoplasm_Parent_Nuclei = 0 WHERE {at} = 2", first)
        sql.execute(f"DELETE FROM Nuclei WHERE {at} = 11", (tables[2], 2))
        sql.execute(f"UPDATE Nuclei SET Nuclei_AreaShape_FormFactor = NULL WHERE {at} IN (11, 12)", first)
        sql.execute(f"UPDATE Cytoplasm SET Cytoplasm_Texture_Variance = 'nan' WHERE {at} = 3", first)
        sql.commit()
    return path
