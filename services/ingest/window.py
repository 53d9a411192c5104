"""A moving window over a source, and the search for the next document after damage or inside a range."""

from collections.abc import Callable

from services.ingest.bson_elements import DamagedError, check_document, check_length
from services.ingest.bson_walk import START
from shared.domain.errors import FailedError

_LONGEST_START = 13  # bytes of the longest match of START


class Window:
    """The bytes from `base` on of a source that is read forward in blocks, a few of them at a time.

    All positions are offsets in the source. `data[i]` is the byte at `base + i`.
    """

    def __init__(self, read: Callable[[int], bytes], base: int, block_bytes: int) -> None:
        """`read(n)` gives the next 1..n bytes, none at the end; the first are those at `base`."""
        self._read = read
        self._block_bytes = block_bytes
        self.base = base
        self.data = b""
        self.ended = False

    @property
    def stop(self) -> int:
        """Just after the last byte read."""
        return self.base + len(self.data)

    def drop(self, position: int) -> None:
        """Forget the bytes before `position`."""
        self.data = self.data[position - self.base :]
        self.base = position

    def grow(self) -> bool:
        """Read one more block; False at the end of the source."""
        try:
            block = b"" if self.ended else self._read(self._block_bytes)
        except OSError as error:
            raise FailedError(
                f"the source cannot be read on at offset {self.stop}: {error.strerror or error}"
            ) from error
        self.ended = not block
        self.data += block
        return bool(block)

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
        at = position - self.base
        return int.from_bytes(self.data[at : at + 4], "little", signed=True)


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
            check_document(window.data, position - window.base, position - window.base + length)
        except DamagedError:
            return False
        position += length
    return True
