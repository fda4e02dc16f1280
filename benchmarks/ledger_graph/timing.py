"""Times of repeated work, in milliseconds."""

import statistics
import time
from collections.abc import Callable, Sequence

REPEATS = 9


def milliseconds(work: Callable[[], object], repeats: int = REPEATS) -> dict[str, float]:
    """Median, least and most of several runs, after one that warms up."""
    work()
    took = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        took.append(1000 * (time.perf_counter() - started))
    return spread(took)


def spread(took: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    return {
        "median": round(statistics.median(took), 1),
        "min": round(min(took), 1),
        "max": round(max(took), 1),
    }
