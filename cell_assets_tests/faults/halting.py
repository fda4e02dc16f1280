"""A run that halts at a write boundary until a test lets it go on, whichever process executes it.

Told and asked by files in the lab's home, as runs of a code server are processes that a test does not start.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cell_assets.store.boundaries import Boundary, Observer

_POLL_S = 0.02
_PATIENCE_S = 300.0


def halting(home: Path) -> Observer:
    """Halts where `Halt.at` of the same home said."""
    halt = Halt(home)

    def observe(boundary: Boundary, asset: str, partition: str) -> None:
        if halt.is_set_at(boundary, asset):
            halt.reached.touch()
            halt.wait_until_gone()

    return observe


@dataclass(frozen=True)
class Halt:
    """Where runs of a home halt."""

    home: Path

    @property
    def place(self) -> Path:
        """Says at which boundary of which asset."""
        return self.home / "halt_at"

    @property
    def reached(self) -> Path:
        """There once a run has halted."""
        return self.home / "halted"

    def is_set_at(self, boundary: Boundary, asset: str) -> bool:
        try:
            return self.place.read_text() == f"{boundary} {asset}"
        except FileNotFoundError:
            return False

    @contextmanager
    def at(self, boundary: Boundary, asset: str, ended: Callable[[], object]) -> Iterator[None]:
        """Let runs halt there; the block begins when one has, and they go on when it ends.

        `ended` says what became of the runs, once nothing of them lives that could halt.
        """
        self.reached.unlink(missing_ok=True)
        self.place.write_text(f"{boundary} {asset}")
        try:
            until = time.monotonic() + _PATIENCE_S
            while not self.reached.exists():
                assert (said := ended()) is None, (boundary, asset, said)
                assert time.monotonic() < until, f"no run reached {boundary} of {asset}"
                time.sleep(_POLL_S)
            yield
        finally:
            self.place.unlink()

    def wait_until_gone(self) -> None:
        while self.place.exists():
            time.sleep(_POLL_S)
