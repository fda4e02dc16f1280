"""docker/compose.yaml says what every service must be: confined, watched, and reached by the proxy alone."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cell_assets_tests.docker.compose_file import (
    FOLDER,
    IMAGES,
    MissingVariableError,
    image_environment,
    in_order_of_start,
    interpolated,
    read_compose,
)

COMPOSE = read_compose()
SERVICES: dict[str, Any] = COMPOSE["services"]
_LAYOUT = "build command depends_on environment healthcheck image logging networks ports restart volumes"
_CONFINEMENT = "cap_drop read_only secrets security_opt shm_size stop_grace_period tmpfs user"
_SERVICE_KEYS = frozenset(f"{_LAYOUT} {_CONFINEMENT}".split())
"""Those of the Compose specification that are in use, so that none is misspelt."""
_LAB = {"mlflow", "code-location", "webserver", "auditor", "daemon"}


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(SERVICES[request.param])


def test_what_is_there() -> None:
    assert set(SERVICES) == _LAB | {"postgres", "proxy"}
    assert set(COMPOSE) == {"name", "x-hardened", "x-lab", "services", "networks", "volumes", "secrets"}


def test_is_confined(service: dict[str, Any]) -> None:
    assert set(service) <= _SERVICE_KEYS
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    user, group = service["user"].split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert any(place.startswith("/tmp:") for place in service["tmpfs"])
    assert service["restart"] == "unless-stopped"


def test_is_watched(service: dict[str, Any]) -> None:
    check = service["healthcheck"]
    assert set(check) == {"test", "interval", "timeout", "retries", "start_period"}
    assert check["test"][0] == "CMD"
    for name in ("interval", "timeout", "start_period"):
        assert re.fullmatch(r"\d+s", check[name])


def test_starts_after_what_it_needs_is_healthy(service: dict[str, Any]) -> None:
    for needed, how in service.get("depends_on", {}).items():
        assert needed in SERVICES
        assert how["condition"] == "service_healthy"


def test_order_of_start() -> None:
    order = in_order_of_start(SERVICES)
    assert order[0] == "postgres"
    assert order.index("code-location") < order.index("webserver")
    assert order.index("code-location") < order.index("daemon")
    assert order[-1] == "proxy"


def test_only_the_proxy_is_published_and_on_loopback() -> None:
    assert {name: one["ports"] for name, one in SERVICES.items() if "ports" in one} == {
        "proxy": ["127.0.0.1:8080:8080"]
    }
    assert COMPOSE["networks"] == {"inside": {"internal": True}, "outside": {}}
    assert {name for name, one in SERVICES.items() if "outside" in one["networks"]} == {"proxy"}
    assert all("inside" in one["networks"] for one in SERVICES.values())
    assert not any("network_mode" in one or "privileged" in one for one in SERVICES.values())


def test_every_name_that_is_used_is_declared(service: dict[str, Any]) -> None:
    assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])
    for volume in service.get("volumes", ()):
        assert volume.split(":")[0] in COMPOSE["volumes"]
    assert set(service["networks"]) <= set(COMPOSE["networks"])


def test_a_service_sees_its_own_secrets_only() -> None:
    seen = {name: set(one["secrets"]) for name, one in SERVICES.items()}
    assert seen == {
        **{name: {"database_url"} for name in _LAB},
        "postgres": {"postgres_password"},
        "proxy": {"lab_users", "auditor_users"},
    }


def test_secrets_come_by_file() -> None:
    assert all(one == {"file": f"./secrets/{name}"} for name, one in COMPOSE["secrets"].items())
    for name in _LAB:
        environment = SERVICES[name]["environment"]
        assert environment["CELL_ASSETS_DATABASE_URL_FILE"] == "/run/secrets/database_url"
        assert "CELL_ASSETS_DATABASE_URL" not in environment
    assert SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD_FILE"] == "/run/secrets/postgres_password"
    everything = "".join(path.read_text(encoding="utf-8") for path in FOLDER.iterdir() if path.is_file())
    assert not re.search(r"://[^\s/:@]+:[^\s/@]+@(?!.*\$)", everything)


def test_the_auditor_only_reads() -> None:
    auditor = SERVICES["auditor"]
    assert "--read-only" in auditor["command"]
    assert auditor["volumes"] == ["lab:/srv/cell_assets:ro"]
    assert all("--read-only" not in SERVICES[name]["command"] for name in ("webserver", "daemon"))


def test_each_check_asks_where_its_service_listens() -> None:
    for name in ("mlflow", "webserver", "auditor"):
        command, test = SERVICES[name]["command"], SERVICES[name]["healthcheck"]["test"]
        for option in ("--port", "--path-prefix"):
            assert (option in command) == (option in test)
            if option in command:
                assert command[command.index(option) + 1] == test[test.index(option) + 1]


def test_what_services_write_to_lies_on_volumes() -> None:
    home = image_environment()["CELL_ASSETS_HOME"]
    assert home == "/srv/cell_assets"
    assert image_environment()["HOME"] == "/tmp"
    for name in ("code-location", "webserver", "daemon"):
        assert f"lab:{home}" in SERVICES[name]["volumes"]
    # What torch.compile compiled is loaded from /tmp.
    assert SERVICES["code-location"]["tmpfs"] == ["/tmp:mode=1777,exec"]


@pytest.mark.parametrize("missing", IMAGES)
def test_an_image_without_digest_is_asked_for(missing: str) -> None:
    given = {name: value for name, value in IMAGES.items() if name != missing}
    with pytest.raises(MissingVariableError, match=f"{missing}: name@sha256"):
        read_compose(given)


def test_the_example_names_every_variable_and_gives_no_image() -> None:
    lines = (FOLDER / ".env.example").read_text(encoding="utf-8").splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    text = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    assert set(example) == set(re.findall(r"\$\{(\w+)", text))
    assert [name for name, value in example.items() if not value] == [
        "PYTHON_IMAGE",
        "POSTGRES_IMAGE",
        "TORCH_INDEX",
    ]
    filled = yaml.safe_load(interpolated(text, {**example, **IMAGES}))
    assert filled == COMPOSE


def test_gpus_are_added_to_what_runs_the_runs() -> None:
    added = yaml.safe_load((FOLDER / "compose.gpu.yaml").read_text(encoding="utf-8"))
    assert set(added) == {"services"}
    assert set(added["services"]) == {"code-location"} <= set(SERVICES)
    (device,) = added["services"]["code-location"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


@pytest.mark.parametrize(
    "files", [["compose.yaml"], ["compose.yaml", "compose.gpu.yaml"]], ids=["cpu", "gpu"]
)
def test_compose_reads_the_same_where_it_is_installed(files: list[str], tmp_path: Path) -> None:
    settings = tmp_path / "env"
    settings.write_text("".join(f"{name}={value}\n" for name, value in IMAGES.items()), encoding="utf-8")
    command = ["docker", "compose", "--env-file", str(settings)]
    command += [part for file in files for part in ("--file", str(FOLDER / file))]
    read = yaml.safe_load(_said_by([*command, "config"]) or yaml.safe_dump(COMPOSE))
    assert {name: one["user"] for name, one in read["services"].items()} == {
        name: one["user"] for name, one in SERVICES.items()
    }


def _said_by(command: list[str]) -> str | None:
    """None without Compose, which no test needs."""
    if shutil.which("docker") is None:
        return None
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
