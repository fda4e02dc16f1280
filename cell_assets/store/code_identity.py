"""Which code and environment make an output, found without importing the code in question.

Everything is worked out once per process: it runs the code that it loaded, not what an editor saved since.
Call `code_version` early (when definitions load) for modules that may be edited while the process lives.
"""

import ast
import functools
import importlib.metadata
import importlib.util
import logging
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

import cell_assets
from cell_assets.errors import NotFoundError
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import CodeIdentity
from cell_assets.store.leases import host_name

_log = logging.getLogger(__name__)

_DATA_SUFFIXES = frozenset({".css", ".csv", ".html", ".js", ".json", ".toml", ".yaml", ".yml"})
"""Files inside a named package that decide bytes as code does, taken as they are."""


def code_identity(modules: Sequence[str], ledger: Ledger) -> CodeIdentity:
    """The running code, as a run records it; its environment and an uncommitted diff are stored as blobs.

    `modules` are dotted names of what decides the output's bytes; a package stands for all below it.
    Raises NotFoundError for a module without source.
    """
    checkout = _checkout(Path(cell_assets.__file__).parent)
    return CodeIdentity(
        code_version=code_version(modules),
        git_commit=checkout.commit,
        dirty_diff_digest=_store_once(ledger, checkout.diff) if checkout.diff else None,
        environment_digest=_store_once(ledger, environment_text().encode()),
        host=host_name(),
    )


@functools.lru_cache(maxsize=2)
def _store_once(ledger: Ledger, content: bytes) -> str:
    # A step records hundreds of outputs of the same code: one environment and, at most, one diff.
    return ledger.store_blob(content)


def code_version(modules: Sequence[str]) -> str:
    """BLAKE3 over the syntax trees of modules and packages, by name; 64 hex digits.

    Comments, docstrings, layout and other bare strings do not count, so that rewording them makes no data
    stale. Raises NotFoundError for a module that has no source file.
    """
    return _code_version(tuple(sorted(set(modules))))


@functools.cache
def _code_version(modules: tuple[str, ...]) -> str:
    sources = {name: path for module in modules for name, path in _sources(module)}
    hasher = blake3(derive_key_context="cell_assets 2024 code version 1")
    for name in sorted(sources):
        digest = _source_digest(sources[name])
        hasher.update(f"{len(name)}:{name}:".encode() + digest)
    return hasher.hexdigest()


def _sources(module: str) -> Iterator[tuple[str, Path]]:
    """Name and path of every file that a module or package consists of."""
    top, *rest = module.split(".")
    for folder in _package_folders(top):
        path = folder.joinpath(*rest)
        if path.is_dir():
            for file in path.rglob("*"):
                if file.suffix == ".py" or file.suffix in _DATA_SUFFIXES:
                    yield f"{module}/{file.relative_to(path).as_posix()}", file
            return
        if path.with_suffix(".py").is_file():
            yield module, path.with_suffix(".py")
            return
    raise NotFoundError(
        f"module {module} has no source file, so its version cannot be told; correct its name"
    )


@functools.cache
def _package_folders(top: str) -> tuple[Path, ...]:
    # Only the top package: `find_spec` of anything below imports the packages above it.
    spec = importlib.util.find_spec(top)
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders:
        raise NotFoundError(f"package {top} is not installed, so the version of its code cannot be told")
    return tuple(Path(folder) for folder in folders)


@functools.cache
def _source_digest(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix != ".py":
        return blake3(content).digest()
    words: list[str] = []
    try:
        tree = ast.parse(content)
    except SyntaxError:
        # Nothing can run it, so its bytes stand for it.
        return blake3(content).digest()
    _spell(tree, words)
    return blake3("".join(words).encode("utf-8", "surrogatepass")).digest()


def _spell(node: object, words: list[str]) -> None:
    """Append a syntax tree as text that says what runs and nothing else.

    Not `ast.dump`, whose spelling of absent fields differs between versions of Python.
    """
    if isinstance(node, ast.AST):
        words.append(f"({type(node).__name__}")
        for name in node._fields:
            value = getattr(node, name, None)
            if value is None and name == "value" and isinstance(node, ast.Constant):
                words.append(" value=None")
            elif value is not None and value != [] and name not in ("kind", "type_comment"):
                words.append(f" {name}=")
                _spell(value, words)
        words.append(")")
    elif isinstance(node, list):
        words.append("[")
        for item in node:
            if not _is_text_only(item):
                _spell(item, words)
                words.append(",")
        words.append("]")
    else:
        words.append(f"{type(node).__name__}:{node!r}")


def _is_text_only(node: object) -> bool:
    """A docstring, or a bare string under a field."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


@functools.cache
def environment_text() -> str:
    """Python, platform and every installed distribution with its version, a line each; its BLAKE3 names it."""
    # Once it is imported, setuptools has the copies that it carries with it on the path: they are not installed.
    places = [place for place in sys.path if Path(place).name != "_vendor"]
    found = importlib.metadata.distributions(path=places)
    installed = {f"{one.name.lower()}=={one.version}" for one in found}
    lines = [
        f"{platform.python_implementation()} {platform.python_version()}",
        f"{platform.system()} {platform.machine()} {' '.join(platform.libc_ver())}",
        *sorted(installed),
    ]
    return "\n".join(lines)


@dataclass(frozen=True)
class Checkout:
    """Where the running package stands in git."""

    commit: str | None
    """None when the package does not run from a git checkout."""
    diff: bytes
    """What `git apply` needs to get from the commit to the package's files; empty when they are equal."""


@functools.cache
def _checkout(package: Path) -> Checkout:
    return read_checkout(package)


def read_checkout(package: Path) -> Checkout:
    """The commit and the uncommitted changes, untracked Python files included, of a package's folder."""
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        # Installed, or inside a checkout of something else.
        return Checkout(None, b"")
    commit = _git(package, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return Checkout(None, b"")
    options = ("--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--full-index")
    diff = _git(package, "diff", *options, "HEAD", "--", ".") or b""
    untracked = _git(package, "ls-files", "--others", "--exclude-standard", "--full-name", "-z", "--", "*.py")
    top = _git(package, "rev-parse", "--show-toplevel")
    for name in sorted(filter(None, (untracked or b"").decode().split("\0"))):
        root = Path((top or b"").decode().rstrip("\n"))
        # `--no-index` leaves with 1 when there is a difference, as here there always is.
        diff += _git(root, "diff", *options, "--no-index", "--", "/dev/null", name, good=(0, 1)) or b""
    return Checkout(commit.decode().strip(), diff)


def _git(folder: Path, *arguments: str, good: tuple[int, ...] = (0,)) -> bytes | None:
    """Output of a git command; None when git is absent or refuses."""
    try:
        done = subprocess.run(
            ["git", "-c", "core.quotepath=off", "-C", str(folder), *arguments],
            capture_output=True,
            timeout=60,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        _log.warning("the code's git commit is not recorded: %s", error)
        return None
    if done.returncode not in good:
        complaint = done.stderr.decode(errors="replace").strip()
        if "dubious ownership" in complaint:
            _log.warning("the code's git commit is not recorded: %s", complaint)
        return None
    return done.stdout
