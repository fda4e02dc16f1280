"""Options that commands share, and how what a person types is read."""

import json
import os
import pwd
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import click

from cell_assets.errors import BadInputError

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
AS_OF = click.option(
    "--as-of",
    metavar="DATE",
    help="As it stood then: 2026-03-03 (that day's end, UTC) or 2026-03-03T12:00:00Z.",
)
EXPERIMENT = click.option("--experiment", required=True, metavar="E", help="Name of the experiment.")


def json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise BadInputError(f"{path}: line {error.lineno}: {error.msg}; give a JSON object") from None
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: byte {error.start} is no UTF-8; give a JSON object in UTF-8") from None
    except RecursionError:
        raise BadInputError(f"{path}: nests its values too deeply; give a JSON object of choices") from None
    if not isinstance(value, dict):
        raise BadInputError(f"{path}: holds a {type(value).__name__}, give a JSON object")
    return value


def moment(text: str | None) -> datetime | None:
    """The moment that --as-of names; a day stands for its end."""
    if text is None:
        return None
    try:
        if len(text) == len("2026-03-03"):
            return datetime.combine(date.fromisoformat(text), time.max, UTC)
        at = datetime.fromisoformat(text)
    except ValueError:
        raise BadInputError(
            f"--as-of is {text!r}, give a date such as 2026-03-03 or a moment such as 2026-03-03T12:00:00Z"
        ) from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def write_page(path: Path, page: str) -> None:
    """Write what a person asked for to where they asked for it."""
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise BadInputError(f"{path} cannot be written: {error.strerror}; give another file") from None


def pixel_size(text: str) -> tuple[float, float]:
    """Y and X of --pixel-size-um."""
    try:
        y, x = (float(part) for part in text.split(","))
    except ValueError:
        raise BadInputError(
            f"--pixel-size-um is {text!r}, give Y,X in micrometres, such as 0.1,0.1"
        ) from None
    return y, x


def integers(option: str, text: str) -> list[int]:
    """Whole numbers separated by commas."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise BadInputError(f"{option} is {text!r}, give whole numbers separated by commas") from None


def absolute_text(path: Path | None) -> str | None:
    """A path as it is meant from anywhere."""
    return None if path is None else str(path.absolute())


def login_name() -> str:
    """Who runs the command, as the machine names them."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        raise BadInputError("your user has no name on this machine; say who it was with --by NAME") from None
