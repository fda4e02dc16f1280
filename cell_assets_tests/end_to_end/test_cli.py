"""The command line: every help has an example, nothing heavy loads early, and JSON is JSON."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import click
import pytest
from click.testing import CliRunner

from cell_assets.automation.ingesting import ingest_plate
from cell_assets.cli import commands
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import (
    CHECKOUT,
    PlateFolder,
    cell_assets,
    opened,
    run,
    small_run,
)

HEAVY = ("dagster", "torch", "pandas", "numpy", "sqlalchemy", "mlflow", "umap", "lightning", "pydantic")


def loaded_by(statement: str, names: tuple[str, ...]) -> list[str]:
    """Which of `names` a fresh interpreter has imported after `statement`."""
    script = f"import sys\n{statement}\nprint(*[n for n in {names!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1].split()


def named_commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """All commands at or below a group, by what is typed after `cell-assets`."""
    for name, command in sorted(group.commands.items()):
        yield f"{before}{name}", command
        if isinstance(command, click.Group):
            yield from named_commands(command, f"{before}{name} ")


def options_of(command: click.Command) -> set[str]:
    """A command's own, and a group's commands'."""
    below = command.commands.values() if isinstance(command, click.Group) else ()
    own = {option for parameter in command.params for option in parameter.opts if option[:2] == "--"}
    return own.union(*map(options_of, below))


COMMANDS = dict(named_commands(commands))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_an_example_that_names_its_own_options(name: str) -> None:
    said = CliRunner().invoke(commands, [*name.split(), "--help"])
    assert said.exit_code == 0
    _, mark, example = said.output.partition("Example:")
    assert mark, said.output
    assert f"cell-assets {name}" in example.partition("Options:")[0]
    used = {word for word in example.partition("Options:")[0].split() if word.startswith("--")}
    assert used <= options_of(COMMANDS[name])


def test_every_option_of_every_command_is_explained() -> None:
    unexplained = [
        f"{name} {parameter.opts[0]}"
        for name, command in COMMANDS.items()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    self_explaining = {"simulate --wells-per-condition", "simulate --fovs-per-well", "simulate --time-points"}
    assert set(unexplained) <= self_explaining


def test_help_loads_nothing_heavy() -> None:
    statement = (
        "from click.testing import CliRunner\nfrom cell_assets.cli import commands\n"
        "assert 'Usage:' in CliRunner().invoke(commands, ['--help']).output"
    )
    assert loaded_by(statement, HEAVY) == []


def test_definitions_load_without_torch_and_umap() -> None:
    statement = "from cell_assets.definitions import defs\nassert defs.resolve_all_asset_keys()"
    heavy = ("torch", "umap", "lightning", "mlflow", "ultrack", "sklearn", "matplotlib", "anndata", "numba")
    assert loaded_by(statement, heavy) == []


def test_a_wrong_option_is_said_on_one_screen() -> None:
    said = CliRunner().invoke(commands, ["run"])
    assert said.exit_code == 2
    assert "--experiment" in said.output


def test_json_of_every_result(new_lab: Callable[[], Settings], two_fovs: PlateFolder) -> None:
    settings = new_lab()
    ingested = cell_assets(settings, "ingest", *two_fovs.arguments("E1", "P1"), "--json")
    assert json.loads(ingested.out)["positions"] == 2

    plan = json.loads(cell_assets(settings, "run", "--experiment", "E1", "--plan", "--json").out)
    assert [(plate["plate"], plate["to_make"]) for plate in plan["plates"]] == [("P1", 2)]
    with opened(settings) as session:
        assert session.ledger.artifacts("segmentation") == ()
        ingest_plate(session, two_fovs.request("E1", "P1"))
        outcome = run(session, small_run("E1"))
        assert outcome.failed == ()
        (raw,) = session.ledger.artifacts("raw_acquisition")

    numbers = json.loads(cell_assets(settings, "numbers", "--experiment", "E1", "--json").out)
    ids = {number["id"] for number in numbers}
    assert ids == {number["id"] for number in outcome.numbers}
    assert len(ids) > 10
    assert json.loads(cell_assets(settings, "numbers", "--experiment", "E2", "--json").out) == []

    explained = cell_assets(settings, "explain", str(min(ids)), "--json")
    assert json.loads(explained.out)
    assert raw.digest in explained.out

    verified = cell_assets(settings, "verify", str(min(ids)), "--json")
    assert verified.code == 0
    assert {one["verdict"] for one in json.loads(verified.out)["artifacts"]} == {"verified"}
    affected = json.loads(cell_assets(settings, "impact", "P1", "--json").out)
    assert {number["id"] for number in affected["numbers"]} == ids

    source = str(two_fovs.folder / "plate.zarr")
    same = json.loads(cell_assets(settings, "same-pixels", "P1", source, "--json").out)
    assert same["same"] is True
    assert same["content_digests"] == [raw.content_digest] * 2
    split = cell_assets(settings, "leakage", "E1", "--json")
    assert (split.code, json.loads(split.out)["leaks"]) == (0, False)
    first, second = sorted(ids)[:2]
    assert json.loads(cell_assets(settings, "diff", str(first), str(second), "--json").out)["differing"] == []

    again = json.loads(cell_assets(settings, "run", "--experiment", "E1", "--json").out)
    assert again["failed"] == []
    assert {number["id"] for number in again["numbers"]} == ids
    assert json.loads(cell_assets(settings, "gc", "--json").out)["sweep"]["removed_orphans"] == []
