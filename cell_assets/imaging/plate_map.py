"""Plate maps: which perturbation each well got, from a CSV."""

import csv
import math
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from cell_assets.errors import BadInputError
from cell_assets.ledger.records import WellDraft


class PerturbationType(StrEnum):
    """What a well is treated with."""

    COMPOUND = "compound"
    GENE = "gene"
    GUIDE = "guide"
    VIRUS = "virus"


PERTURBATION_TYPES = tuple(one.value for one in PerturbationType)
MOI_UNIT = "MOI"

_COLUMNS = (
    "well",
    *PERTURBATION_TYPES,
    "perturbation_type",
    "perturbation",
    "dose",
    "dose_unit",
    "moi",
    "moa",
    "is_control",
)
_FLAGS: Mapping[str, bool] = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_WELL = re.compile(r"([A-Za-z]+)[/ ]?0*([0-9]+)")


def read_plate_map(path: Path, wells: Sequence[str]) -> tuple[WellDraft, ...]:
    """Read a plate map for a plate that has `wells` (`row/column`), and return one entry per well, in their
    order.

    Columns: `well` (`A1`, `A01` or `A/1`); the perturbation, either in a column named for its type
    (`compound`, `gene`, `guide`, `virus`; one filled per row, or none) or as `perturbation_type` and
    `perturbation`; `dose` with `dose_unit`, or `moi`; `moa`; `is_control` (true/false, yes/no, 1/0). Blank
    is not stated (None). A well of the plate that the map leaves out has no condition.

    Raises:
        BadInputError: naming file, line, field and value, for an unknown column, a well that the plate lacks
            or that comes twice, a bad number, a dose without a unit, or two perturbations in one row.
    """
    rows = _rows(path)
    by_key = {_well_key(well): well for well in wells}
    found: dict[str, WellDraft] = {}
    lines: dict[str, int] = {}
    for line, row in rows:
        entry = _entry(row, f"{path}, line {line}", by_key)
        if entry.name in found:
            raise BadInputError(
                f"{path}, line {line}: well {row['well']!r} is already given in line "
                f"{lines[entry.name]}; keep one"
            )
        found[entry.name], lines[entry.name] = entry, line
    return tuple(found.get(well, WellDraft(name=well)) for well in wells)


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise BadInputError(f"{path}: there is no such plate map") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    reader = csv.reader(text.splitlines())
    header = [name.strip().lower() for name in next(reader, [])]
    for name in header:
        if name not in _COLUMNS:
            raise BadInputError(
                f"{path}, line 1: unknown column {name!r}; a plate map has {', '.join(_COLUMNS)}"
            )
        if header.count(name) > 1:
            raise BadInputError(f"{path}, line 1: column {name!r} is given twice; keep one")
    if "well" not in header:
        raise BadInputError(f"{path}, line 1: column 'well' is missing; a plate map names one well per row")
    rows = []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise BadInputError(
                f"{path}, line {reader.line_num}: {len(cells)} fields, but the header has {len(header)}"
            )
        rows.append((reader.line_num, {n: cell.strip() for n, cell in zip(header, cells, strict=True)}))
    return rows


def _entry(row: Mapping[str, str], place: str, by_key: Mapping[tuple[str, str], str]) -> WellDraft:
    well = by_key.get(_well_key(row["well"]))
    if well is None:
        raise BadInputError(
            f"{place}: well {row['well']!r} is not on the plate, which has {_some(list(by_key.values()))}"
        )
    kind, perturbation = _perturbation(row, place)
    dose, unit = _dose(row, place)
    flag = row.get("is_control", "").lower()
    if flag and flag not in _FLAGS:
        raise BadInputError(f"{place}: is_control is {row['is_control']!r}; give true or false")
    return WellDraft(
        name=well,
        perturbation_type=kind,
        perturbation=perturbation,
        dose=dose,
        dose_unit=unit,
        moa=row.get("moa") or None,
        is_control=_FLAGS[flag] if flag else None,
    )


def _perturbation(row: Mapping[str, str], place: str) -> tuple[str | None, str | None]:
    given = [(kind, row[kind]) for kind in PERTURBATION_TYPES if row.get(kind)]
    kind, name = row.get("perturbation_type", "").lower(), row.get("perturbation", "")
    if kind and kind not in PERTURBATION_TYPES:
        raise BadInputError(
            f"{place}: perturbation_type is {row['perturbation_type']!r}; give one of "
            f"{', '.join(PERTURBATION_TYPES)}"
        )
    if bool(kind) != bool(name):
        raise BadInputError(
            f"{place}: perturbation_type is {kind!r} and perturbation is {name!r}; give both or neither"
        )
    if kind:
        given.append((kind, name))
    if len(given) > 1:
        named = " and ".join(f"{k} {n!r}" for k, n in given)
        raise BadInputError(f"{place}: a well has one perturbation, but {named} are given; keep one")
    return given[0] if given else (None, None)


def _dose(row: Mapping[str, str], place: str) -> tuple[float | None, str | None]:
    dose, unit, moi = (row.get(name, "") for name in ("dose", "dose_unit", "moi"))
    if dose and moi:
        raise BadInputError(f"{place}: both dose {dose!r} and moi {moi!r} are given; keep one")
    if moi:
        if unit not in ("", MOI_UNIT):
            raise BadInputError(
                f"{place}: dose_unit is {unit!r}, but the unit of moi is {MOI_UNIT}; leave it blank"
            )
        return _number(moi, "moi", place), MOI_UNIT
    if not dose:
        return None, None
    if not unit:
        raise BadInputError(f"{place}: dose {dose!r} has no unit; fill column dose_unit, for example µM")
    return _number(dose, "dose", place), unit


def _number(text: str, field: str, place: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise BadInputError(f"{place}: {field} is {text!r}; give a number") from error
    if not math.isfinite(value) or value < 0:
        raise BadInputError(f"{place}: {field} is {text!r}; give a number from 0")
    return value


def well_name(text: str) -> str:
    """`A/1` for `A1`, `A01`, `a/01` and `A/1`.

    Raises:
        BadInputError: it is none of these.
    """
    match = _WELL.fullmatch(text.strip())
    if match is None:
        raise BadInputError(f"well {text!r} is not a row of letters and a column of digits, such as A01")
    return f"{match.group(1).upper()}/{match.group(2)}"


def _well_key(well: str) -> tuple[str, str]:
    """Row in capitals and column without leading zeros, so that A1, A01 and A/1 name one well."""
    match = _WELL.fullmatch(well.strip())
    if match is not None:
        return match.group(1).upper(), match.group(2)
    row, _, column = well.strip().partition("/")
    return row, column


def _some(names: Sequence[str], limit: int = 6) -> str:
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")
