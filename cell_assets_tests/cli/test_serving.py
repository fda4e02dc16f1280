"""`cell-assets serve` and `cell-assets healthy` where they have to refuse; cell_assets_tests/docker/ runs them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_SERVICES = ["code-location", "webserver", "daemon", "mlflow"]


def _run(home: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CELL_ASSETS_")}
    return subprocess.run(
        [sys.executable, "-c", "from cell_assets.cli import main; main()", *arguments],
        env={**clean, "CELL_ASSETS_HOME": str(home), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("service", _SERVICES)
def test_a_service_without_database_is_refused_and_leaves_nothing(service: str, tmp_path: Path) -> None:
    done = _run(tmp_path / "home", "serve", service)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no database is configured, and a service alone starts none")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("service", ["webserver", "daemon"])
def test_the_code_server_comes_first(service: str, tmp_path: Path, postgres_url: str) -> None:
    done = _run(tmp_path, "serve", service, CELL_ASSETS_DATABASE_URL=postgres_url)
    assert done.returncode == 1
    assert "start `cell-assets serve code-location` first" in done.stderr


@pytest.mark.parametrize("service", ["code-location", "webserver", "mlflow"])
def test_nobody_there_is_ill(service: str, tmp_path: Path) -> None:
    # Nothing listens on port 1 without being asked to.
    done = _run(tmp_path, "healthy", service, "--port", "1")
    assert done.returncode == 1
    assert "answers on port 1 of this machine" in done.stderr


def test_a_path_prefix_that_pages_could_not_have_is_refused(tmp_path: Path) -> None:
    for prefix in ("dagster", "/dagster/", "/a b"):
        done = _run(tmp_path, "serve", "webserver", "--path-prefix", prefix)
        assert done.returncode == 2
        assert "--path-prefix" in done.stderr
