"""A backend of fsspec whose library has errors of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem


class ThrottledError(Exception):
    """As botocore's and aiohttp's errors, no OSError."""


class BrittleFiles(MemoryFileSystem):
    """A real backend over files in memory, of which chosen questions fail."""

    protocol = "brittle"
    broken: ClassVar[dict[str, str]] = {}
    """By question, below which path it fails."""

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.replace("brittle://", "memory://"))

    def _fail(self, question: str, path: str) -> None:
        if question in self.broken and path.startswith(self.broken[question]):
            raise ThrottledError(f"slow down:\n{question} was asked too often")

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> Any:
        self._fail("ls", path)
        return super().ls(path, detail=detail, **kwargs)

    def info(self, path: str, **kwargs: Any) -> Any:
        self._fail("info", path)
        return super().info(path, **kwargs)

    def cat_file(self, path: str, **kwargs: Any) -> bytes:
        self._fail("cat_file", path)
        return super().cat_file(path, **kwargs)

    def find(self, path: str, **kwargs: Any) -> Any:
        self._fail("find", path)
        return super().find(path, **kwargs)

    def get_file(self, rpath: str, lpath: str, **kwargs: Any) -> None:
        self._fail("get_file", rpath)
        super().get_file(rpath, lpath, **kwargs)


@contextmanager
def brittle_landing() -> Iterator[str]:
    """A landing folder with the plate `a`, and the plate `b` of the experiment `e`."""
    fsspec.register_implementation("brittle", BrittleFiles, clobber=True)
    files = fsspec.filesystem("brittle")
    for folder, plate in (("a", "P1"), ("e/b", "P2")):
        files.pipe(f"/brittle_landing/{folder}/plate.yaml", f"experiment: E1\nplate: {plate}\n".encode())
        files.pipe(f"/brittle_landing/{folder}/x.tif", b"pixels")
    files.pipe("/brittle_landing/e/experiment.yaml", b"experiment: E1\nplates: [P2]\n")
    try:
        yield "brittle:///brittle_landing"
    finally:
        BrittleFiles.broken = {}
        files.rm("/brittle_landing", recursive=True)
