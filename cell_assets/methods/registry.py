"""The one list of methods. A method is added by one folder and one entry here.

Importing this module imports no method: torch and its kin load when a method is first asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module

from pydantic import BaseModel

from cell_assets.errors import BadInputError
from cell_assets.methods.contract import (
    AttributableMethod,
    BleachableMethod,
    Method,
    ProfileMethod,
    TrainableMethod,
)


class Represents(StrEnum):
    """What a method turns into a vector."""

    CELLS = "cells"
    """Single cells, seen in their patches: `contract.Method`."""
    WELLS = "wells"
    """Wells, by the features of their cells: `contract.ProfileMethod`."""


@dataclass(frozen=True)
class MethodEntry:
    """One method."""

    name: str
    title: str
    """What it is, for people."""
    module: str
    """Its `METHOD` implements the contract."""
    parameters: str
    """Module whose `PRESETS` are the parameters of its training by preset and, of a method for cells, `EMBEDDING` the
    model of those of its embedding; imported by the definitions, so it needs no torch."""
    represents: Represents = Represents.CELLS
    attributable: bool = False
    """Whether it offers `contract.AttributableMethod`, and so has an attribution asset."""
    bleachable: bool = False
    """Whether it offers `contract.BleachableMethod`, and so has a bleaching asset."""


ENTRIES: tuple[MethodEntry, ...] = (
    MethodEntry(
        name="dynaclr",
        title="DynaCLR: contrastive learning of cell dynamics with time-aware triplets",
        module="cell_assets.methods.dynaclr.method",
        parameters="cell_assets.methods.dynaclr.parameters",
        attributable=True,
        bleachable=True,
    ),
    MethodEntry(
        name="cytosummary",
        title="CytoSummaryNet: profiles of wells, learned from the features of their cells",
        module="cell_assets.methods.cytosummary.method",
        parameters="cell_assets.methods.cytosummary.parameters",
        represents=Represents.WELLS,
    ),
)
CELL_METHODS = tuple(entry for entry in ENTRIES if entry.represents is Represents.CELLS)
WELL_METHODS = tuple(entry for entry in ENTRIES if entry.represents is Represents.WELLS)


def entry_of(name: str) -> MethodEntry:
    """The entry of the method of that name.

    Raises:
        BadInputError: there is no such method.
    """
    for entry in ENTRIES:
        if entry.name == name:
            return entry
    raise BadInputError(
        f"method {name!r} is not one of {', '.join(entry.name for entry in ENTRIES)}; choose one of these"
    )


def presets_of(entry: MethodEntry) -> Mapping[str, BaseModel]:
    """A method's training parameters by preset, all of one model; imports no torch."""
    presets: Mapping[str, BaseModel] = import_module(entry.parameters).PRESETS
    return presets


def embedding_model_of(entry: MethodEntry) -> type[BaseModel]:
    """The model of what decides a method's embeddings; imports no torch."""
    model: type[BaseModel] = import_module(entry.parameters).EMBEDDING
    return model


def load_trainable(name: str) -> TrainableMethod:
    """Imports the method of that name, whatever it represents.

    Raises:
        BadInputError: there is no such method.
    """
    method: TrainableMethod = import_module(entry_of(name).module).METHOD
    return method


def load_method(name: str) -> Method:
    """Imports the method of that name, which embeds cells.

    Raises:
        BadInputError: there is no such method, or it profiles wells.
    """
    entry = entry_of(name)
    if entry.represents is not Represents.CELLS:
        raise BadInputError(f"method {name} profiles wells and embeds no cells; choose one that does")
    method: Method = import_module(entry.module).METHOD
    return method


def load_profile_method(name: str) -> ProfileMethod:
    """Imports the method of that name, which profiles wells.

    Raises:
        BadInputError: there is no such method, or it embeds cells.
    """
    entry = entry_of(name)
    if entry.represents is not Represents.WELLS:
        raise BadInputError(f"method {name} embeds cells and profiles no wells; choose one that does")
    method: ProfileMethod = import_module(entry.module).METHOD
    return method


def is_attributable(name: str) -> bool:
    """Whether the method of that name has an attribution asset."""
    return any(entry.name == name and entry.attributable for entry in ENTRIES)


def load_attributable(name: str) -> AttributableMethod:
    """Imports the method of that name, whose classes can be attributed to pixels.

    Raises:
        BadInputError: there is no such method, or it does not offer this.
    """
    method = load_method(name)
    if not isinstance(method, AttributableMethod):
        raise BadInputError(f"method {name} does not offer attribution to pixels; choose one that does")
    return method


def is_bleachable(name: str) -> bool:
    """Whether the method of that name has a bleaching asset."""
    return any(entry.name == name and entry.bleachable for entry in ENTRIES)


def load_bleachable(name: str) -> BleachableMethod:
    """Imports the method of that name, which can see cells dimmed.

    Raises:
        BadInputError: there is no such method, or it does not offer this.
    """
    method = load_method(name)
    if not isinstance(method, BleachableMethod):
        raise BadInputError(f"method {name} does not offer dimmed cells; choose one that does")
    return method
