"""Filename patterns: where on the plate each file of a folder belongs, by its name.

A pattern is the name itself with fields in braces: `Channel{channel}-*-{row}-{column}.tif`. Fields are `well`
(A01), `row` (A, or 1 for A), `column`, `fov`, `channel`, `t` and `z`; `*` stands for letters and digits that say
nothing. A `/` in it goes down into folders.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from cell_assets.errors import BadInputError

DEFAULT_PATTERN = "Channel{channel}-*-{row}-{column}.tif"


class Field(StrEnum):
    """What a part of a name says."""

    WELL = "well"
    ROW = "row"
    COLUMN = "column"
    FOV = "fov"
    CHANNEL = "channel"
    T = "t"
    Z = "z"


_WRITTEN_AS: Mapping[Field, str] = {
    Field.WELL: "[A-Za-z]{1,2}[0-9]{1,2}",
    Field.ROW: "[A-Za-z]{1,2}|[0-9]{1,2}",
    Field.COLUMN: "[0-9]{1,3}",
    Field.FOV: "[A-Za-z0-9]+?",
    Field.CHANNEL: "[^/_]+?",
    Field.T: "[0-9]{1,9}",
    Field.Z: "[0-9]{1,9}",
}
_ANYTHING = "[A-Za-z0-9]*"
_MAX_OPEN_PARTS = 6
"""Parts of any length (`*`, channel, fov) in one pattern: the time of a match grows with this power."""

_TOKEN = re.compile(r"\{([^{}]*)\}|\*")
_WELL = re.compile(r"([A-Za-z]{1,2})([0-9]{1,2})")
_ONLY_WELL = "A/1"
"""Where a folder belongs whose names speak of no well."""

_ONLY_FOV = "000"


class PlacedName(NamedTuple):
    """One file's place. None: its name does not say."""

    position: str
    """`row/column/fov`."""
    channel: str | None
    t: int | None
    z: int | None


@dataclass(frozen=True)
class FilePattern:
    """A pattern, ready to read names."""

    text: str
    fields: tuple[Field, ...]
    regex: re.Pattern[str]

    def place(self, name: str) -> PlacedName | None:
        """Where the file `name` belongs; None when the pattern does not fit."""
        match = self.regex.fullmatch(name)
        if match is None:
            return None
        said = {Field(name): text for name, text in match.groupdict().items()}
        t, z = (int(said[field]) if field in said else None for field in (Field.T, Field.Z))
        return PlacedName(f"{_well(said)}/{_fov(said)}", said.get(Field.CHANNEL), t, z)


def parse_pattern(text: str) -> FilePattern:
    """Read a pattern.

    Raises:
        BadInputError: a field is unknown or comes twice, a brace is open, or the well is said by halves.
    """
    fields: list[Field] = []
    regex, end, n_open = "", 0, 0
    for token in _TOKEN.finditer(text):
        regex += _literal(text, text[end : token.start()])
        end = token.end()
        if token.group() == "*":
            regex += _ANYTHING
            n_open += 1
            continue
        field = _field(text, token.group(1))
        if field in fields:
            raise BadInputError(f"--pattern {text!r}: field {{{field}}} comes twice; write * for the second")
        fields.append(field)
        n_open += field in (Field.CHANNEL, Field.FOV)
        regex += f"(?P<{field}>{_WRITTEN_AS[field]})"
    regex += _literal(text, text[end:])
    if n_open > _MAX_OPEN_PARTS:
        raise BadInputError(
            f"--pattern {text!r}: has {n_open} parts of any length; {_MAX_OPEN_PARTS} at most"
        )
    if (Field.ROW in fields) != (Field.COLUMN in fields):
        raise BadInputError(f"--pattern {text!r}: has {{row}} or {{column}} alone; give both, or {{well}}")
    if Field.WELL in fields and Field.ROW in fields:
        raise BadInputError(f"--pattern {text!r}: has {{well}} beside {{row}} and {{column}}; keep one way")
    return FilePattern(text, tuple(fields), re.compile(regex))


def place_files(pattern: FilePattern, names: Iterable[str]) -> dict[PlacedName, str]:
    """The file of every place.

    Raises:
        BadInputError: naming the first file that the pattern does not fit, or the two that have one place.
    """
    placed: dict[PlacedName, str] = {}
    for name in names:
        place = pattern.place(name)
        if place is None:
            raise BadInputError(
                f"{name}: does not fit the pattern {pattern.text!r}; give another --pattern, or move the file"
            )
        if place in placed:
            raise BadInputError(
                f"{name}: has the same place as {placed[place]} ({_said(place)}) by the pattern "
                f"{pattern.text!r}; keep one, or name what tells them apart"
            )
        placed[place] = name
    return placed


def _field(text: str, name: str) -> Field:
    try:
        return Field(name)
    except ValueError as error:
        known = ", ".join(f"{{{field}}}" for field in Field)
        raise BadInputError(
            f"--pattern {text!r}: field {{{name}}} is not known; write {known} or *"
        ) from error


def _literal(text: str, piece: str) -> str:
    if "{" in piece or "}" in piece:
        raise BadInputError(f"--pattern {text!r}: has a brace without its partner; write fields as {{well}}")
    return re.escape(piece)


def _well(said: Mapping[Field, str]) -> str:
    if Field.WELL in said:
        match = _WELL.fullmatch(said[Field.WELL])
        assert match is not None  # the field is written so
        row, column = match.groups()
    elif Field.ROW in said:
        row, column = said[Field.ROW], said[Field.COLUMN]
    else:
        return _ONLY_WELL
    return f"{row_letters(int(row)) if row.isdigit() else row.upper()}/{int(column)}"


def row_letters(number: int) -> str:
    """The letters of a plate's row, counted from 1: 1 is A, 26 Z, 27 AA; as on 1536-well plates."""
    letters = ""
    while number > 0:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def _fov(said: Mapping[Field, str]) -> str:
    fov = said.get(Field.FOV, _ONLY_FOV)
    return f"{int(fov):03d}" if fov.isdigit() else fov


def _said(place: PlacedName) -> str:
    parts = {"channel": place.channel, "t": place.t, "z": place.z}
    return ", ".join(
        [place.position, *(f"{key} {value}" for key, value in parts.items() if value is not None)]
    )
