"""docker/compose.yaml as Compose reads it: variables put in, then YAML."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "docker"
IMAGES = {
    "PYTHON_IMAGE": f"python@sha256:{'1' * 64}",
    "POSTGRES_IMAGE": f"postgres@sha256:{'2' * 64}",
}
"""Stand-ins for what a lab fills in."""

_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<kind>:-|:\?)(?P<text>[^}]*))?\}")


class MissingVariableError(Exception):
    """Compose stops here and says this."""


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """The text with `${NAME}`, `${NAME:-default}` and `${NAME:?message}` replaced."""

    def value(found: re.Match[str]) -> str:
        given = variables.get(found["name"], "")
        if not given and found["kind"] == ":?":
            raise MissingVariableError(f"{found['name']}: {found['text']}")
        return given or (found["text"] if found["kind"] == ":-" else "")

    return _VARIABLE.sub(value, text)


def read_compose(variables: Mapping[str, str] = IMAGES) -> dict[str, Any]:
    """The whole file."""
    text = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(interpolated(text, variables)))


def in_order_of_start(services: Mapping[str, Any]) -> list[str]:
    """Names of all services, each after those that it depends on; raises AssertionError for a circle."""
    order: list[str] = []
    while len(order) < len(services):
        ready = [
            name
            for name, service in services.items()
            if name not in order and set(service.get("depends_on", {})) <= set(order)
        ]
        assert ready, f"these wait for each other: {set(services) - set(order)}"
        order += ready
    return order


def image_environment() -> dict[str, str]:
    """What the last stage of the Dockerfile sets by ENV, PATH left out."""
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8").rpartition("\nFROM ")[2]
    statement = re.search(r"^ENV ((?:.*\\\n)*.*)$", text, re.MULTILINE)
    assert statement is not None
    pairs = dict(word.split("=", 1) for word in statement[1].replace("\\\n", " ").split())
    return {name: value for name, value in pairs.items() if name != "PATH"}
