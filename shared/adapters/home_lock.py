"""The exclusive lock of an embedded home: one process at a time writes, and knows that nobody else does."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from shared.domain.errors import FailedError


@contextmanager
def exclusive(home: Path) -> Iterator[None]:
    """Hold the lock of `home`; the system frees it however the holder dies. Raises FailedError when it is taken."""
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise FailedError(f"{home}: another shelver is working here; wait for it, or use another --home") from None
    try:
        yield
    finally:
        lock.release()
