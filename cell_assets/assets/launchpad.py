"""Dagster's config schema of a pydantic model: what the Launchpad shows, completes and checks of each field.

The model stays the one source of fields, types, defaults, limits and descriptions. No field gets a default in
Dagster's own sense: Dagster would fill it in, and what nobody stated could not be told from what somebody chose.
"""

import ast
import inspect
import textwrap
from collections.abc import Container, Mapping, Sequence
from enum import Enum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import dagster as dg
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import to_json

from cell_assets.errors import BadInputError

Request = TypeVar("Request", bound=BaseModel)

_SCALARS: dict[Any, type] = {str: str, int: int, float: float, bool: bool, Path: str}
_PACKAGE = "cell_assets."
_BOUNDS: dict[type, tuple[str, str]] = {
    Ge: ("ge", "at least"),
    Gt: ("gt", "more than"),
    Le: ("le", "at most"),
    Lt: ("lt", "less than"),
}


def config_fields(
    model: type[BaseModel], presets: Mapping[str, BaseModel] | None = None
) -> dict[str, dg.Field]:
    """A Dagster field for every field of `model`, optional where the model has a default.

    Args:
        presets: instances of the model by name; a field's description says the default of each.

    Raises:
        TypeError: a field has a type that Dagster's config cannot say.
    """
    return {
        name: dg.Field(
            _config_type(info.annotation, f"{model.__name__}.{name}"),
            is_required=info.is_required(),
            description=_description(name, info, presets or {}),
        )
        for name, info in model.model_fields.items()
    }


def request_fields(model: type[BaseModel], identity: Container[str]) -> dict[str, dg.Field]:
    """The fields of what a person hands in, but those that the partition says; all may be left out together."""
    return {
        name: dg.Field(one.config_type, is_required=False, description=one.description)
        for name, one in config_fields(model).items()
        if name not in identity
    }


def stated_request(
    model: type[Request], step: str, config: Mapping[str, Any], identity: Mapping[str, str]
) -> Request | None:
    """What the config of `step` hands in, or None where it states nothing.

    Raises:
        BadInputError: a field is missing or has a value that it cannot have.
    """
    if not config:
        return None
    try:
        return model.model_validate({**config, **identity})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise BadInputError(f"config of {step}: {field} is missing; state it") from error
        raise BadInputError(f"config of {step}: {field} is {first['input']!r}: {first['msg']}") from error


def as_config(request: BaseModel, identity: Container[str]) -> dict[str, Any]:
    """A request as the config that states it."""
    stated = request.model_dump(mode="json", exclude_none=True)
    return {name: value for name, value in stated.items() if name not in identity}


def one_of(name: str, values: Sequence[str]) -> dg.Enum:
    """One of some names; `name` is the type's, and no other type's."""
    return dg.Enum(name, [dg.EnumValue(value) for value in values])


def _config_type(annotation: Any, where: str) -> Any:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return _enum_type(annotation)
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return dg.Shape(config_fields(annotation), description=inspect.getdoc(annotation))
    if origin in (Union, UnionType) and NoneType in arguments and len(arguments) == 2:
        (inner,) = set(arguments) - {NoneType}
        return dg.Noneable(_config_type(inner, where))
    if origin is Literal:
        return one_of(where, [str(value) for value in arguments])
    if origin in (tuple, list):
        kinds = set(arguments) - {Ellipsis}
        if len(kinds) == 1:
            return [_config_type(kinds.pop(), where)]
    if origin is dict and arguments[0] is str:
        return dg.Map(str, _config_type(arguments[1], where))
    raise TypeError(f"{where} has the type {annotation}, of which assets.launchpad makes no config")


@cache
def _enum_type(enum: type[Enum]) -> dg.Enum:
    """Named with its module, because Dagster knows config types of all assets by name alone."""
    said = _members_docstrings(enum)
    name = f"{enum.__module__.removeprefix(_PACKAGE)}.{enum.__name__}"
    return dg.Enum(name, [dg.EnumValue(one.value, description=said.get(one.name)) for one in enum])


def _members_docstrings(enum: type[Enum]) -> dict[str, str]:
    """The string under each member of an enum, by the member's name."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(enum))).body
    assert isinstance(definition, ast.ClassDef)
    said = {}
    for statement, following in zip(definition.body, definition.body[1:], strict=False):
        match statement, following:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(text))):
                said[name] = inspect.cleandoc(text)
    return said


def _description(name: str, info: FieldInfo, presets: Mapping[str, BaseModel]) -> str:
    limits = [
        f"{words} {getattr(limit, attribute)}"
        for limit in info.metadata
        for kind, (attribute, words) in _BOUNDS.items()
        if isinstance(limit, kind)
    ]
    parts = [info.description or "", f"{', '.join(limits).capitalize()}." if limits else ""]
    if values := _values(info.annotation):
        parts.append(f"One of {', '.join(values)}.")
    # What stands in for a default of None, only words can say.
    if not info.is_required() and "Default:" not in parts[0]:
        parts.append(_defaults(name, info, presets))
    return " ".join(" ".join(parts).split())


def _values(annotation: Any) -> list[str]:
    """Of an enum, or of one that may be left open; beside the fields, the Launchpad shows its name alone."""
    kinds = [kind for kind in (annotation, *get_args(annotation)) if inspect.isclass(kind)]
    return [one.value for kind in kinds if issubclass(kind, Enum) for one in kind]


def _defaults(name: str, info: FieldInfo, presets: Mapping[str, BaseModel]) -> str:
    if inspect.isclass(info.annotation) and issubclass(info.annotation, BaseModel):
        return ""  # Its own fields say theirs.
    by_preset = {preset: _said(getattr(values, name)) for preset, values in presets.items()}
    if len(set(by_preset.values())) > 1:
        return "Default: " + ", ".join(f"{value} ({preset})" for preset, value in by_preset.items()) + "."
    return f"Default: {next(iter(by_preset.values()), _said(info.get_default(call_default_factory=True)))}."


def _said(value: object) -> str:
    return "none" if value is None else to_json(value).decode()
