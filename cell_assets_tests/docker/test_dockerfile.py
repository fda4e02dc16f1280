"""docker/Dockerfile: in good style, nothing unpinned, no way to root, and nothing but the code in its context."""

import fnmatch
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cell_assets_tests.docker.compose_file import FOLDER

_ROOT = FOLDER.parent
_TEXT = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
_DIGEST = f"@sha256:{'0' * 64}"


def _stage(name: str) -> str:
    found = re.search(rf"^FROM \S+ AS {name}\n(.*?)(?=^FROM |\Z)", _TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def _run_steps(stage: str) -> list[str]:
    steps = re.findall(r"^RUN ((?:.*\\\n)*.*)$", _stage(stage), re.MULTILINE)
    return [step.replace("\\\n", "") for step in steps]


def test_hadolint_finds_nothing() -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("hadolint is not installed: install the extra dev")
    done = subprocess.run(
        [program, "--no-color", str(FOLDER / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_every_base_is_the_image_that_the_build_is_given() -> None:
    bases = re.findall(r"^FROM (\S+) AS (\w+)$", _TEXT, re.MULTILINE)
    assert bases == [
        ("${PYTHON_IMAGE}", "base"),
        ("base", "build"),
        ("base", "proxy"),
        ("base", "lab"),
    ]
    # Without default: a build that is not told which image stops.
    assert re.findall(r"^ARG PYTHON_IMAGE.*$", _TEXT, re.MULTILINE) == ["ARG PYTHON_IMAGE"] * 2


@pytest.mark.parametrize(
    ("image", "code"),
    [("python:3.11-slim", 1), ("", 1), (f"python{_DIGEST}", 0), (f"python:3.11{_DIGEST}", 0)],
)
def test_an_image_by_tag_alone_is_refused(image: str, code: int) -> None:
    (step,) = _run_steps("base")
    done = subprocess.run(
        ["sh", "-c", step], env={"PYTHON_IMAGE": image}, capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert ("give name@sha256" in done.stderr) == bool(code)


@pytest.mark.parametrize(("index", "asked"), [("", 1), ("https://index.example/cpu", 2)], ids=["cuda", "cpu"])
def test_torch_comes_from_the_index_that_was_given(index: str, asked: int, tmp_path: Path) -> None:
    """The steps of the build, with a `pip` that only says how it was called."""
    said = tmp_path / "said"
    pip = tmp_path / "pip"
    pip.write_text(f'#!/bin/sh\necho "$@" >> {said}\n', encoding="utf-8")
    pip.chmod(0o755)
    for step in _run_steps("build")[1:]:
        command = step.replace("/opt/cell_assets/bin/pip", str(pip))
        subprocess.run(
            ["sh", "-ec", command], env={"TORCH_INDEX": index, "PATH": "/usr/bin:/bin"}, check=True
        )
    calls = said.read_text().splitlines()
    installs = [call for call in calls if call.startswith("install")]
    assert len(installs) == asked
    assert all("--constraint constraints.txt" in call and "--no-cache-dir" in call for call in installs)
    assert installs[-1].endswith(".[lab]")
    if index:
        assert f"--index-url {index} torch" in installs[0]
    assert calls[-1] == "check"


@pytest.mark.parametrize("stage", ["proxy", "lab"])
def test_runs_as_a_user_of_fixed_number(stage: str) -> None:
    users = re.findall(r"^USER (\S+)$", _stage(stage), re.MULTILINE)
    assert users == ["10001:10001"]
    assert "HEALTHCHECK" in _stage(stage)


def test_has_an_init() -> None:
    assert 'ENTRYPOINT ["tini", "-g", "--"]' in _stage("lab")
    assert re.search(r"install .*\btini\b", _stage("lab"))


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("cell_assets/definitions.py", True),
        ("cell_assets/automation/dagster.yaml", True),
        ("constraints.txt", True),
        ("pyproject.toml", True),
        ("README.md", True),
        ("LICENSE", True),
        ("docker/nginx.conf", True),
        ("docker/.env", False),
        ("docker/secrets/database_url", False),
        (".git/config", False),
        (".venv/bin/python", False),
        ("demo/store/raw", False),
        ("cell_assets/__pycache__/settings.cpython-311.pyc", False),
    ],
)
def test_the_builder_gets_nothing_else(path: str, sent: bool) -> None:
    """By Docker's rule: the last pattern that matches the path or a folder of it decides."""
    decided = True
    for line in (_ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.removeprefix("!")
        if not line or line.startswith("#") or not _matches(pattern, path):
            continue
        decided = line.startswith("!")
    assert decided is sent


def _matches(pattern: str, path: str) -> bool:
    parts = path.split("/")
    tops = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    if pattern.startswith("**/"):
        return any(fnmatch.fnmatchcase(part, pattern.removeprefix("**/")) for part in parts)
    return any(pattern.count("/") == top.count("/") and fnmatch.fnmatchcase(top, pattern) for top in tops)


def test_every_file_that_is_copied_is_in_the_context() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", _TEXT, re.MULTILINE)
    for file in " ".join(copied).split():
        assert (_ROOT / file).exists()
        assert f"!{file}" in (_ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
