"""A new file that is written while its next block is made, and past the page cache where the file system allows that:
what is stored is seldom read at once, and a page of the cache costs more time of a core than the block it holds.
"""

import errno
import fcntl
import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from mmap import mmap
from typing import Self

_ROOM = 4 * 2**20  # bytes of one write: what an ingest makes at a time, and a multiple of what any disk wants aligned
_DIRECT: int = getattr(os, "O_DIRECT", 0)  # macOS has none


class GrowingFile:
    """Appends to an open file by its descriptor. For one thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rooms = [memoryview(mmap(-1, _ROOM)) for _ in range(2)]  # one is filled while the other is written
        self._filled = 0
        self._writer = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.shutdown()

    def write(self, block: bytes | memoryview) -> None:
        """Append a block, which may be changed afterwards. Raises OSError, also for an earlier block."""
        rest = memoryview(block).cast("B")
        while rest:
            part = rest[: _ROOM - self._filled]
            self._rooms[0][self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            rest = rest[len(part) :]
            if self._filled == _ROOM:
                if self._writing is None:
                    self._set_direct(True)
                self._wait()
                self._writing = self._writer.submit(self._append, self._rooms[0])
                self._rooms.reverse()
                self._filled = 0

    def finish(self) -> None:
        """Write what is left; the rest is up to fsync. Raises OSError."""
        self._wait()
        self._set_direct(False)  # the end is not aligned
        self._append(self._rooms[0][: self._filled])

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()

    def _append(self, content: memoryview) -> None:
        while content:
            try:
                content = content[os.write(self._descriptor, content) :]
            except OSError as error:
                if error.errno != errno.EINVAL or not fcntl.fcntl(self._descriptor, fcntl.F_GETFL) & _DIRECT:
                    raise
                self._set_direct(False)  # a disk that is nearly full took half a block, or this one aligns otherwise

    def _set_direct(self, on: bool) -> None:
        flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
        with suppress(OSError):  # not every file system can
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags | _DIRECT if on else flags & ~_DIRECT)
