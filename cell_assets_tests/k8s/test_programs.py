"""Which build of Kubernetes the tests take, and what they say where there is none."""

from pathlib import Path

import pytest

from cell_assets_tests.k8s.cluster.programs import FOLDER_VARIABLE, NotBuiltError, build, programs_folder

_BUILDS = 'mkdir -p "$1/bin"; echo built here >> "$1/bin/etcd"\n'


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the variable names."""
    folder = tmp_path / "cache"
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    return folder


def test_nothing_built_names_the_folder_and_the_command(cache: Path) -> None:
    with pytest.raises(NotBuiltError, match=rf"not built in {cache}: run `make test-k8s`$"):
        programs_folder()


def test_half_a_build_is_not_taken_and_its_last_words_are_said(cache: Path, tmp_path: Path) -> None:
    script = _script(tmp_path, _BUILDS + "echo 'no archive answers'; exit 1\n")
    with pytest.raises(NotBuiltError, match=r"the last build said: no archive answers$"):
        build(script)
    with pytest.raises(NotBuiltError, match=r"the last build said: no archive answers$"):
        programs_folder(script)
    assert {path.name for path in cache.iterdir()} == {"lock", "build.log"}


def test_a_build_is_made_once_and_anew_when_its_script_changes(cache: Path, tmp_path: Path) -> None:
    script = _script(tmp_path, _BUILDS)
    first = build(script)
    assert build(script) == programs_folder(script) == first
    assert (first / "etcd").read_text() == "built here\n"
    script.write_text(script.read_text() + "true\n")
    with pytest.raises(NotBuiltError):
        programs_folder(script)
    assert build(script) != first


def _script(folder: Path, body: str) -> Path:
    script = folder / "build"
    script.write_text("#!/bin/sh\n" + body)
    script.chmod(0o755)
    return script
