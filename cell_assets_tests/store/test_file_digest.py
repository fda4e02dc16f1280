"""Files of every size have BLAKE3's own digest, however many threads read them, and a bad one is named."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from cell_assets.store.file_digest import FileDigest, digest_files

KIB, MIB = 2**10, 2**20
SIZES = (0, 1, 256 * KIB - 1, 256 * KIB, 256 * KIB + 1, 512 * KIB, 3 * MIB + 7, 512 * KIB + 1, 5, MIB)


def put(root: Path, sizes: tuple[int, ...]) -> list[str]:
    """Files of these sizes, no two parts of which are alike; returns their names."""
    for number, size in enumerate(sizes):
        (root / f"{number}").write_bytes(blake3(bytes([number])).digest(size))
    return [f"{number}" for number in range(len(sizes))]


@pytest.mark.parametrize("sizes", [SIZES, (MIB,), (7, 64 * MIB - 1), (64 * MIB + 3, 7)], ids=str)
def test_digest_of_files_of_any_size(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    names = put(tmp_path, sizes)[::-1]
    contents = [(tmp_path / name).read_bytes() for name in names]
    assert digest_files(tmp_path, names) == tuple(
        FileDigest(name, len(content), blake3(content).hexdigest())
        for name, content in zip(names, contents, strict=True)
    )


@pytest.mark.parametrize("sizes", [(1, 1, 1), (MIB,) * 9, (64 * MIB, 1)], ids=str)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...]
) -> None:
    names = put(tmp_path, sizes)
    real = os.readv
    bad = (tmp_path / names[0]).stat().st_ino

    def readv(descriptor: int, buffers: Any) -> int:
        at_the_end = os.lseek(descriptor, 0, os.SEEK_CUR) >= 512 * KIB or sizes[0] == 1
        if os.fstat(descriptor).st_ino == bad and at_the_end:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(descriptor, buffers)

    monkeypatch.setattr(os, "readv", readv)
    with pytest.raises(OSError, match="Input/output error") as caught:
        digest_files(tmp_path, names)
    assert caught.value.filename == os.fspath(tmp_path / names[0])


def test_a_symlink_is_not_followed(tmp_path: Path) -> None:
    put(tmp_path, (3,))
    (tmp_path / "link").symlink_to(tmp_path / "0")
    with pytest.raises(OSError, match="link"):
        digest_files(tmp_path, ["0", "link"])


@pytest.mark.parametrize("sizes", [SIZES, (64 * MIB,)], ids=str)
def test_reads_that_stop_short_are_not_the_end_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...]
) -> None:
    names = put(tmp_path, sizes)
    whole = digest_files(tmp_path, names)
    real = os.readv
    monkeypatch.setattr(os, "readv", lambda descriptor, buffers: real(descriptor, [buffers[0][:100_000]]))
    assert digest_files(tmp_path, names) == whole
