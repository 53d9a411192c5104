"""The exclusive lock of an embedded home: one process at a time writes, and knows that nobody else does."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from shared.domain.errors import FailedError

_PATIENCE_SECONDS = 0.3  # `holder` takes the lock for a moment
_POLL_SECONDS = 0.02


@contextmanager
def exclusive(home: Path) -> Iterator[None]:
    """Hold the lock of `home`; the system frees it however the holder dies. Raises FailedError when it is taken."""
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / "lock", timeout=_PATIENCE_SECONDS)
    try:
        lock.acquire(poll_interval=_POLL_SECONDS)
    except Timeout:
        words = f"{home}: another shelver is working here ({_words(home)})"
        raise FailedError(f"{words}; wait for it, or use another --home") from None
    try:
        with suppress(OSError):  # on a full disk `rm` still has to work
            _note(home).write_text(json.dumps({"pid": os.getpid(), "command": sys.argv, "since": time.time()}))
        yield
    finally:
        with suppress(OSError):
            _note(home).unlink()
        lock.release()


def holder(home: Path) -> str:
    """Who holds the lock of `home`, in words; empty when nobody does. Raises OSError where it cannot be asked."""
    if not (home / "lock").exists():
        return ""
    try:
        with FileLock(home / "lock", timeout=0):
            return ""
    except Timeout:
        return _words(home)


def _note(home: Path) -> Path:
    return home / "lock.json"


def _words(home: Path) -> str:
    try:
        found = json.loads(_note(home).read_text())
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(found["since"]))
        command = " ".join([Path(found["command"][0]).name, *found["command"][1:]])
        return f"process {found['pid']} since {since}: {command}"
    except (OSError, ValueError, KeyError, IndexError):
        return "it has not said which process it is"
