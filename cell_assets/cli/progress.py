"""How far a command is, on standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_in_bytes(quiet: bool = False) -> Iterator[Callable[[int, int, str], None]]:
    """A bar with rate and remaining time; what it yields takes bytes done, bytes in all, and what is looked at."""
    from tqdm import tqdm

    with tqdm(unit="B", unit_scale=True, disable=quiet) as bar:

        def step(done: int, total: int, what: str) -> None:
            if total != bar.total:
                bar.reset(total)
            bar.set_postfix_str(what, refresh=False)
            bar.update(done - bar.n)

        yield step
