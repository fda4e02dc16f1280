"""Worker processes that each keep to one thread, since a pool of them already uses every core."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context

from threadpoolctl import threadpool_limits


@contextmanager
def worker_pool(n_workers: int) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes; a caller that ends early kills them, since what they have in hand is given up."""
    others = set(active_children())
    pool = ProcessPoolExecutor(n_workers, mp_context=get_context("spawn"), initializer=start_worker)
    try:
        yield pool
    except BaseException:
        for process in set(active_children()) - others:
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def start_worker() -> None:
    """One thread for each library in a pool worker.

    Ctrl-C reaches the whole foreground: the parent alone answers it. A worker whose parent was killed ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    # A BLAS that is loaded by now read its variable then; its idle threads spin, which doubled the processor
    # time of a small FOV (77 ms instead of 38 ms).
    threadpool_limits(1)
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"


def end_with_parent() -> None:
    """Let this process end when the one that started it does, however that was."""
    threading.Thread(target=_exit_after_parent, name="end with parent", daemon=True).start()


def _exit_after_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        # Not an exception: it would reach this thread alone.
        os._exit(1)
