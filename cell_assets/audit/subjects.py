"""What an audit is about: a number, an artifact, or a part of a plate, as a person names it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cell_assets.errors import BadInputError, NotFoundError
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import Number

_LONGEST_ID = 18
"""Digits of the largest ids that a database's 64-bit integers hold whatever their first digit."""
_CAME_IN_AS = ("raw_acquisition", "single_cell_features", "mean_profiles")
"""Assets that a plate's bytes come in by; of a plate, the first that it has is where its history begins."""
_POSITION = re.compile(r"(?P<plate>[^|]+)(\|(?P<within>[^|]+))?")


@dataclass(frozen=True)
class Subject:
    """The artifacts that an audit starts from."""

    title: str
    artifact_ids: tuple[int, ...]
    number_id: int | None = None
    plate: str | None = None
    """Set where the subject is a plate or a part of one."""
    positions: tuple[str, ...] = ()
    """FOVs, where the subject is a part of a plate."""


def find_subject(ledger: Ledger, named: str) -> Subject:
    """Find what `named` means: `15` number 15, `artifact:12`, a plate `P1`, a well `P1|A/1`, a FOV `P1|A/1/000`.

    A plate stands for what it came in as, its raw acquisition or its table of features; a well or FOV for every
    artifact of its positions, besides. There may be none of these yet.

    Raises:
        BadInputError: the name can be read in none of these ways.
        NotFoundError: there is no such number, artifact, plate or position, or nothing was made of it.
    """
    digits = named.removeprefix("artifact:")
    if digits.isdecimal() and len(digits) > _LONGEST_ID:
        raise NotFoundError(f"{named} is not in the ledger: ids have at most {_LONGEST_ID} digits")
    if named.isdecimal():
        number = ledger.number(int(named))
        return Subject(f"number {number.id}", (number.artifact_id,), number.id)
    kind, colon, rest = named.partition(":")
    if colon and kind == "artifact" and rest.isdecimal():
        artifact = ledger.artifact(int(rest))
        title = f"artifact {artifact.id} ({artifact.asset} {artifact.partition})"
        return Subject(title, (artifact.id,))
    match = _POSITION.fullmatch(named)
    if match is None:
        raise BadInputError(
            f"{named!r} names nothing: give a number's id, artifact:ID, a plate, or PLATE|WELL or PLATE|FOV"
        )
    return _part_of_plate(ledger, match["plate"], match["within"])


def every_number(numbers: Sequence[Number]) -> Subject:
    """All of these numbers at once."""
    return Subject("every number", tuple(sorted({number.artifact_id for number in numbers})))


def _part_of_plate(ledger: Ledger, name: str, within: str | None) -> Subject:
    plate = ledger.plate(name)
    if plate is None:
        known = ", ".join(one.draft.name for one in ledger.plates()) or "none"
        raise NotFoundError(f"plate {name!r} is not in the ledger; its plates are: {known}")
    if within is None:
        for asset in _CAME_IN_AS:
            if own := [one.id for one in ledger.artifacts(asset, partitions=[name])]:
                return Subject(f"plate {name}", tuple(own), plate=name)
        raise NotFoundError(f"nothing was made of plate {name} yet")
    positions = [one for one in plate.draft.positions if one == within or one.startswith(f"{within}/")]
    if not positions:
        raise NotFoundError(f"plate {name} has no well or position {within}")
    made = [one.id for one in ledger.artifacts(partitions=[f"{name}|{position}" for position in positions])]
    return Subject(f"{name}|{within}", tuple(made), plate=name, positions=tuple(positions))
