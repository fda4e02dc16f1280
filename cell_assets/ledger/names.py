"""Which names the lab's objects may carry, so that partition keys and folders stay unambiguous."""

import re

from cell_assets.errors import BadInputError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+=-]*")
_PART = r"[A-Za-z0-9]+"
_WELL = re.compile(rf"{_PART}/{_PART}")
_POSITION = re.compile(rf"{_PART}/{_PART}/{_PART}")
_LONGEST = 100


def check_name(kind: str, name: str) -> str:
    """Return `name` when it can name a `kind` (`experiment`, `plate`); raise BadInputError otherwise.

    Partition keys join names with `|` and positions hold `/`, so neither may occur, nor may `..`.
    """
    if not _NAME.fullmatch(name) or ".." in name or name.endswith((" ", ".")) or len(name) > _LONGEST:
        raise BadInputError(
            f"{kind} name {name!r} cannot be used: start with a letter or digit, use letters, digits, spaces "
            f"and . _ + = - only (no '..', '|' or '/'), and at most {_LONGEST} characters"
        )
    return name


def check_well(plate: str, name: str) -> str:
    """Return the well name `row/column`, such as `A/1`; raise BadInputError when it is something else."""
    if not _WELL.fullmatch(name):
        raise BadInputError(f"plate {plate}: well {name!r} is not of the form row/column, such as A/1")
    return name


def check_position(plate: str, name: str) -> str:
    """Return the FOV name `row/column/fov`, such as `A/1/000`; raise BadInputError otherwise."""
    if not _POSITION.fullmatch(name):
        raise BadInputError(
            f"plate {plate}: position {name!r} is not of the form row/column/fov, such as A/1/000"
        )
    return name
