"""A worker process: what it may take of the machine."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
from threadpoolctl import threadpool_info

from cell_assets.imaging.workers import start_worker


def _threads_of_libraries() -> dict[str, int]:
    import scipy.linalg

    assert scipy.linalg.norm(np.ones((2, 2)) @ np.ones((2, 2))) == 4
    return {
        f"{pool['internal_api']} of {pool['filepath']}": pool["num_threads"] for pool in threadpool_info()
    }


def test_a_worker_uses_one_thread_of_each_library_whether_loaded_before_or_after() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=start_worker) as pool:
        threads = pool.submit(_threads_of_libraries).result(timeout=60)
    assert len(threads) >= 2  # NumPy and SciPy each bring a BLAS
    assert set(threads.values()) == {1}, threads
