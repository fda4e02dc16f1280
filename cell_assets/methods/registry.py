"""The one list of methods. A method is added by one folder and one entry here.

Importing this module imports no method: torch and its kin load when a method is first asked for.
"""

from dataclasses import dataclass
from importlib import import_module

from cell_assets.errors import BadInputError
from cell_assets.methods.contract import Method


@dataclass(frozen=True)
class MethodEntry:
    """A method's name, what it is, and the module whose `METHOD` implements it."""

    name: str
    title: str
    module: str


ENTRIES: tuple[MethodEntry, ...] = (
    MethodEntry(
        name="dynaclr",
        title="DynaCLR: contrastive learning of cell dynamics with time-aware triplets",
        module="cell_assets.methods.dynaclr.method",
    ),
)


def method_names() -> tuple[str, ...]:
    """Names of all methods, in the order of their entries."""
    return tuple(entry.name for entry in ENTRIES)


def load_method(name: str) -> Method:
    """Imports the method of that name.

    Raises:
        BadInputError: there is no such method.
    """
    for entry in ENTRIES:
        if entry.name == name:
            method: Method = import_module(entry.module).METHOD
            return method
    raise BadInputError(f"method {name!r} is not one of {', '.join(method_names())}; choose one of these")
