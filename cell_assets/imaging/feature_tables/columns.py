"""What a column of CellProfiler's says: a feature of a cell, or who and where it is."""

import re
from collections.abc import Iterable

from cell_assets.errors import BadInputError

COMPARTMENTS = ("Cells", "Cytoplasm", "Nuclei")
"""Objects whose measurements are features; each begins the names of its columns."""
METADATA = "Metadata_"
IMAGE = "Image_"
PLATE, WELL, SITE = "Metadata_Plate", "Metadata_Well", "Metadata_Site"
PLACE = (PLATE, WELL, SITE)
IMAGE_NUMBER = "Metadata_ImageNumber"
TABLE_NUMBER = "Metadata_TableNumber"
"""With each, the numbers of images begin anew."""
CELL = "Metadata_Cell"
"""Name of a cell that no image shows, such as its barcode."""
_NUMBERS = (
    *(f"Metadata_{name}_Number_Object_Number" for name in ("Cells", "Nuclei", "Cytoplasm")),
    "Metadata_ObjectNumber",
    CELL,
)
OBJECT = (TABLE_NUMBER, IMAGE_NUMBER, *_NUMBERS)
"""What, with its place, names one cell; a table has some of them."""

_WHO_OR_WHERE = re.compile(
    r"_(Location|Parent|Children|ObjectNumber|Number_Object_Number)(_|$)"
    r"|_AreaShape_(Center|BoundingBoxMaximum|BoundingBoxMinimum)_"
    r"|ClosestObjectNumber"
)
_MERGED = re.compile(r"_[xy]$")
"""What pandas appends to a column that two merged tables both had."""


def is_feature(column: str) -> bool:
    """Whether it is measured of a cell, and is neither a number that names an object nor a place in the image.

    Where a cell lies would tell a network of fields of view, not of phenotypes.
    """
    return column.startswith(tuple(f"{name}_" for name in COMPARTMENTS)) and not _WHO_OR_WHERE.search(column)


def known_name(column: str) -> str | None:
    """`Metadata_*` name of a column that is no feature; None of an image's measurements, which no cell has."""
    plain = _MERGED.sub("", column)
    if plain.startswith(f"{IMAGE}{METADATA}"):
        return plain.removeprefix(IMAGE)
    if plain.startswith(IMAGE) or plain.startswith("__"):
        return None
    return column if column.startswith(METADATA) else f"{METADATA}{column}"


def cell_keys(known: Iterable[str], source: object) -> tuple[str, ...]:
    """Those of `known` whose values together name one cell: its place, its image and one of its numbers.

    Raises:
        BadInputError: none numbers the cells.
    """
    there = set(known)
    number = next((name for name in _NUMBERS if name in there), None)
    if number is None:
        raise BadInputError(
            f"{source}: no column numbers the cells of an image, so that one which comes twice would not be seen; keep "
            f"CellProfiler's object number of one compartment (such as {_NUMBERS[0]})"
        )
    return (*(name for name in (*PLACE, TABLE_NUMBER, IMAGE_NUMBER) if name in there), number)


def require_place(known: Iterable[str], source: object) -> None:
    """Refuse cells that do not say which well of which plate they are of.

    Raises:
        BadInputError: it is not there.
    """
    missing = [name for name in (PLATE, WELL) if name not in known]
    if missing:
        lacking = " and ".join(name.removeprefix(METADATA).lower() for name in missing)
        wanted = " and ".join(f"{IMAGE}{name}" for name in missing)
        raise BadInputError(
            f"{source}: no column says {lacking} of a cell; have CellProfiler's Metadata module write {wanted}"
        )
