"""Every service of docker/compose.yaml, started by its own command and confined as its container would be.

PostgreSQL is the embedded one's programs, over TCP and with a password, in place of its image.
"""

import json
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cell_assets_tests.docker.compose_file import FOLDER, read_compose
from cell_assets_tests.docker.containers import PROGRAMS, Answer, Machine, machine, why_not

_REASON = why_not() or next(
    (
        f"{program} is not installed"
        for program in ("nginx", "curl", "openssl")
        if not shutil.which(program, path=PROGRAMS)
    ),
    None,
)
# Slow: two minutes of a processor.
pytestmark = [pytest.mark.slow, pytest.mark.skipif(_REASON is not None, reason=str(_REASON))]

_DATA = "/srv/var/lib/postgresql/data"
_POSTGRES = f"""
[ -e {_DATA} ] || initdb --pgdata {_DATA} --username cell_assets --pwfile /run/secrets/postgres_password \\
  --auth scram-sha-256 --encoding UTF8 --no-sync --no-instructions
exec postgres -D {_DATA} -c listen_addresses=127.0.0.1 -c unix_socket_directories=/tmp
"""
_HOLD_THE_LEDGER = """
export PGPASSWORD=$(cat /run/secrets/postgres_password)
exec psql --host postgres --username cell_assets cell_assets_ledger --quiet \\
  --command 'BEGIN; LOCK TABLE artifact IN ACCESS EXCLUSIVE MODE' --command '\\echo held' --command '\\! sleep 600'
"""
"""Lets a run begin and get no further."""
_LAUNCH = """
mutation($job: String!) { launchRun(executionParams: {
  selector: {repositoryLocationName: "cell_assets", repositoryName: "__repository__", jobName: $job}
  runConfigData: {}
}) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""
_DELETE = """
mutation($run: String!) { deletePipelineRun(runId: $run) { __typename } }
"""
_RUNS = "{ runsOrError { ... on Runs { results { runId status } } } }"
_DAEMONS = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"
_ASSETS = "{ assetNodes { assetKey { path } } }"
_WEBSERVER, _AUDITOR, _MLFLOW, _PROXY = 3000, 3001, 5000, 8080


@pytest.fixture(scope="module")
def canary() -> str:
    """The database's password, which nothing may show."""
    return f"canary{secrets.token_hex(12)}"


@pytest.fixture(scope="module")
def lab(canary: str) -> Iterator[Machine]:
    """All services, healthy."""
    with tempfile.TemporaryDirectory(prefix="cell_assets_docker_") as made:
        folder = Path(made)
        (folder / "secrets").mkdir()
        for name, text in {
            "database_url": f"postgresql://cell_assets:{canary}@postgres:5432/cell_assets\n",
            "postgres_password": f"{canary}\n",
            "lab_users": f"anna:{_hashed('open sesame')}\n",
            "auditor_users": f"auditor:{_hashed('only looking')}\n",
        }.items():
            (folder / "secrets" / name).write_text(text, encoding="utf-8")
        own = {
            "postgres": ["sh", "-ec", _POSTGRES],
            "proxy": ["nginx", "-e", "stderr", "-c", str(FOLDER / "nginx.conf")],
        }
        with machine(folder, read_compose(), own) as started:
            started.start_all()
            yield started


def _hashed(password: str) -> str:
    """As docker/README.md has users hashed."""
    done = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"], input=password, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _graphql(lab: Machine, port: int, prefix: str, query: str, **variables: str) -> dict[str, Any]:
    body = json.dumps({"query": query, "variables": variables})
    headers = {"Content-Type": "application/json"}
    answer = lab.ask(port, f"{prefix}/graphql", method="POST", body=body, headers=headers)
    assert answer.status == 200, answer
    said = json.loads(answer.body)
    assert "errors" not in said, said
    return dict(said["data"])


def _runs(lab: Machine) -> dict[str, str]:
    found = _graphql(lab, _WEBSERVER, "/dagster", _RUNS)["runsOrError"]["results"]
    return {run["runId"]: run["status"] for run in found}


def _wait_for(lab: Machine, run: str, statuses: tuple[str, ...]) -> None:
    until = time.monotonic() + 180
    while _runs(lab)[run] not in statuses:
        assert time.monotonic() < until, _runs(lab)
        time.sleep(0.3)


@pytest.fixture(scope="module")
def ended_run(lab: Machine) -> str:
    """A run that the webserver launched, the daemon started and the code location executed."""
    launched = _graphql(lab, _WEBSERVER, "/dagster", _LAUNCH, job="compare_displays")["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run = str(launched["run"]["runId"])
    _wait_for(lab, run, ("SUCCESS", "FAILURE"))
    return run


def test_health_checks_fail_before_a_service_is_there_and_pass_after(lab: Machine) -> None:
    assert set(lab.ill_before) == set(lab.compose["services"])
    assert 0 not in lab.ill_before.values(), lab.ill_before
    assert lab.healthy == set(lab.compose["services"])


def test_a_container_is_confined(lab: Machine) -> None:
    probe = """
import os, pathlib
status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
print(os.geteuid(), int(status["CapEff"], 16), int(status["NoNewPrivs"]))
for folder in ("/", "/etc", "/var/tmp", "/run", "/run/secrets", "/srv", "/srv/cell_assets", "/tmp"):
    try:
        pathlib.Path(folder, "written").touch()
        print(folder)
        pathlib.Path(folder, "written").unlink()
    except OSError:
        pass
"""
    done = lab.run("daemon", ["python", "-c", probe])
    assert done.stdout.split() == ["10001", "0", "1", "/srv/cell_assets", "/tmp"], done
    done = lab.run("auditor", ["python", "-c", probe])
    assert done.stdout.split() == ["10001", "0", "1", "/tmp"], done


def test_the_code_location_serves_the_definitions_by_grpc(lab: Machine) -> None:
    ask = """
from dagster._grpc.client import DagsterGrpcClient
client = DagsterGrpcClient(host="code-location", port=4000)
print(client.ping("hello")["echo"], client.health_check_query())
"""
    assert lab.run("webserver", ["python", "-c", ask]).stdout.split() == ["hello", "SERVING"]
    paths = {
        "/".join(node["assetKey"]["path"])
        for node in _graphql(lab, _WEBSERVER, "/dagster", _ASSETS)["assetNodes"]
    }
    assert {"raw_acquisition", "tracks", "dynaclr_checkpoint", "cytosummary_report"} <= paths


def test_a_launched_run_ends_well(lab: Machine, ended_run: str) -> None:
    assert _runs(lab)[ended_run] == "SUCCESS"


def test_every_daemon_beats(lab: Machine) -> None:
    health = _graphql(lab, _WEBSERVER, "/dagster", _DAEMONS)["instance"]["daemonHealth"]
    required = [one for one in health["allDaemonStatuses"] if one["required"]]
    assert {one["daemonType"] for one in required} >= {"SENSOR", "SCHEDULER", "QUEUED_RUN_COORDINATOR"}
    assert all(one["healthy"] for one in required), required


@pytest.mark.parametrize(
    ("mutation", "answer"), [(_LAUNCH, "launchRun"), (_DELETE, "deletePipelineRun")], ids=["launch", "delete"]
)
def test_the_auditors_pages_change_nothing(lab: Machine, ended_run: str, mutation: str, answer: str) -> None:
    before = _runs(lab)
    refused = _graphql(lab, _AUDITOR, "/audit", mutation, job="compare_displays", run=ended_run)[answer]
    assert refused["__typename"] == "UnauthorizedError"
    assert _runs(lab) == before
    seen = _graphql(lab, _AUDITOR, "/audit", _RUNS)["runsOrError"]["results"]
    assert {run["runId"]: run["status"] for run in seen} == before


def test_the_labs_pages_do_delete(lab: Machine, ended_run: str) -> None:
    """The same mutation as above, so that what refused it there was `--read-only`."""
    launched = _graphql(lab, _WEBSERVER, "/dagster", _LAUNCH, job="compare_displays")["launchRun"]
    run = str(launched["run"]["runId"])
    done = _graphql(lab, _WEBSERVER, "/dagster", _DELETE, run=run)["deletePipelineRun"]
    assert done["__typename"] == "DeletePipelineRunSuccess"
    assert run not in _runs(lab)


def test_mlflow_answers_to_names_that_it_knows(lab: Machine) -> None:
    path, body = "/mlflow/ajax-api/2.0/mlflow/experiments/search", json.dumps({"max_results": 10})
    headers = {"Content-Type": "application/json"}
    found = lab.ask(_MLFLOW, path, method="POST", body=body, headers=headers)
    assert [one["name"] for one in json.loads(found.body)["experiments"]] == ["Default"]
    assert lab.ask(_MLFLOW, "/mlflow/", headers={"Host": "elsewhere.example"}).status == 403


_LAB, _AUDIT, _WRONG = "anna:open sesame", "auditor:only looking", "anna:guess"


@pytest.mark.parametrize(
    ("path", "login", "status"),
    [
        ("/healthz", None, 200),
        ("/dagster/server_info", None, 401),
        ("/dagster/server_info", _WRONG, 401),
        ("/dagster/server_info", _AUDIT, 401),
        ("/dagster/server_info", _LAB, 200),
        ("/audit/server_info", None, 401),
        ("/audit/server_info", _LAB, 401),
        ("/audit/server_info", _AUDIT, 200),
        ("/mlflow/", None, 401),
        ("/mlflow/", _AUDIT, 401),
        ("/mlflow/", _LAB, 200),
        ("/graphql", _LAB, 404),
        ("/dagster/../graphql", None, 404),
        ("//dagster/server_info", None, 401),
    ],
)
def test_the_proxy_asks_who_is_there(lab: Machine, path: str, login: str | None, status: int) -> None:
    assert _by_proxy(lab, path, login).status == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("http://lab.example:8080", 200),
        ("https://lab.example:8080", 200),
        ("http://evil.example", 403),
        ("http://lab.example:8080.evil.example", 403),
        ("null", 403),
    ],
)
def test_a_page_of_another_site_cannot_use_the_login(lab: Machine, origin: str | None, status: int) -> None:
    headers = {"Host": "lab.example:8080", "Content-Type": "application/json"}
    headers |= {} if origin is None else {"Origin": origin}
    body = json.dumps({"query": _RUNS})
    for path, sent in (
        ("/dagster/graphql", body),
        ("/mlflow/ajax-api/2.0/mlflow/experiments/search", json.dumps({"max_results": 10})),
    ):
        assert _by_proxy(lab, path, _LAB, "POST", sent, headers).status == status, path


@pytest.mark.parametrize(
    ("origin", "status"), [("http://lab.example:8080", 101), ("http://evil.example", 403)]
)
def test_live_pages_pass_through_the_proxy(lab: Machine, origin: str, status: int) -> None:
    headers = {
        "Host": "lab.example:8080",
        "Origin": origin,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": b64encode(bytes(16)).decode(),
        "Sec-WebSocket-Protocol": "graphql-ws",
    }
    assert _by_proxy(lab, "/dagster/graphql", _LAB, headers=headers).status == status


def _by_proxy(
    lab: Machine,
    path: str,
    login: str | None,
    method: str = "GET",
    body: str | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    known = {} if login is None else {"Authorization": f"Basic {b64encode(login.encode()).decode()}"}
    return lab.ask(_PROXY, path, method=method, body=body, headers={**(headers or {}), **known})


def test_the_password_is_shown_nowhere(lab: Machine, ended_run: str, canary: str) -> None:
    shown = [path for path in Path("/proc").glob("[0-9]*/cmdline") if canary in _text(path)]
    written = [
        path
        for path in (*lab.folder.glob("*.log"), *(lab.folder / "volumes" / "lab").rglob("*"))
        if path.is_file() and canary in _text(path)
    ]
    assert (shown, written) == ([], [])
    # What was looked through is not empty.
    assert all(lab.log(name).stat().st_size > 0 for name in lab.running)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_a_second_code_location_over_the_same_home_is_refused(lab: Machine) -> None:
    done = lab.run("code-location", lab.compose["services"]["code-location"]["command"])
    assert done.returncode == 1
    assert "another `cell-assets dev` or `serve code-location`" in done.stderr


def test_a_silent_daemon_is_noticed(lab: Machine) -> None:
    """Ten seconds after its last beat, in place of the minutes that the health check grants."""
    watch = """
import sys, time
from cell_assets.automation.service_health import daemons_beat
from cell_assets.settings import Settings
wanted, until = sys.argv[1] == "beats", time.monotonic() + 100
while daemons_beat(Settings(), tolerance_s=-20) != wanted and time.monotonic() < until:
    time.sleep(1)
print(daemons_beat(Settings(), tolerance_s=-20), daemons_beat(Settings()))
"""
    lab.stop("daemon")
    assert lab.run("daemon", ["python", "-c", watch, "silent"]).stdout.split() == ["False", "True"]
    lab.start("daemon")
    assert lab.run("daemon", ["python", "-c", watch, "beats"]).stdout.split() == ["True", "True"]


@pytest.mark.slow
def test_a_run_of_a_killed_code_location_is_reported_as_failed(lab: Machine) -> None:
    with lab.meanwhile("postgres", ["sh", "-ec", _HOLD_THE_LEDGER]):
        launched = _graphql(lab, _WEBSERVER, "/dagster", _LAUNCH, job="compare_displays")["launchRun"]
        run = str(launched["run"]["runId"])
        _wait_for(lab, run, ("STARTED",))
        assert lab.stop("code-location", signal.SIGKILL) == -signal.SIGKILL
    assert lab.check("code-location").returncode == 1
    assert _runs(lab)[run] == "STARTED"
    lab.start("code-location")
    lab.wait_healthy("code-location", 180)
    assert _runs(lab)[run] == "FAILURE"
