"""A list of files proves itself against the artifact's digest, whoever hands it over."""

import json

import pytest

from cell_assets.store.digest import FileDigest, FolderDigest
from cell_assets.store.manifest import parse_manifest


def text_of(folder: FolderDigest) -> bytes:
    said = {
        "asset": "tracks",
        "partition": "P1",
        "artifact_format": "f",
        "artifact_format_version": "1",
        "files": [[file.path, file.n_bytes, file.digest] for file in folder.files],
        "empty_folders": list(folder.empty_folders),
    }
    return json.dumps(said).encode()


def test_a_list_that_gives_the_digest_is_proven_and_another_is_not() -> None:
    folder = FolderDigest((FileDigest("a", 1, "0" * 64), FileDigest("b/c", 2, "1" * 64)), ("d",))
    proven = parse_manifest(text_of(folder), folder.root)
    assert proven is not None
    assert proven.folder == folder
    renamed = FolderDigest((FileDigest("A", 1, "0" * 64), *folder.files[1:]), ("d",))
    assert parse_manifest(text_of(renamed), folder.root) is None


@pytest.mark.parametrize("digest", ["", "00", "0" * 66, "0" * 128, " ".join(["00"] * 32)])
def test_a_file_digest_of_another_length_proves_nothing(digest: str) -> None:
    """It could hold the beginning of the next file's entry, so that one root would fit two lists."""
    folder = FolderDigest((FileDigest("a", 1, digest),))
    assert parse_manifest(text_of(folder), folder.root) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"\xff", b"[" * 10**6, b'{"asset": 1}', b'{"files": 3}', b'{"files": [[1, 2]]}'],
)
def test_what_is_no_list_proves_nothing(content: bytes) -> None:
    assert parse_manifest(content, "0" * 64) is None
    folder = FolderDigest(())
    for bad in ([["a", -1, "0" * 64]], [["a", 2**70, "0" * 64]], [["a", 1, None]], [[]], 7):
        said = json.loads(text_of(folder)) | {"files": bad}
        assert parse_manifest(json.dumps(said).encode(), folder.root) is None
