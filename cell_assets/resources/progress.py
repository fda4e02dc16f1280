"""How a body tells a person where it stands: a bar in a terminal, a line now and then in Dagster's log."""

import time
from enum import StrEnum
from types import TracebackType

import dagster as dg
from tqdm import tqdm

LOG_INTERVAL_S = 5.0


class ProgressDisplay(StrEnum):
    """Where progress goes."""

    BAR = "bar"
    LOG = "log"


class Progress:
    """Counts finished units out of `total`; says rate and remaining time."""

    def __init__(
        self,
        context: dg.OpExecutionContext | dg.AssetExecutionContext,
        display: ProgressDisplay,
        what: str,
        total: int,
    ) -> None:
        self._log = context.log
        self._what = what
        self._total = total
        self._done = 0
        self._started = time.monotonic()
        self._last_said = self._started
        # With a delay, work in which there was nothing to do leaves no empty bar behind.
        show = display is ProgressDisplay.BAR
        self._bar = tqdm(total=total or None, desc=what, delay=0.01) if show else None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, n: int = 1) -> None:
        """`n` more units are finished."""
        self.stand(self._done + n, self._total, "")

    def stand(self, done: int, total: int, note: str) -> None:
        """`done` of `total` units are finished."""
        if self._bar is not None:
            self._bar.total = total
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._done)
        self._done, self._total = done, total
        now = time.monotonic()
        if self._bar is None and now - self._last_said >= LOG_INTERVAL_S and done:
            self._last_said = now
            rate = done / (now - self._started)
            self._log.info(
                f"{self._what}: {done}/{total} {note}, {rate:.2g}/s, about {(total - done) / rate:.0f} s left"
            )


def progress_resource(display: ProgressDisplay) -> dg.ResourceDefinition:
    """Hands the chosen display to the bodies."""

    @dg.resource(description="Where progress is shown")
    def progress(_: dg.InitResourceContext) -> ProgressDisplay:
        return display

    return progress
