"""Code versions follow what runs, not how it is worded; the uncommitted diff can be applied again."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
from blake3 import blake3

from cell_assets.errors import NotFoundError
from cell_assets.ledger.ledger import Ledger
from cell_assets.store import code_identity as identity
from cell_assets.store.code_identity import code_version, environment_text, read_checkout

SOURCE = '''"""Says what it does."""
import math

# A comment.
class Model:
    """A model."""
    side_px: int = 64
    """Patch side."""

    def area(self, scale: float | None = None) -> float:
        """In pixels."""
        return math.prod((self.side_px, self.side_px, 1 if scale is None else scale))
'''
SAME = """import math
class Model:
    "Another wording, and another layout."

    side_px: int = 64
    def area(
        self,
        scale: float | None = None,
    ) -> float:
        return math.prod(
            (self.side_px, self.side_px, 1 if scale is None else scale)
        )  # px
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `made_up` on the import path; its `__init__` must never run."""
    folder = tmp_path / "made_up"
    (folder / "methods").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "methods" / "__init__.py").write_text("")
    (folder / "methods" / "model.py").write_text(SOURCE)
    (folder / "methods" / "other.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    _forget()
    return folder


def _forget() -> None:
    """As a new process would start."""
    for cached in (identity._code_version, identity._source_digest, identity._package_folders):
        cached.cache_clear()


def _version(*modules: str) -> str:
    _forget()
    return code_version(modules)


def test_wording_and_layout_do_not_count(package: Path) -> None:
    before = _version("made_up.methods")
    (package / "methods" / "model.py").write_text(SAME)
    assert _version("made_up.methods") == before
    assert "made_up" not in sys.modules


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("side_px: int = 64", "side_px: int = 65"),
        ("side_px: int = 64", "side_px: int = 64.0"),
        ("scale is None", "scale is not None"),
        ("| None = None", "| None"),
        ("import math", "import math as math"),
        ("(self.side_px, self.side_px, 1", "(self.side_px, (self.side_px, 1"),
        ("return math", "math"),
    ],
)
def test_what_runs_counts(package: Path, old: str, new: str) -> None:
    before = _version("made_up.methods")
    (package / "methods" / "model.py").write_text(SOURCE.replace(old, new, 1))
    assert _version("made_up.methods") != before


def test_names_and_sets_of_files_count(package: Path) -> None:
    whole = _version("made_up.methods")
    model = _version("made_up.methods.model")
    assert len({whole, model, _version("made_up.methods.other")}) == 3
    assert _version("made_up.methods.other", "made_up.methods.model") == _version(
        "made_up.methods.model", "made_up.methods.other"
    )
    (package / "methods" / "other.py").rename(package / "methods" / "renamed.py")
    assert _version("made_up.methods") != whole
    assert _version("made_up.methods.model") == model
    (package / "methods" / "page.html").write_text("<html>")
    with_page = _version("made_up.methods")
    (package / "methods" / "page.html").write_text("<html >")
    assert _version("made_up.methods") != with_page


def test_unparsable_sources_still_count(package: Path) -> None:
    before = _version("made_up.methods")
    (package / "methods" / "other.py").write_text("x = (")
    assert _version("made_up.methods") != before


@pytest.mark.parametrize(
    "module", ["made_up.methods.nothing", "no_such_package_here", "made_up.nothing.model"]
)
def test_unknown_modules_are_named(package: Path, module: str) -> None:
    with pytest.raises(NotFoundError, match=module.split(".")[0]):
        _version(module)


def test_a_process_keeps_the_version_it_started_with(package: Path) -> None:
    before = _version("made_up.methods")
    (package / "methods" / "model.py").write_text("x = 2")
    assert code_version(["made_up.methods"]) == before


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(package: Path) -> Path:
    root = package.parent
    _git(root, "init", "-q")
    (root / ".gitignore").write_text("ignored.py\n")
    _git(root, "add", ".")
    _git(root, "commit", "-qm", "first")
    return package


def test_a_clean_checkout_has_no_diff(checkout: Path) -> None:
    found = read_checkout(checkout)
    assert found.commit == _git(checkout, "rev-parse", "HEAD").strip()
    assert found.diff == b""


def test_the_diff_leads_from_the_commit_to_the_files(checkout: Path, tmp_path: Path) -> None:
    (checkout / "methods" / "model.py").write_text("x = 'µ'\n")
    (checkout / "methods" / "other.py").unlink()
    _git(checkout, "add", "methods/model.py")
    (checkout / "methods" / "new module µ.py").write_text("y = 1")
    (checkout / "methods" / "empty.py").touch()
    (checkout / "ignored.py").write_text("secret")
    (checkout.parent / "outside.py").write_text("not of the package")
    found = read_checkout(checkout)
    assert b"secret" not in found.diff
    assert b"not of the package" not in found.diff

    _git(tmp_path, "clone", "-q", str(checkout.parent), "again")
    patch = tmp_path / "the.diff"
    patch.write_bytes(found.diff)
    _git(tmp_path / "again", "apply", str(patch))

    def sources(package: Path) -> dict[str, str]:
        return {p.relative_to(package).as_posix(): p.read_text() for p in package.rglob("*.py")}

    expected = sources(checkout)
    del expected["ignored.py"]
    assert sources(tmp_path / "again" / "made_up") == expected


def test_a_package_inside_somebody_elses_checkout_has_no_commit(checkout: Path) -> None:
    installed = checkout.parent / "venv" / "installed"
    installed.mkdir(parents=True)
    (installed / "__init__.py").touch()
    assert read_checkout(installed).commit is None


def test_a_package_outside_git_has_no_commit(package: Path) -> None:
    assert read_checkout(package) == identity.Checkout(None, b"")


def test_identity_is_recorded_with_its_diff(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_checkout", lambda package: identity.Checkout("f" * 40, b"the diff"))
    found = identity.code_identity(["cell_assets.store"], ledger)
    assert found.code_version == code_version(["cell_assets.store"])
    assert found.git_commit == "f" * 40
    assert found.dirty_diff_digest is not None
    assert ledger.blob(found.dirty_diff_digest) == b"the diff"
    assert ledger.blob(found.environment_digest).decode() == environment_text()
    assert found.host


def test_an_environment_is_stored_once_and_by_its_digest(ledger: Ledger) -> None:
    first, second = (identity.code_identity(["cell_assets.store"], ledger) for _ in range(2))
    text = environment_text()
    assert first.environment_digest == second.environment_digest == blake3(text.encode()).hexdigest()
    assert f"blake3=={importlib.metadata.version('blake3')}" in text.splitlines()


def test_what_a_package_carries_with_it_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment_text.cache_clear()
    before = environment_text()
    for folder, changes in (("_vendor", False), ("site-packages", True)):
        carried = tmp_path / folder / "autocommand_x-2.2.2.dist-info"
        carried.mkdir(parents=True)
        (carried / "METADATA").write_text("Metadata-Version: 2.1\nName: autocommand_x\nVersion: 2.2.2\n")
        monkeypatch.syspath_prepend(str(tmp_path / folder))
        environment_text.cache_clear()
        assert ("autocommand_x==2.2.2" in environment_text().splitlines()) is changes
        assert (environment_text() != before) is changes
    environment_text.cache_clear()


def test_the_environment_follows_installed_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    before = environment_text()
    environment_text.cache_clear()
    assert environment_text() == before
    environment_text.cache_clear()
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    assert environment_text() != before
    environment_text.cache_clear()
