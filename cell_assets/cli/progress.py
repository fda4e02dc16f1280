"""How far a command is, on standard error."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

BYTES = "B"

Step = Callable[[int, int, str], None]
"""Takes units done, units in all, and what was looked at last."""


@contextmanager
def progress(unit: str) -> Iterator[Step]:
    """A bar with rate and remaining time, from the first step on, so that a refusal before it stands alone.

    Another total starts it anew.
    """
    from tqdm import tqdm

    with ExitStack() as shown:
        bar: tqdm | None = None

        def step(done: int, total: int, what: str) -> None:
            nonlocal bar
            if bar is None:
                bar = shown.enter_context(tqdm(unit=unit, unit_scale=unit == BYTES))
            if total != bar.total:
                bar.reset(total)
            bar.set_postfix_str(what, refresh=False)
            bar.update(done - bar.n)

        yield step


@contextmanager
def progress_in_turn(*units: str) -> Iterator[tuple[Step, ...]]:
    """A bar for each of several parts, in the order of `units`: the first step of one closes the bar before it.

    Two bars at a time move the cursor up and down, which makes a mess of what is piped into a file.
    """
    with ExitStack() as shown:
        current: tuple[int, Step] | None = None

        def step_of(n: int) -> Step:
            def step(done: int, total: int, what: str) -> None:
                nonlocal current
                if current is None or current[0] != n:
                    shown.close()
                    current = n, shown.enter_context(progress(units[n]))
                current[1](done, total, what)

            return step

        yield tuple(step_of(n) for n in range(len(units)))
