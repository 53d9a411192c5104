"""A moving window over a source, and the search for the next document after damage or inside a range."""

from collections.abc import Callable

from services.ingest.bson_elements import INT32, DamagedError, check_document, check_length
from services.ingest.bson_walk import START
from shared.domain.errors import FailedError
from shared.dumps import Reader

_LONGEST_START = 14  # bytes of the longest match of START


def reader_of(read: Callable[[int], bytes]) -> Reader:
    """A reader of a source that only knows `read(n)`, which gives the next 1..n bytes, none at the end."""

    def read_into(room: memoryview) -> int:
        block = read(len(room))
        room[: len(block)] = block
        return len(block)

    return read_into


class Window:
    """The bytes from `base` on of a source that is read forward in blocks, a few of them at a time.

    All positions are offsets in the source. `data[i]` is the byte at `base + i`; `drop` makes the view void, as all
    blocks share one buffer.
    """

    def __init__(self, read_into: Reader, base: int, block_bytes: int) -> None:
        """The first bytes that `read_into` gives are those at `base`."""
        self._read_into = read_into
        self._block_bytes = block_bytes
        self._room = memoryview(bytearray(block_bytes))
        self.base = base
        self.data = self._room[:0]
        self.ended = False

    @property
    def stop(self) -> int:
        """Just after the last byte read."""
        return self.base + len(self.data)

    def drop(self, position: int) -> None:
        """Forget the bytes before `position`."""
        left = self.data[position - self.base :]
        self._room[: len(left)] = left
        self.data = self._room[: len(left)]
        self.base = position

    def grow(self) -> bool:
        """Read one more block, or less where the buffer has room for less; False at the end of the source."""
        have = len(self.data)
        if have == len(self._room):
            wider = memoryview(bytearray(have + max(have, self._block_bytes)))
            wider[:have] = self.data
            self._room = wider
        count = self._read(self._room[have : have + self._block_bytes])
        self.ended = not count
        self.data = self._room[: have + count]
        return bool(count)

    def holds(self, stop: int) -> bool:
        """Read on until the bytes before `stop` are here; False if the source ends before."""
        while self.stop < stop:
            if not self.grow():
                return False
        return True

    def length(self, position: int) -> int | None:
        """The length field at `position`; None where the source ends within it."""
        if not self.holds(position + 4):
            return None
        length: int = INT32.unpack_from(self.data, position - self.base)[0]
        return length

    def _read(self, room: memoryview) -> int:
        try:
            return 0 if self.ended else self._read_into(room) or 0
        except OSError as error:
            raise FailedError(
                f"the source cannot be read on at offset {self.stop}: {error.strerror or error}"
            ) from error


def find_start(window: Window, position: int, chain: int, limit: int | None = None) -> int | None:
    """The first place from `position` on (and before `limit`) where `chain` documents follow each other without a gap,
    or fewer up to the end of the source. Bytes before the place, or the end of the search, are dropped.
    """
    while limit is None or position < limit:
        window.drop(position)
        searched = window.data
        for match in START.finditer(searched, 4):
            candidate = window.base + match.start() - 4
            if limit is not None and candidate >= limit:
                return None
            if _chains(window, candidate, chain):
                window.drop(candidate)
                return candidate
        position = max(position, window.base + len(searched) - _LONGEST_START - 3)
        if len(window.data) == len(searched) and not window.grow():
            return None
    return None


def _chains(window: Window, position: int, chain: int) -> bool:
    for _ in range(chain):
        length = window.length(position)
        if length is None:
            return window.stop == position
        try:
            check_length(length)
            if not window.holds(position + length):
                return False
            at = position - window.base
            check_document(bytes(window.data[at : at + length]), 0, length)
        except DamagedError:
            return False
        position += length
    return True
