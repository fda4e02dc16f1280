"""Landing folders behind URLs: a web server, a backend with errors of its own, and URLs that open nothing."""

import functools
import re
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

from cell_assets.errors import BadInputError, CellAssetsError
from cell_assets.landing.fetching import fetch_folder
from cell_assets.landing.places import named_folder, without_password
from cell_assets.landing.scan import Scan, ScanCursor, scan
from cell_assets_tests.landing.brittle_files import BrittleFiles, brittle_landing
from cell_assets_tests.landing.landed import plate_yaml


@pytest.fixture
def brittle() -> Iterator[str]:
    with brittle_landing() as url:
        yield url


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A folder behind a web server, which lists names and no sizes."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()
    serving.join()


def scanned(*places: str) -> Scan:
    """What is found once everything was still."""
    first = scan(places, {}, ScanCursor(), still_s=1, now=0)
    return scan(places, {}, first.cursor, still_s=1, now=1)


def local_plate(root: Path) -> Path:
    (root / "p").mkdir(parents=True)
    plate_yaml(root / "p", "E1", "P9")
    (root / "p" / "x.tif").write_bytes(b"pixels")
    return root / "p"


@pytest.mark.parametrize(
    ("broken", "unreachable", "problems"),
    [
        ({"ls": "/brittle_landing"}, "landing folder brittle:///brittle_landing cannot be listed (", {}),
        ({"ls": "/brittle_landing/e"}, "folder brittle:///brittle_landing/e cannot be", {"a": None, "e": None}),
        ({"info": "/brittle_landing/a"}, "", {"a": None, "b": None, "e": None}),
        ({"cat_file": "/brittle_landing/a"}, "", {"a": "cannot be read (", "b": None, "e": None}),
        ({"cat_file": "/brittle_landing/e/exp"}, "", {"a": None, "b": None, "e": "cannot be read ("}),
        ({"find": "/brittle_landing/a"}, "", {"a": "cannot be read (", "b": None, "e": None}),
    ],
)  # fmt: skip
def test_errors_of_a_backend_are_told_of_what_they_hinder(
    brittle: str, tmp_path: Path, broken: dict[str, str], unreachable: str, problems: dict[str, str | None]
) -> None:
    beside = local_plate(tmp_path / "landing")
    BrittleFiles.broken = broken
    (question,) = broken
    said = f"ThrottledError: slow down: {question} was asked too often)"
    found = scanned(brittle, str(tmp_path / "landing"))
    assert [one.startswith(unreachable) and said in one for one in found.unreachable] == [True] * bool(
        unreachable
    )
    looks = {look.folder.rpartition("/")[2]: look.problem for look in found.arrived}
    assert looks.pop(beside.name, "not found") is None
    assert looks.keys() == problems.keys()
    for name, problem in problems.items():
        assert (looks[name] is None) == (problem is None), looks[name]
        assert problem is None or f"{problem}{said}" in (looks[name] or "")


def test_errors_of_a_backend_end_a_fetch_in_a_sentence(brittle: str, tmp_path: Path) -> None:
    BrittleFiles.broken = {"find": "/"}
    with pytest.raises(BadInputError, match=r"/a: cannot be listed \(ThrottledError: slow down: find"):
        fetch_folder(f"{brittle}/a", tmp_path / "one", lambda *_: None)
    BrittleFiles.broken = {"get_file": "/brittle_landing/a/x.tif"}
    with pytest.raises(CellAssetsError, match=r"/a/x.tif cannot be fetched \(ThrottledError: slow down"):
        fetch_folder(f"{brittle}/a", tmp_path / "two", lambda *_: None)
    BrittleFiles.broken = {}
    assert fetch_folder(f"{brittle}/a", tmp_path / "three", lambda *_: None) == 6 + 25
    assert (tmp_path / "three" / "x.tif").read_bytes() == b"pixels"


def test_a_plate_on_a_web_server_arrives_and_is_fetched(web: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = web
    (local_plate(folder) / "deep").mkdir()
    (folder / "p" / "deep" / "y.tif").write_bytes(b"more pixels")
    (look,) = scanned(url).arrived
    assert (look.folder, look.problem) == (f"{url}/p", None)
    assert fetch_folder(look.folder, tmp_path / "here", lambda *_: None) == sum(
        file.stat().st_size for file in (folder / "p").rglob("*") if file.is_file()
    )
    assert (tmp_path / "here" / "deep" / "y.tif").read_bytes() == b"more pixels"
    (folder / "p" / "deep" / "y.tif").write_bytes(b"still more pixels")
    (again,) = scanned(url).arrived
    assert again.digest != look.digest


def test_a_file_url_is_the_disk(tmp_path: Path) -> None:
    folder = local_plate(tmp_path)
    # A link in a circle, which fsspec's own walk would follow until the path is too long.
    (folder / "up").symlink_to(folder)
    (look,) = scanned(f"file://{tmp_path}").arrived
    assert look.folder == str(folder)
    assert "up is a symbolic link that leads back" in (look.problem or "")
    assert named_folder(f"file://{folder}/") == str(folder)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("nothing://x", r"landing folder nothing://x cannot be opened \(ValueError: Protocol not known"),
        ("driverless://x", r"driverless://x cannot be opened \(ImportError: install no_such_package\)"),
        ("dir://x", r"landing folder dir://x cannot be opened \("),
        ("zip://x::file:///y.zip", r"zip://x::file:///y.zip cannot be opened: it chains URLs"),
        ("~nobody_of_this_name/x", r"~nobody_of_this_name/x cannot be opened \(.*: write the path in full"),
        (
            "ftp://127.0.0.1:1/x",
            r"landing folder ftp://127.0.0.1:1/x cannot be opened \(.*Connection refused",
        ),
        ("http://127.0.0.1:1", r"landing folder http://127.0.0.1:1 cannot be listed \(Connect call failed"),
    ],
)
def test_a_place_that_cannot_be_opened_is_told_beside_what_the_others_hold(
    tmp_path: Path, place: str, said: str
) -> None:
    fsspec.register_implementation("driverless", "no_such_package.Files", True, "install no_such_package")
    local_plate(tmp_path)
    found = scanned(place, str(tmp_path))
    (unreachable,) = found.unreachable
    assert "\n" not in unreachable
    assert re.search(said, unreachable), unreachable
    assert [look.folder for look in found.arrived] == [str(tmp_path / "p")]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ftp://lab:s3cret@127.0.0.1:1/plates", "ftp://lab:***@127.0.0.1:1/plates"),
        ("http://lab:s3c:ret@127.0.0.1:1/a@b:c", "http://lab:***@127.0.0.1:1/a@b:c"),
        ("http://lab@127.0.0.1:1/plates", "http://lab@127.0.0.1:1/plates"),
        ("memory://a:b/c@d", "memory://a:b/c@d"),
        ("http://lab:s3cret@127.0.0.1:1/x::zip://y", "http://lab:***@127.0.0.1:1/x::zip://y"),
    ],
)
def test_a_password_in_a_url_is_not_said(url: str, shown: str, tmp_path: Path) -> None:
    assert without_password(url) == shown
    said = " ".join(scanned(url).unreachable)
    assert "s3c" not in said
    if "::" not in url:
        with pytest.raises(CellAssetsError) as refused:
            fetch_folder(url, tmp_path / "fetched", lambda *_: None)
        assert "s3c" not in str(refused.value)
