"""How far a command is, on standard error."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

BYTES = "B"


@contextmanager
def progress(unit: str) -> Iterator[Callable[[int, int, str], None]]:
    """A bar with rate and remaining time, from the first step on, so that a refusal before it stands alone.

    What it yields takes units done, units in all, and what was looked at last; another total starts anew.
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
