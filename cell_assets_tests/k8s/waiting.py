"""Waiting for what a controller, the scheduler or a kubelet does in its own time."""

import time
from collections.abc import Callable

_PATIENCE_S = 300.0


def wait_until(
    done: Callable[[], bool], state: Callable[[], object], patience_s: float = _PATIENCE_S
) -> None:
    """Wait for a condition; raises AssertionError that shows `state()` when it does not come."""
    until = time.monotonic() + patience_s
    while not done():
        assert time.monotonic() < until, state()
        time.sleep(0.05)
