"""The container: any ZIP reader opens it, every byte of it is accounted for, and hostile ones are refused."""

import errno
import hashlib
import io
import os
import random
import threading
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_assets.audit import bundle_zip
from cell_assets.audit.bundle_zip import Container, ContainerFault, check_member_name, new_bundle
from cell_assets.errors import BadInputError, CellAssetsError

MEMBERS = {
    "a/empty.txt": b"",
    "a/µ.bin": bytes(range(256)) * 3,
    "b.json": b'{"PK": "PK\x03\x04"}',
    "manifests/t/P1%7CA%2F1/0123.files.json": b"x" * 1000,
}


def write(path: Path, members: Mapping[str, bytes]) -> Path:
    with new_bundle(path) as bundle:
        for name in sorted(members, key=str.encode):
            content = members[name]
            bundle.add(name, [content[:100], content[100:]])
    return path


def faults_in(path: Path) -> tuple[ContainerFault, ...]:
    with Container.open(path) as container:
        return container.check()[1]


def damage(path: Path, content: bytes) -> str | None:
    """What is said of a file with this content; None where nothing is found wrong."""
    path.write_bytes(content)
    try:
        faults = faults_in(path)
    except BadInputError as error:
        return str(error)
    return "; ".join(fault.why for fault in faults) or None


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write(tmp_path / "x.zip", MEMBERS)


names = st.lists(
    st.text(st.sampled_from("abc.%~ µ字"), min_size=1, max_size=6).filter(
        lambda part: part not in (".", "..")
    ),
    min_size=1,
    max_size=3,
).map("/".join)


@settings(max_examples=40)
@given(st.dictionaries(names, st.binary(max_size=300), min_size=1, max_size=6))
def test_what_goes_in_comes_out_and_zipfile_reads_it_too(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, bytes]
) -> None:
    path = write(tmp_path_factory.mktemp("zip") / "x.zip", members)
    with Container.open(path) as container:
        found, faults = container.check()
        assert faults == ()
        assert {one.name: one.sha256 for one in found} == {
            name: hashlib.sha256(content).hexdigest() for name, content in members.items()
        }
        assert {name: container.read(name, 1000) for name in container.names} == members
        assert all(name in container for name in members)
        assert "nothing" not in container
    with zipfile.ZipFile(path) as read:
        assert read.testzip() is None
        assert {one.filename: read.read(one) for one in read.infolist()} == members
        assert {one.external_attr >> 16 for one in read.infolist()} == {0o100644}


def test_the_same_members_give_the_same_bytes(tmp_path: Path, bundle: Path) -> None:
    assert write(tmp_path / "y.zip", MEMBERS).read_bytes() == bundle.read_bytes()


def test_every_flipped_byte_is_found_and_the_member_it_hits_named(bundle: Path) -> None:
    """All bytes of the file, one after the other."""
    whole = bundle.read_bytes()
    with zipfile.ZipFile(io.BytesIO(whole)) as read:
        infos = read.infolist()
        directory = read.start_dir
    ends = [*(info.header_offset for info in infos[1:]), directory]
    for at in range(len(whole)):
        flipped = bytearray(whole)
        flipped[at] ^= 1 + at % 255
        said = damage(bundle, bytes(flipped))
        assert said is not None, at
        if at < directory:
            hit = next(info.filename for info, end in zip(infos, ends, strict=True) if at < end)
            start = next(
                info.header_offset + 30 + len(info.filename.encode())
                for info in infos
                if info.filename == hit
            )
            part = "content" if at >= start else "header"
            assert f"the {part} of {hit} was changed" in said, (at, said)
        elif at < len(whole) - 22:
            assert "directory entry" in said or "header" in said, (at, said)
        else:
            assert "end record" in said or "directory entry" in said, (at, said)
    bundle.write_bytes(whole)
    assert faults_in(bundle) == ()


def test_bytes_before_behind_and_between_are_found(bundle: Path) -> None:
    whole = bundle.read_bytes()
    assert "2 bytes follow" in (damage(bundle, whole + b"xx") or "")
    assert damage(bundle, b"x" + whole) is not None
    commented = io.BytesIO(whole)
    with zipfile.ZipFile(commented, "a") as archive:
        archive.comment = b"hello"
    assert damage(bundle, commented.getvalue()) is not None
    for at in random.Random(0).sample(range(len(whole)), 100):
        assert damage(bundle, whole[:at] + b"\0" + whole[at:]) is not None, at
        assert damage(bundle, whole[:at] + whole[at + 1 :]) is not None, at
        assert damage(bundle, whole[:at]) is not None, at


@settings(max_examples=300)
@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_make_it_fall(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, framed: bool
) -> None:
    """Arbitrary bytes, also between a first header and an end record that fit."""
    path = tmp_path_factory.mktemp("zip") / "x.zip"
    if framed:
        end = bundle_zip._end_record(1, len(content), 0)
        content = b"PK\x03\x04" + content + end
    assert damage(path, content) is not None


def _hostile() -> Iterator[tuple[str, bytes]]:
    for name in ("../evil", "/etc/passwd", "a/../../evil", "a//b", "C:/evil", "a\\evil", "a/", "a\nb"):
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            archive.writestr(zipfile.ZipInfo(name), b"x")
        yield name, made.getvalue()
    link = io.BytesIO()
    with zipfile.ZipFile(link, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, b"/etc/passwd")
    yield "a symlink", link.getvalue()
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("bomb"), bytes(10**6), zipfile.ZIP_DEFLATED)
    yield "a bomb", bomb.getvalue()
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as archive, pytest.warns(UserWarning):
        archive.writestr(zipfile.ZipInfo("a"), b"1")
        archive.writestr(zipfile.ZipInfo("a"), b"2")
    yield "one name twice", twice.getvalue()
    yield "only an end record", bundle_zip._end_record(65535, 2**31, 0)
    yield "an empty archive", bundle_zip._end_record(0, 0, 0)


@pytest.mark.parametrize(
    ("what", "content"), list(_hostile()), ids=lambda one: one if isinstance(one, str) else ""
)
def test_hostile_containers_are_refused_or_found_wrong(tmp_path: Path, what: str, content: bytes) -> None:
    assert damage(tmp_path / "x.zip", content) is not None, what


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", "./a", "a/..", "a\\b", "a\0b", "a\x9b", "a" * 1025, "\ud800"]
)
def test_names_that_cannot_be_unpacked_everywhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInputError, match="cannot be the name"):
        check_member_name(name)
    with pytest.raises(BadInputError, match="cannot be the name"), new_bundle(tmp_path / "x.zip") as made:
        made.add(name, [b""])
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_and_an_error_leaves_nothing(tmp_path: Path, bundle: Path) -> None:
    before = bundle.read_bytes()
    with pytest.raises(BadInputError, match="is there already and is not overwritten"):
        write(bundle, {"other": b""})
    (tmp_path / "dangling.zip").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadInputError, match="is there already"):
        write(tmp_path / "dangling.zip", {"other": b""})

    def interrupted() -> Iterator[bytes]:
        yield b"some"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), new_bundle(tmp_path / "y.zip") as made:
        made.add("a", interrupted())
    folder = tmp_path / "no folder"
    with pytest.raises(BadInputError, match=rf"^the folder {folder} does not exist: make it first$"):
        write(folder / "y.zip", MEMBERS)
    with pytest.raises(BadInputError, match=rf"^{bundle} is not a folder: give another name with -o$"):
        write(bundle / "y.zip", MEMBERS)
    with pytest.raises(BadInputError, match=r"y\.zip cannot be written: File name too long"):
        write(tmp_path / f"{'y' * 300}.zip", MEMBERS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling.zip", "x.zip"]
    assert bundle.read_bytes() == before


def test_of_many_who_write_one_bundle_at_once_one_does(tmp_path: Path) -> None:
    n_writers = 8
    for n in range(10):
        target = tmp_path / f"{n}.zip"
        ready = threading.Barrier(n_writers)

        def one(writer: int, target: Path = target, ready: threading.Barrier = ready) -> int | None:
            try:
                with new_bundle(target) as made:
                    made.add(f"writer {writer}", [b""])
                    ready.wait(60)
            except BadInputError as error:
                assert "is there already and is not overwritten" in str(error)
                return None
            return writer

        with ThreadPoolExecutor(n_writers) as pool:
            (winner,) = (said for said in pool.map(one, range(n_writers)) if said is not None)
        with Container.open(target) as container:
            assert container.names == (f"writer {winner}",)
    assert len(list(tmp_path.iterdir())) == 10


def test_a_file_system_without_hard_links_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted", str(source), None, str(target))

    monkeypatch.setattr(os, "link", refused)
    with pytest.raises(
        CellAssetsError, match=r"y\.zip cannot be written: the file system .* has no hard links"
    ):
        write(tmp_path / "y.zip", MEMBERS)
    assert list(tmp_path.iterdir()) == []


def test_a_name_may_be_as_long_as_a_file_system_takes(tmp_path: Path) -> None:
    assert faults_in(write(tmp_path / f"{'y' * 251}.zip", MEMBERS)) == ()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write to")
def test_an_error_names_the_bundle_and_not_its_unfinished_file() -> None:
    with pytest.raises(CellAssetsError, match=r"^/proc/y\.zip cannot be read or written: "):
        write(Path("/proc/y.zip"), MEMBERS)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "open", lambda self, mode: open("/dev/full", "wb", buffering=0))  # noqa: PTH123, SIM115
    with pytest.raises(CellAssetsError, match=r"y\.zip cannot be read or written: No space left"):
        write(tmp_path / "y.zip", MEMBERS)


def test_what_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_zip, "MAX_BYTES", 1000)
    with pytest.raises(BadInputError, match="would be larger than 1000 bytes"):
        write(tmp_path / "x.zip", {"a": bytes(2000)})
    monkeypatch.setattr(bundle_zip, "MAX_BYTES", 10**6)
    monkeypatch.setattr(bundle_zip, "MAX_MEMBERS", 3)
    with pytest.raises(BadInputError, match="3 members"):
        write(tmp_path / "x.zip", {f"{n}": b"" for n in range(5)})
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_a_member_larger_than_asked_for_is_not_read(bundle: Path) -> None:
    with Container.open(bundle) as container:
        with pytest.raises(BadInputError, match="has 768 bytes, at most 100 are read"):
            container.read("a/µ.bin", 100)
        with pytest.raises(BadInputError, match=r"has no nothing\.json"):
            container.read("nothing.json", 100)
