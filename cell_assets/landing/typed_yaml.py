"""YAML that a person wrote, as a typed object or as one sentence about what is wrong with it."""

from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from cell_assets.errors import BadInputError

MAX_BYTES = 2**20
"""Of such a file: more is not what a person writes."""

_File = TypeVar("_File", bound=BaseModel)


class _PlainLoader(yaml.SafeLoader):
    """Without aliases: a few lines of them stand for more values than any memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.constructor.ConstructorError(
                None, None, f"*{event.anchor} stands for what is written elsewhere", event.start_mark
            )
        return super().compose_node(parent, index)


def parse_yaml(kind: type[_File], content: bytes, where: str, example: str) -> _File:
    """The fields of a file, without trusting it.

    Args:
        where: names the file.
        example: a field as it is written.

    Raises:
        BadInputError: one sentence that names file, field and value.
    """
    if len(content) > MAX_BYTES:
        raise BadInputError(f"{where}: is larger than {MAX_BYTES} bytes, write only its fields into it")
    try:
        values = yaml.load(content, _PlainLoader)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        raise BadInputError(f"{where}: {line}{error.problem}; write it as YAML") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())[:200]
        raise BadInputError(f"{where}: cannot be read as YAML ({said}); write it anew") from None
    if not isinstance(values, dict):
        raise BadInputError(f"{where}: holds {_short(values)}, give fields such as `{example}`")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        said = str(first["msg"]).removeprefix("Value error, ")
        if first["type"] in ("missing", "extra_forbidden"):
            raise BadInputError(f"{where}: field {field}: {said}") from None
        if not field:
            raise BadInputError(f"{where}: {said}") from None
        raise BadInputError(f"{where}: field {field} is {_short(first['input'])}: {said}") from None


def _short(value: object) -> str:
    said = repr(value)
    return said if len(said) <= 80 else f"{said[:77]}…"
