"""How fast a computation goes and how long it will still take."""

import time

from cell_assets.methods.contract import Progress, ProgressSink


class Pace:
    """Tells a sink, where there is one, the rate since the first report and the time that is left by it."""

    def __init__(self, sink: ProgressSink | None, total: int, unit: str, note: str = "") -> None:
        self._sink, self._total, self._unit, self._note = sink, total, unit, note
        self._first: tuple[int, float] | None = None

    def __call__(self, done: int, total: int | None = None, note: str | None = None) -> None:
        """`done` of `total` are; the first report is where counting begins, as after a resume."""
        if self._sink is None:
            return
        total, now = self._total if total is None else total, time.monotonic()
        self._first = self._first or (done, now)
        elapsed = now - self._first[1]
        rate = (done - self._first[0]) / elapsed if elapsed > 0 else 0.0
        remaining = (total - done) / rate if rate else 0.0
        self._sink(Progress(done, total, self._unit, rate, remaining, self._note if note is None else note))
