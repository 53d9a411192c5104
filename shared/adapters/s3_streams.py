"""What goes to an S3 server and what comes from it, as files: blocks to put, and one object by ranged reads."""

import io
from collections.abc import Callable, Iterable
from typing import Any


class Source:
    """Blocks as a file that is only read. Keeps what went wrong in them apart from what goes wrong on the way."""

    def __init__(self, blocks: Iterable[bytes | memoryview]) -> None:
        self._blocks = iter(blocks)
        self._rest = memoryview(b"")
        self.size = 0
        self.error: BaseException | None = None

    def read(self, size: int) -> bytes:
        """`size` bytes, fewer at the end."""
        taken = bytearray()
        while len(taken) < size:
            if not self._rest:
                try:
                    block = next(self._blocks, None)
                except BaseException as error:  # also an interrupt: the client ends its upload only after an Exception
                    self.error = error
                    raise RuntimeError from error
                if block is None:
                    break
                self._rest = memoryview(block).cast("B")
            piece, self._rest = self._rest[: size - len(taken)], self._rest[size - len(taken) :]
            taken += piece
        self.size += len(taken)
        return bytes(taken)


class Stream(io.RawIOBase):
    """One object by ranged reads. What was read at the start stays, so that a small one outlives its replacement."""

    def __init__(self, fetch: Callable[[int, int], bytes], size: int, first: bytes) -> None:
        """`fetch` gives the bytes at an offset, as many as it is told; `first` are those of the start."""
        self._fetch, self._size, self._first = fetch, size, first
        self._position = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.IOBase`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("a seek before the first byte")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """At most one range."""
        view = memoryview(buffer).cast("B")
        start, end = self._position, min(self._position + len(view), self._size)
        if start >= end:
            return 0
        content = self._first[start:end] if start < len(self._first) else self._fetch(start, end - start)
        view[: len(content)] = content
        self._position += len(content)
        return len(content)
