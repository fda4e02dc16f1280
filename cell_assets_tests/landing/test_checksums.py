"""Lists of checksums: what coreutils write is understood, and every difference is named."""

import hashlib
from pathlib import Path

import pytest
from blake3 import blake3

from cell_assets.errors import BadInputError
from cell_assets.landing.checksums import ChecksumKind, verify_checksums

CONTENT = b"pixels"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    for name in ("a b.tif", "deep/c.tif"):
        (tmp_path / name).write_bytes(CONTENT)
    return tmp_path


def verified(folder: Path, lines: str, kind: ChecksumKind | None = None) -> tuple[int, list[tuple[int, int]]]:
    (folder / "sums").write_text(lines)
    steps = list[tuple[int, int]]()
    n_files = verify_checksums(folder / "sums", kind, lambda done, total, what: steps.append((done, total)))
    return n_files, steps


@pytest.mark.parametrize(
    ("digest", "kind"),
    [
        (hashlib.md5(CONTENT).hexdigest(), None),
        (hashlib.sha256(CONTENT).hexdigest().upper(), None),
        (hashlib.sha256(CONTENT).hexdigest(), ChecksumKind.SHA256),
        (blake3(CONTENT).hexdigest(), ChecksumKind.BLAKE3),
    ],
)
def test_sound_files_are_found_so(folder: Path, digest: str, kind: ChecksumKind | None) -> None:
    lines = f"# made by hand\n{digest}  a b.tif\n\n{digest} *deep/c.tif\n"
    assert verified(folder, lines, kind) == (2, [(6, 12), (12, 12)])


@pytest.mark.parametrize(
    ("lines", "kind", "said"),
    [
        ("0" * 64 + "  a b.tif", None, "a b.tif has sha256 "),
        (hashlib.sha256(CONTENT).hexdigest() + "  a b.tif", ChecksumKind.BLAKE3, "a b.tif has blake3 "),
        ("0" * 32 + "  gone.tif", None, "gone.tif is listed and cannot be read"),
        ("0" * 32 + "  ../out.tif", None, "line 1: '../out.tif' must be a path inside"),
        ("0" * 32 + "  /etc/passwd", None, "line 1: '/etc/passwd' must be a path inside"),
        ("0" * 32 + "  a b.tif", ChecksumKind.SHA256, "line 1: 32 digits are no sha256"),
        ("\n12345  a b.tif", None, "line 2 is '12345  a b.tif'"),
        ("\n", None, "names no file"),
    ],
)
def test_every_fault_is_one_sentence(folder: Path, lines: str, kind: ChecksumKind | None, said: str) -> None:
    with pytest.raises(BadInputError) as caught:
        verified(folder, lines, kind)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
