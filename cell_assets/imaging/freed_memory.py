"""Freed pixels go back to the system at once, so that streaming stays as small as its largest step."""

import ctypes

_M_MMAP_THRESHOLD = -3
"""glibc's malloc.h."""
_THRESHOLD_BYTES = 2**20


def return_freed_memory() -> None:
    """From now on, give every freed block past 1 MiB back to the system; for this process, where glibc
    serves it.

    By itself glibc keeps freed blocks of up to 32 MiB in one arena per thread: reading 15 MiB frames through
    thread pools then held 102 MiB instead of 34. Elsewhere than glibc this does nothing.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no such symbol; no library; Windows takes no None
        return
    set_option(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES)
