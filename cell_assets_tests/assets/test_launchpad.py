"""Dagster's config schema says of every field what its pydantic model says."""

from enum import StrEnum
from typing import Any

import dagster as dg
import pytest
from pydantic import BaseModel, ConfigDict, Field

from cell_assets.assets.annotations import AnnotationRequest
from cell_assets.assets.corrections import CorrectionRequest
from cell_assets.assets.ingest_request import IngestRequest
from cell_assets.assets.launchpad import as_config, config_fields, request_fields, stated_request
from cell_assets.assets.partitions import PARTITION_SAYS
from cell_assets.assets.table_request import TableRequest
from cell_assets.errors import BadInputError
from cell_assets.methods.registry import ENTRIES, load_trainable, presets_of


class Colour(StrEnum):
    """Of a lamp."""

    RED = "red"
    """Long waves."""
    BLUE = "light-blue"


class Lamp(BaseModel):
    """A light source."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    colour: Colour
    """What it
    shines."""
    power_mw: float = Field(default=5.0, gt=0, le=100)
    exposures_ms: tuple[int, ...] = (10, 20)
    filters: tuple[str, str] | None = None
    """Default: the lamp's own."""


class Microscope(BaseModel):
    """Of one stand."""

    lamp: Lamp
    lamps: dict[str, Lamp] = Field(default_factory=dict)


class Loose(BaseModel):
    anything: Any = None


def given(fields: dict[str, dg.Field], config: dict[str, Any]) -> dict[str, Any]:
    """What Dagster makes of a config that a person wrote."""
    from dagster._config import process_config

    done = process_config(dg.Shape(fields), config)
    if not done.success:
        raise ValueError(" ".join(error.message for error in done.errors or ()))
    assert done.value is not None
    return dict(done.value)


def test_a_field_says_its_docstring_limits_and_default() -> None:
    fields = config_fields(Lamp)
    assert fields["colour"].description == "What it shines. One of red, light-blue."
    assert fields["power_mw"].description == "More than 0, at most 100. Default: 5.0."
    assert fields["exposures_ms"].description == "Default: [10,20]."
    assert fields["filters"].description == "Default: the lamp's own."
    assert [name for name, field in fields.items() if field.is_required] == ["colour"]


def test_each_presets_default_is_said_where_they_differ() -> None:
    presets = {
        "dim": Lamp(colour=Colour.RED, power_mw=1.0),
        "bright": Lamp(colour=Colour.RED, power_mw=9.0),
    }
    fields = config_fields(Lamp, presets)
    assert fields["power_mw"].description == "More than 0, at most 100. Default: 1.0 (dim), 9.0 (bright)."
    assert fields["exposures_ms"].description == "Default: [10,20]."


def test_an_enums_values_carry_their_docstrings() -> None:
    values = config_fields(Lamp)["colour"].config_type.enum_values
    assert [(one.config_value, one.description) for one in values] == [
        ("red", "Long waves."),
        ("light-blue", None),
    ]


def test_what_nobody_stated_is_not_filled_in() -> None:
    fields = config_fields(Microscope)
    stated = {"lamp": {"colour": "red", "filters": None}, "lamps": {"second": {"colour": "light-blue"}}}
    assert given(fields, stated) == stated


@pytest.mark.parametrize(
    ("lamp", "said"),
    [
        ({"colour": "green"}, "not in enum type"),
        ({"colour": "red", "power_mw": "strong"}, "Invalid scalar"),
        ({"colour": "red", "exposures_ms": [1.5]}, "Invalid scalar"),
        ({"colour": "red", "powr": 1.0}, "unexpected config entry"),
        ({}, 'Missing required config entry "colour"'),
    ],
)
def test_dagster_refuses_what_the_model_would(lamp: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        given(config_fields(Microscope), {"lamp": lamp})


class Parcel(BaseModel):
    """What somebody hands in."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    street: str
    """Where to."""
    house: str
    """The number on the door."""
    weight_kg: float | None = None
    """On the scales."""


def test_what_is_handed_in_is_stated_by_config_and_partition() -> None:
    fields = request_fields(Parcel, {"house"})
    assert set(fields) == {"street", "weight_kg"}
    assert not any(field.is_required for field in fields.values())
    assert fields["street"].description == "Where to."
    given = Parcel(street="High Street", house="7", weight_kg=1.5)
    config = as_config(given, {"house"})
    assert config == {"street": "High Street", "weight_kg": 1.5}
    assert stated_request(Parcel, "post", config, {"house": "7"}) == given
    assert stated_request(Parcel, "post", {}, {"house": "7"}) is None
    with pytest.raises(BadInputError, match="config of post: street is missing; state it"):
        stated_request(Parcel, "post", {"weight_kg": 1.0}, {"house": "7"})
    with pytest.raises(BadInputError, match="config of post: weight_kg is 'heavy'"):
        stated_request(Parcel, "post", {"street": "x", "weight_kg": "heavy"}, {"house": "7"})


@pytest.mark.parametrize("request_of", [IngestRequest, TableRequest, AnnotationRequest, CorrectionRequest])
def test_every_field_of_what_people_hand_in_is_described(request_of: type[BaseModel]) -> None:
    fields = request_fields(request_of, PARTITION_SAYS)
    undescribed = [
        name for name, one in fields.items() if not (one.description or "").partition("Default:")[0].strip()
    ]
    assert undescribed == []


def test_a_type_that_config_cannot_say_is_named() -> None:
    with pytest.raises(TypeError, match=r"Loose\.anything"):
        config_fields(Loose)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_methods_presets_are_those_that_it_trains_with(entry: Any) -> None:
    for name, preset in presets_of(entry).items():
        assert load_trainable(entry.name).parameters(name, {}) == preset
