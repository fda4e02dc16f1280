"""The named Merkle tree: whatever differs on disk changes the root, and nothing else does."""

import os
import shutil
import socket
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cell_assets.errors import BadInputError, NotFoundError
from cell_assets.store.digest import FolderDigest, digest_folder
from cell_assets.store.file_digest import FileDigest

Tree = dict[tuple[str, ...], bytes]

name = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=6
).filter(lambda text: text not in (".", ".."))
path = st.lists(name, min_size=1, max_size=3).map(tuple)


def _without_clashes(files: Tree) -> Tree:
    """Drops a file whose path is a folder of another one."""
    folders = {path[:depth] for path in files for depth in range(1, len(path))}
    return {path: content for path, content in files.items() if path not in folders}


trees = (
    st.dictionaries(path, st.binary(max_size=20), min_size=1, max_size=8)
    .map(_without_clashes)
    .filter(lambda files: len(files) > 0)
)
on_disk = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def put(root: Path, files: Tree) -> Path:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for parts, content in files.items():
        target = root.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return root


def digest_of(files: Tree) -> FolderDigest:
    listed = [
        FileDigest("/".join(parts), len(content), blake3(content).hexdigest())
        for parts, content in files.items()
    ]
    return FolderDigest(tuple(sorted(listed, key=lambda file: file.path.encode())))


def test_root_is_what_the_definition_says(tmp_path: Path) -> None:
    put(tmp_path / "a", {("b", "x"): b"one", ("y",): b"twos"})

    def entry(kind: bytes, name: bytes, size: int, digest: bytes) -> bytes:
        return kind + len(name).to_bytes(4, "big") + name + size.to_bytes(8, "big") + digest

    def folder(*entries: bytes) -> bytes:
        content = len(entries).to_bytes(8, "big") + b"".join(entries)
        return blake3(content, derive_key_context="cell_assets 2024 named merkle folder 1").digest()

    inner = folder(entry(b"f", b"x", 3, blake3(b"one").digest()))
    outer = folder(entry(b"d", b"b", 0, inner), entry(b"f", b"y", 4, blake3(b"twos").digest()))
    assert digest_folder(tmp_path / "a").root == outer.hex()
    assert digest_folder(tmp_path / "a").subtree("b") == inner.hex()


def test_root_never_changes_between_versions(tmp_path: Path) -> None:
    put(tmp_path / "a", {("zarr.json",): b"{}", ("A", "1", "000", "c", "0"): bytes(range(200)), ("µ",): b""})
    assert (
        digest_folder(tmp_path / "a").root
        == "34eecacd98d95fcb7837d0f7bc1373103192181c70d253d4ff50c69b897303d8"
    )


@on_disk
@given(files=trees)
def test_same_content_same_root_however_it_was_written(tmp_path: Path, files: Tree) -> None:
    first = digest_folder(put(tmp_path / "one", files))
    second = digest_folder(put(tmp_path / "elsewhere" / "two", dict(reversed(files.items()))))
    assert first == second
    assert first.root == second.root == digest_of(files).root
    assert first.n_bytes == sum(map(len, files.values()))
    assert first.n_files == len(files)


@on_disk
@given(files=trees, data=st.data())
def test_every_single_difference_changes_the_root(tmp_path: Path, files: Tree, data: st.DataObject) -> None:
    victim = data.draw(st.sampled_from(sorted(files)))
    content = files[victim]
    others = {parts: old for parts, old in files.items() if parts != victim}
    mutants: dict[str, Tree] = {"missing": others}
    if content:
        at = data.draw(st.integers(0, len(content) - 1))
        edited = content[:at] + bytes([content[at] ^ data.draw(st.integers(1, 255))]) + content[at + 1 :]
        mutants["same-size edit"] = {**files, victim: edited}
        mutants["truncated"] = {**files, victim: content[:-1]}
    mutants["longer"] = {**files, victim: content + b"\0"}
    renamed = data.draw(path)
    mutants["renamed"] = _without_clashes({**others, renamed: content})
    extra = data.draw(path)
    mutants["extra"] = _without_clashes({**files, extra: data.draw(st.binary(max_size=3))})
    partner = data.draw(st.sampled_from(sorted(files)))
    mutants["swapped"] = {**files, victim: files[partner], partner: content}
    root = digest_of(files).root
    for kind, mutant in mutants.items():
        assert (digest_of(mutant).root == root) == (mutant == files), kind
    kind = data.draw(st.sampled_from(sorted(mutants)))
    assert digest_folder(put(tmp_path / "mutant", mutants[kind])).root == digest_of(mutants[kind]).root


@on_disk
@given(files=trees)
def test_subtree_is_the_digest_of_that_folder_alone(tmp_path: Path, files: Tree) -> None:
    root = put(tmp_path / "whole", files)
    whole = digest_folder(root)
    for folder in {"/".join(parts[:depth]) for parts in files for depth in range(1, len(parts))}:
        alone = digest_folder(root / folder)
        assert whole.subtree(folder) == alone.root
        assert whole.within(folder) == alone
    assert whole.subtree("") == whole.root


def test_swapped_chunks_of_equal_content_sets_differ(tmp_path: Path) -> None:
    # The fault of hashing sorted content hashes without names.
    one = digest_folder(put(tmp_path / "one", {("c", "0"): b"left", ("c", "1"): b"right"}))
    two = digest_folder(put(tmp_path / "two", {("c", "0"): b"right", ("c", "1"): b"left"}))
    assert one.root != two.root


def test_moving_a_boundary_between_name_and_content_differs(tmp_path: Path) -> None:
    one = digest_folder(put(tmp_path / "one", {("ab",): b"c"}))
    two = digest_folder(put(tmp_path / "two", {("a",): b"bc"}))
    three = digest_folder(put(tmp_path / "three", {("a", "b"): b"c"}))
    assert len({one.root, two.root, three.root}) == 3


def test_empty_folders_count(tmp_path: Path) -> None:
    plain = digest_folder(put(tmp_path / "one", {("a",): b"1"}))
    put(tmp_path / "two", {("a",): b"1"}).joinpath("b", "c").mkdir(parents=True)
    assert digest_folder(tmp_path / "two").root != plain.root
    assert digest_folder(tmp_path / "two").empty_folders == ("b/c",)
    assert digest_folder(tmp_path / "two").subtree("b/c") == digest_folder(tmp_path / "two" / "b" / "c").root


def test_composed_and_decomposed_names_are_two_names(tmp_path: Path) -> None:
    both = digest_folder(put(tmp_path / "one", {("\u00e9",): b"1", ("e\u0301",): b"1"}))
    assert both.n_files == 2


def test_large_files_hash_like_small_ones(tmp_path: Path) -> None:
    content = os.urandom(17 * 2**20 + 3)
    digest = digest_folder(put(tmp_path / "one", {("big",): content}))
    assert digest.files[0].digest == blake3(content).hexdigest()


@pytest.mark.parametrize("kind", ["link to file", "link to folder", "broken link", "pipe", "socket"])
def test_what_is_not_a_file_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    root = put(tmp_path / "t", {("in", "a"): b"1"})
    odd = root / "in" / "odd"
    match kind:
        case "link to file":
            odd.symlink_to(root / "in" / "a")
        case "link to folder":
            odd.symlink_to(root)
        case "broken link":
            odd.symlink_to("nowhere")
        case "pipe":
            os.mkfifo(odd)
        case "socket":
            server = socket.socket(socket.AF_UNIX)
            server.bind(os.path.relpath(odd))
            server.close()
    with pytest.raises(BadInputError, match=r"in/odd is a symlink, a special file"):
        digest_folder(root)


def test_a_name_that_is_not_unicode_is_refused(tmp_path: Path) -> None:
    root = put(tmp_path / "t", {("a",): b"1"})
    os.close(os.open(os.fsencode(root) + b"/\xff\xfe", os.O_CREAT | os.O_WRONLY))
    with pytest.raises(BadInputError, match="not Unicode"):
        digest_folder(root)


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for missing in ("file", "nothing"):
        with pytest.raises(NotFoundError, match=f"{missing} is not a folder"):
            digest_folder(tmp_path / missing)
    with pytest.raises(NotFoundError, match="no folder 'B'"):
        digest_folder(put(tmp_path / "t", {("a",): b"1"})).subtree("B")
