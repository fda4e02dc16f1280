"""The scan of landing folders: nothing is taken before it is still, everything once, and nothing stops it."""

import itertools
import os
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_assets.landing.looking import Look
from cell_assets.landing.scan import Scan, ScanCursor, scan
from cell_assets.ledger.records import Arrival, ArrivalRelease, ArrivalState
from cell_assets_tests.landing.landed import plate_yaml
from cell_assets_tests.ordinary_user import as_an_ordinary_user, closed, open_to_all

STILL_S = 10.0
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def looked(
    root: Path | str, cursor: ScanCursor, now: float, known: Sequence[Arrival] = (), budget_s: float = 60.0
) -> Scan:
    by_folder = {one.folder: one for one in known}
    return scan([str(root)], by_folder, cursor, still_s=STILL_S, now=now, budget_s=budget_s)


def recorded(look: Look, number: int = 1, *, released: bool = False) -> Arrival:
    state = ArrivalState.QUARANTINED if look.problem or released else ArrivalState.ACCEPTED
    release = ArrivalRelease(number, "Ada", "mended", NOW) if released else None
    return Arrival(
        look.folder, look.digest, look.fingerprint, "E1", "P1", state,
        None if state is ArrivalState.ACCEPTED else look.problem or "its run failed",
        id=number, recorded=NOW, release=release,
    )  # fmt: skip


def a_second_each_time() -> Callable[[], float]:
    """A clock on which every question takes a second."""
    return map(float, itertools.count()).__next__


def arrived_after_stillness(root: Path | str, known: Sequence[Arrival] = ()) -> tuple[Look, ...]:
    first = looked(root, ScanCursor(), 0, known)
    return looked(root, first.cursor, STILL_S, known).arrived


def plate(root: Path, folder: str = "a", name: str = "P1") -> Path:
    (root / folder).mkdir(parents=True)
    plate_yaml(root / folder, "E1", name)
    (root / folder / "x.tif").write_bytes(b"pixels")
    return root / folder


class Piece:
    """One step of a copy: bytes that are added to a file."""

    def __init__(self, file: str, content: bytes) -> None:
        self.file, self.content = file, content

    def write(self, folder: Path) -> None:
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as opened:
            opened.write(self.content)

    def __repr__(self) -> str:
        return f"{self.file}+{len(self.content)}"


@st.composite
def copies(draw: st.DrawFn) -> list[tuple[Piece | None, float]]:
    """A plate's files in pieces and any order, with pauses; None is a look during which nothing was written."""
    pieces = [
        Piece(file, b"x" * draw(st.integers(1, 9)))
        for file in draw(st.lists(st.sampled_from(["a.tif", "b.tif", "deep/er/c.tif"]), max_size=6))
    ]
    yaml_at = draw(st.integers(0, len(pieces)))
    pieces[yaml_at:yaml_at] = [Piece("plate.yaml", b"experiment: E1\n"), Piece("plate.yaml", b"plate: P1\n")]
    steps: list[tuple[Piece | None, float]] = []
    for piece in pieces:
        steps.append((piece, draw(st.floats(0.1, STILL_S * 0.9))))
        steps += [(None, draw(st.floats(0.1, STILL_S * 1.5))) for _ in range(draw(st.integers(0, 2)))]
    return steps


@settings(max_examples=60)
@given(steps=copies())
def test_a_plate_in_pieces_is_taken_when_it_is_still_and_once(
    steps: list[tuple[Piece | None, float]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "a").mkdir()
        cursor, now, written, known = ScanCursor(), 0.0, 0.0, list[Arrival]()
        for piece, pause in [*steps, *[(None, STILL_S)] * 3]:
            now += pause
            if piece is not None:
                piece.write(root / "a")
                written = now
            found = looked(root, cursor, now, known)
            cursor = found.cursor
            for look in found.arrived:
                assert now - written >= STILL_S
                assert all(one.digest != look.digest for one in known)
                known = [recorded(look, len(known) + 1)]
        (last,) = known
        assert last.state is ArrivalState.ACCEPTED
        assert looked(root, cursor, now, known).arrived == ()


def test_a_plate_that_changed_after_it_was_taken_is_taken_again_by_its_yaml(tmp_path: Path) -> None:
    folder = plate(tmp_path)
    (look,) = arrived_after_stillness(tmp_path)
    known = [recorded(look)]
    assert arrived_after_stillness(tmp_path, known) == ()
    plate_yaml(folder, "E1", "P1", interval_min=5.0)
    (again,) = arrived_after_stillness(tmp_path, known)
    assert again.digest != look.digest


def test_quarantine_ends_by_any_change_and_by_a_release(tmp_path: Path) -> None:
    folder = plate(tmp_path)
    (look,) = arrived_after_stillness(tmp_path)
    held = recorded(look, released=True)
    unreleased = Arrival(**{**held.__dict__, "release": None})
    assert arrived_after_stillness(tmp_path, [unreleased]) == ()
    assert looked(tmp_path, ScanCursor(), 0, [held]).arrived == (look,)
    (folder / "x.tif").write_bytes(b"other pixels")
    assert looked(tmp_path, ScanCursor(), 0, [unreleased]).arrived == ()
    (mended,) = arrived_after_stillness(tmp_path, [unreleased])
    assert mended.digest != look.digest


def test_a_scan_out_of_time_goes_on_where_it_stopped(tmp_path: Path) -> None:
    for n in range(5):
        plate(tmp_path, f"p{n}", f"P{n}")
    cursor, seen = ScanCursor(), list[str]()
    for now in (0, 1, 2, 3, 4, STILL_S, STILL_S + 1, STILL_S + 2, STILL_S + 3, STILL_S + 4):
        found = scan(
            [str(tmp_path)],
            {},
            cursor,
            still_s=STILL_S,
            now=now,
            budget_s=6,
            clock=a_second_each_time(),
        )
        cursor = found.cursor
        seen += [Path(look.folder).name for look in found.arrived]
        assert [look.problem for look in found.arrived] == [None] * len(found.arrived)
    assert set(seen) == {f"p{n}" for n in range(5)}


def test_a_plate_too_large_to_be_listed_is_told(tmp_path: Path) -> None:
    plate(tmp_path)
    problems = []
    cursor = ScanCursor()
    for now in (0, STILL_S):
        found = scan(
            [str(tmp_path)],
            {},
            cursor,
            still_s=STILL_S,
            now=now,
            budget_s=1,
            clock=a_second_each_time(),
        )
        cursor, problems = found.cursor, [look.problem for look in found.arrived]
    assert "could not be listed within 1 s" in str(problems)


def test_what_cannot_be_taken_is_told_and_stops_nothing(tmp_path: Path) -> None:
    plate(tmp_path, "good", "P9")
    (plate(tmp_path, "cycle") / "up").symlink_to(tmp_path / "cycle")
    (plate(tmp_path, "dangling") / "gone.tif").symlink_to(tmp_path / "nowhere")
    plate(tmp_path, "dots", "..")
    plate(tmp_path, "bar", "a|b")
    (plate(tmp_path, "broken") / "plate.yaml").write_text("experiment: [")
    (plate(tmp_path, "tag") / "plate.yaml").write_text("!!python/object/apply:os.system ['true']")
    (plate(tmp_path, "nested") / "plate.yaml").write_text("[" * 5000)
    (plate(tmp_path, "huge") / "plate.yaml").write_text("a: " + "x" * 2**20)
    os.mkfifo(plate(tmp_path, "pipe") / "camera")
    Path(os.fsdecode(os.fsencode(plate(tmp_path, "bytes")) + b"/\xff.tif")).write_bytes(b"")
    bad_name = Path(os.fsdecode(os.fsencode(tmp_path) + b"/folder\xff"))
    bad_name.mkdir()
    plate_yaml(bad_name, "E1", "P8")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "experiment.yaml").write_text("experiment: E1\nplates: [P1, P1]\n")
    plate(tmp_path / "e", "below", "P7")
    found = {Path(look.folder).name: look.problem for look in arrived_after_stillness(tmp_path)}
    assert {name for name, problem in found.items() if problem is None} == {"good", "below"}
    expected = {
        "cycle": "up is a symbolic link that leads back",
        "dangling": "gone.tif is a symbolic link that leads nowhere",
        "dots": "plate.yaml: field plate is '..'",
        "bar": "plate.yaml: field plate is 'a|b'",
        "broken": "plate.yaml: line 1: expected",
        "tag": "plate.yaml: line 1: could not determine a constructor",
        "nested": "plate.yaml: ",
        "huge": "is larger than",
        "pipe": "camera is neither a file nor a folder",
        "bytes": "is no UTF-8",
        "folder\\xff": "is no UTF-8",
        "e": "experiment.yaml: plates names a plate twice",
    }
    for name, said in expected.items():
        assert said in (found[name] or ""), (name, found[name])
        assert "\n" not in (found[name] or "")
    assert found.keys() == {"good", "below", *expected}


def test_what_may_not_be_read_is_told_and_seen_when_it_may() -> None:
    with open_to_all() as root:
        folder = plate(root)
        for part in (folder, folder / "plate.yaml"):
            with closed(part), as_an_ordinary_user():
                (look,) = arrived_after_stillness(root)
            assert "cannot be read (Permission denied)" in (look.problem or "")
        # That a file's bytes may not be read is found by the run. Only its permission changes when it is mended.
        with closed(folder / "x.tif"), as_an_ordinary_user():
            (refused,) = arrived_after_stillness(root)
        held = recorded(refused, released=True)
        unreleased = Arrival(**{**held.__dict__, "release": None})
        assert len(arrived_after_stillness(root, [unreleased])) == 1


def test_a_landing_folder_that_is_gone_is_told_beside_what_the_others_hold(tmp_path: Path) -> None:
    plate(tmp_path)
    found = scan([str(tmp_path / "gone"), "nothing://x", str(tmp_path)], {}, ScanCursor(), still_s=0, now=0)
    assert [
        "cannot be listed (No such file" in found.unreachable[0],
        "cannot be opened" in found.unreachable[1],
    ]
    assert list(found.cursor.pending) == [str(tmp_path / "a")]


def test_a_plate_behind_a_url_arrives_the_same_way() -> None:
    files = fsspec.filesystem("memory")
    files.pipe("/landed_by_url/a/plate.yaml", b"experiment: E1\nplate: P1\n")
    files.pipe("/landed_by_url/a/deep/x.tif", b"pixels")
    try:
        (look,) = arrived_after_stillness("memory://landed_by_url")
        assert (look.folder, look.problem) == ("memory:///landed_by_url/a", None)
        files.pipe("/landed_by_url/a/deep/x.tif", b"more pixels")
        (again,) = arrived_after_stillness("memory://landed_by_url")
        assert again.digest != look.digest
    finally:
        files.rm("/landed_by_url", recursive=True)


def test_known_folders_cost_one_question_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(20):
        plate(tmp_path, f"p{n:02}", f"P{n}")
    known = [recorded(look, n) for n, look in enumerate(arrived_after_stillness(tmp_path))]
    asked = []
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **how: asked.append(str(path)) or real(path, **how))
    assert looked(tmp_path, ScanCursor(), 0, known).arrived == ()
    assert sorted(asked) == [f"{tmp_path}/p{n:02}/plate.yaml" for n in range(20)]
