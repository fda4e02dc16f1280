"""A whole lab whose passwords are canaries: filmed, trained, reported, served, backed up, bundled, and searched.

Where the password may stand: the file that says it, the environment of processes, and PostgreSQL's own table of roles.
"""

import base64
import gzip
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from cell_assets.database.programs import installed_programs
from cell_assets.settings import Settings
from cell_assets_tests.database.tcp_postgres import TcpPostgres
from cell_assets_tests.end_to_end.lab import PlateFolder, cell_assets, small_choices, tiny_plate
from cell_assets_tests.security.canary import Canary, Search
from cell_assets_tests.security.conftest import GuardedLab
from cell_assets_tests.security.services import CommandLines, Services

_LAUNCH = """
mutation($job: String!) { launchRun(executionParams: {
  selector: {repositoryLocationName: "cell_assets", repositoryName: "__repository__", jobName: $job}
  runConfigData: {}
}) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""
_RUNS = """
{ runsOrError(limit: 1000) { ... on Runs { results { runId status runConfigYaml tags { key value }
  eventConnection(limit: 1000) { events { ... on MessageEvent { message } } } } } } }
"""
_INSTANCE = """
{ instance { info runLauncher { name }
  daemonHealth { allDaemonStatuses { daemonType lastHeartbeatErrors { message stack } } } } }
"""
_TICKS = """
{ sensorOrError(sensorSelector: {repositoryLocationName: "cell_assets", repositoryName: "__repository__",
  sensorName: "arrivals"}) { ... on Sensor { sensorState {
    ticks(limit: 5) { status skipReason error { message } } } } } }
"""


def test_a_canary_is_found_in_every_form() -> None:
    canary = Canary(("cage0a1b", "bird2c3d"))
    url = f"postgresql://anna:{canary.quoted}@host/lab"
    texts = [
        canary.secret,
        canary.quoted,
        quote(url, safe=""),
        json.dumps(canary.secret),
        repr(canary.secret),
    ]
    for text in texts:
        assert canary.found_in(f"x {text} y".encode()), text
    for before in ("", "a", "ab", "abc"):
        for inner in (canary.secret, url):
            packed = f"{before}{inner} and more".encode()
            assert canary.found_in(base64.b64encode(packed)), (before, inner)
            assert canary.found_in(base64.urlsafe_b64encode(packed)), (before, inner)
            assert canary.found_in(packed.hex().encode())
    assert canary.found_in(gzip.compress(url.encode())) == "plain, gzip"
    assert canary.found_in(url.replace(canary.quoted, "***").encode()) is None


@dataclass(frozen=True)
class UsedLab:
    """A lab after a life of everything that it can do."""

    lab: GuardedLab
    landing: Canary
    """Password in the URL of a landing folder."""
    bucket: Canary
    """Key of an object store, in the variable in which its client looks for it."""
    out: Path
    """Backup, bundle, pages and keys."""
    command_lines: frozenset[bytes]


@pytest.fixture(scope="module")
def used_lab(guarded_lab: GuardedLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UsedLab]:
    folder, running = tmp_path_factory.mktemp("used"), guarded_lab.services
    landing, bucket = Canary.new(), Canary.new()
    plate = tiny_plate(folder / "plate")
    (folder / "out").mkdir()
    running.environment = {
        **running.environment,
        "AWS_SECRET_ACCESS_KEY": bucket.secret,
        "CELL_ASSETS_LANDING": json.dumps([f"ftp://anna:{landing.quoted}@127.0.0.1:1/plates"]),
    }
    with CommandLines() as watched:
        _live(running, plate, folder)
    yield UsedLab(guarded_lab, landing, bucket, folder / "out", frozenset(watched.seen))


def _live(running: Services, plate: PlateFolder, folder: Path) -> None:
    def must(*arguments: str) -> bytes:
        done = running.run(*arguments)
        assert done.returncode == 0, (arguments, done.stderr[-3000:])
        return done.stdout

    must("prepare", "--json")
    must("ingest", *plate.arguments("E1", "P1"))
    (folder / "choices.json").write_text(json.dumps(small_choices()))
    must("run", "--experiment", "E1", "--choices", str(folder / "choices.json"))
    number = str(json.loads(must("numbers", "--json"))[0]["id"])
    out = folder / "out"
    must("explain", number, "--json", "--html", str(out / "number.html"))
    must("verify", "--all", "--json")
    must("leakage", number, "--json")
    must("impact", "P1", "--json")
    must("reconcile", "--json")
    must("arrivals", "--json")
    must("backup", str(out / "backup"), "--json")
    must("bundle", number, "-o", str(out / "number.zip"), "--json")
    must("verify-bundle", str(out / "number.zip"), "--json")
    running.start("code-location", "code-location")
    running.wait("code-location", "code-location")
    running.start("webserver", "webserver")
    running.start("daemon", "daemon", port=False)
    running.start("mlflow", "mlflow")
    for name in ("webserver", "mlflow", "daemon"):
        running.wait(name, name)
    launched = running.ask("webserver", _LAUNCH, {"job": "compare_displays"})["data"]["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    until, ended = time.monotonic() + 240, False
    while not ended:
        answer = running.ask("webserver", _RUNS)
        found = {run["runId"]: run["status"] for run in answer["data"]["runsOrError"]["results"]}
        ended = found[launched["run"]["runId"]] in ("SUCCESS", "FAILURE")
        assert ended or time.monotonic() < until, found
        time.sleep(0.5)
    (folder / "out" / "runs.json").write_text(json.dumps(answer))
    (folder / "out" / "instance.json").write_text(json.dumps(running.ask("webserver", _INSTANCE)))
    # A tick of the sensor that looks at the landing folder, whose server does not answer.
    until = time.monotonic() + 120
    while "127.0.0.1:1/plates" not in (said := (running.folder / "daemon.log").read_text() + _ticks(running)):
        assert time.monotonic() < until, said[-2000:]
        time.sleep(1)
    for name in ("daemon", "webserver", "mlflow", "code-location"):
        running.stop(name)


def _ticks(running: Services) -> str:
    return json.dumps(running.ask("webserver", _TICKS))


@pytest.mark.slow
def test_no_secret_is_written_or_said_anywhere(used_lab: UsedLab) -> None:
    lab = used_lab.lab
    for canary in (lab.canary, used_lab.landing, used_lab.bucket):
        search = Search(canary)
        assert search.look_into(lab.home) > 50
        assert search.look_into(lab.said) > 15
        assert search.look_into(used_lab.out) > 50
        for command in used_lab.command_lines:
            search.look(f"command line {command[:80]!r}", command)
        assert any(b"dagster" in command for command in used_lab.command_lines)
        filled = set[str]()
        for name, url in lab.addresses.by_name.items():
            filled |= {f"{name.rpartition('_')[2]}.{table}" for table in search.look_at_rows(url)}
            search.look(f"pg_dump of {name}", _dumped(["--inserts", url.replace("+psycopg2", "")]))
        # Tables in which each kind of thing would stand.
        assert {
            *(
                "dagster.runs",
                "dagster.run_tags",
                "dagster.event_logs",
                "dagster.snapshots",
                "dagster.job_ticks",
            ),
            *("dagster.daemon_heartbeats", "dagster.instigators", "dagster.asset_keys"),
            *("ledger.run", "ledger.blob", "ledger.entry", "ledger.number", "ledger.artifact"),
            *("mlflow.params", "mlflow.tags", "mlflow.model_version_tags", "mlflow.runs"),
        } <= filled
        dumps = list((used_lab.out / "backup" / "databases").rglob("*.dump"))
        assert len(dumps) == 3
        for dump in dumps:
            text = _run(["pg_restore", "--file=-", str(dump)])
            assert b"COPY public." in text
            search.look(f"backup of {dump.name}", text)
        assert search.found == []
        assert search.n_bytes > 10**6


def _dumped(arguments: list[str]) -> bytes:
    return _run(["pg_dump", *arguments])


def _run(command: list[str]) -> bytes:
    program = str(installed_programs() / command[0])
    return subprocess.run([program, *command[1:]], capture_output=True, check=True).stdout


@pytest.mark.parametrize(
    "command", [("prepare",), ("numbers",), ("serve", "webserver"), ("healthy", "daemon")], ids="-".join
)
@pytest.mark.parametrize(
    "fault", ["wrong password", "no server", "no such scheme", "unquoted", "among the options"]
)
def test_a_url_that_does_not_work_is_not_repeated(
    fault: str, command: tuple[str, ...], guarded_postgres: TcpPostgres, tmp_path: Path
) -> None:
    canary, port = Canary.new(), guarded_postgres.port
    url = {
        "wrong password": f"postgresql://postgres:{canary.quoted}@127.0.0.1:{port}/lab",
        "no server": f"postgresql://postgres:{canary.quoted}@127.0.0.1:1/lab",
        "no such scheme": f"mysql://postgres:{canary.quoted}@127.0.0.1:{port}/lab",
        "unquoted": f"postgresql://postgres:{canary.secret}@127.0.0.1:{port}/lab",
        "among the options": f"postgresql://postgres@127.0.0.1:{port}/lab?password={canary.quoted}",
    }[fault]
    done = cell_assets(Settings(home=tmp_path / "home", database_url=url), *command)
    assert done.code == 1, done
    (line,) = done.error_lines
    assert line.startswith("error: ")
    search = Search(canary)
    search.look("what it said", done.out + done.err)
    search.look_into(tmp_path)
    assert search.found == []
