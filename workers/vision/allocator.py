"""What the C library does with memory that is given back to it."""

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # names of glibc's malloc.h


def keep_freed_memory() -> None:
    """Of this process, from now on: what one batch has freed the next one takes.

    By default glibc hands large blocks back to the system, and the next batch gets them as new pages, which the system
    has to clear: a third of scoring on a CPU. Another C library is left as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)  # large blocks come from where small ones do
        mallopt(_TRIM_THRESHOLD, -1)  # which never shrinks
