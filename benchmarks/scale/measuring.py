"""One plate made by the product, a year of copies of it, and what is then asked of them."""

import argparse
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path

import installations
import pages
import questions
import template
import year

from cell_assets.automation.dagster_home import open_instance
from cell_assets.automation.session import Session, open_session
from cell_assets.database.addresses import DatabaseAddresses
from cell_assets.database.embedded import open_database
from cell_assets.definitions import build_defs
from cell_assets.settings import Settings
from cell_assets_tests.chromium import FLAGS

HERE = Path(__file__).parent
BUILT = "built.json"
"""In the home, once a year is in it: how long that took and what it weighs."""


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--plates", type=int, default=100, help="how many plates the year has")
    asked.add_argument(
        "--home", type=Path, help="keep everything here; a folder that is there is gone on with"
    )
    asked.add_argument(
        "--installations", type=int, default=1, help="how many such years one PostgreSQL server then holds"
    )
    given = asked.parse_args()
    result: dict[str, object] = {
        "plates": given.plates,
        "positions": template.POSITIONS,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
    }
    with _home(given.home) as home, open_database(Settings(home=home, database_url=None)) as addresses:
        with open_session(Settings(home=home, database_url=addresses.base), build_defs) as session:
            if not (home / BUILT).exists():
                built = _build(session, home, given.plates)
                (home / BUILT).write_text(json.dumps(built))
            result |= json.loads((home / BUILT).read_text())
            result |= _measure(session, given.plates)
        _write(result, given.plates)
        if given.installations > 1:
            result["installations"] = _measure_many(addresses, home, given.plates, given.installations)
            _write(result, given.plates)


def _write(result: dict[str, object], plates: int) -> None:
    """What is known so far: a failure later takes nothing away."""
    text = json.dumps(_plain(result), indent=1)
    (HERE / f"result_{plates}.json").write_text(text + "\n")
    print(text, flush=True)


@contextmanager
def _home(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="scale-benchmark-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        # The database's user must be able to enter.
        home.chmod(0o755)
        yield home


def _build(session: Session, home: Path, plates: int) -> dict[str, object]:
    took: dict[str, float] = {}
    started = time.perf_counter()

    def step(what: str) -> None:
        nonlocal started
        took[what] = round(time.perf_counter() - started, 1)
        print(f"{what}: {took[what]} s", flush=True)
        started = time.perf_counter()

    source = home / "simulated"
    if not source.exists():
        template.simulate_plate(source)
        step("simulate one plate")
    with open_instance(session.settings, session.addresses) as instance:
        empty = year.database_bytes(session)
        step("empty databases")
        if session.ledger.plate(year.TEMPLATE) is None:
            template.make_plate(session, source, year.experiment_of(0), year.TEMPLATE)
            step("make one plate")
        one = year.database_bytes(session)
        copies = year.Year(session, instance)
        copies.register(1, plates)
        step("register plates")
        copies.copy(1, plates)
        step("copy rows")
        copies.link_bytes(1, plates)
        step("link bytes")
        copies.record_experiments(0, plates)
        step("record experiments")
        copies.finish()
        all_of_them = year.database_bytes(session)
        step("vacuum")
    return {"build_s": took, "bytes_empty": empty, "bytes_of_one_plate": one, "bytes_of_all": all_of_them}


def _measure(session: Session, plates: int) -> dict[str, object]:
    found: dict[str, object] = {"ledger": questions.ledger_questions(session)}
    year.forget_status(session)
    with pages.served(session) as served:
        found["code_location_s"] = round(served.seconds_to_load, 1)
        found["pages"] = pages.look(served, _browser(), FLAGS, _shown(plates))
        found["load_1min_at_the_pages"] = round(os.getloadavg()[0], 1)
    with open_instance(session.settings, session.addresses) as instance:
        found["planning"] = questions.planning_questions(session, instance)
        found["nightly"] = questions.nightly_questions(session, instance)
    return found


def _measure_many(
    addresses: DatabaseAddresses, home: Path, plates: int, count: int
) -> list[installations.Looked]:
    installations.copy_databases(addresses, home, count)
    return [
        installations.look_at(addresses, home, one, _browser(), FLAGS, _shown(plates)[1:2])
        for one in (0, count // 2, count - 1)
    ]


def _shown(plates: int) -> list[tuple[str, str]]:
    """Pages of a year, and what each must say of it."""
    keys = f"{plates * template.POSITIONS}"
    return [
        (f"/assets/{asset}?view=partitions", f"Materialized ({keys})")
        for asset in ("segmentation", "tracks", "patch_table")
    ]


def _browser() -> Path:
    found = shutil.which("chromium")
    assert found is not None, "install the package chromium"
    return Path(found)


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
