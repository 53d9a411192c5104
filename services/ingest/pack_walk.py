"""The documents of one pack: those that start in one range of a dump, checked, copied and indexed in one pass.

Worker processes import this module, so it stays clear of pyarrow.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import md5
from io import BytesIO
from typing import Any

import numpy as np

from services.ingest.bson_blocks import Bool, Int64, Products, follow, walk_all
from services.ingest.bson_elements import INT32, DamagedError, check_length
from services.ingest.bson_walk import RefusedError
from services.ingest.window import Window, find_start
from shared.domain.label_sets import Labels

NO_CATEGORY = -(2**63)  # as in shared.packs
NO_DUMP = {
    "text": "this is a text file, not a BSON dump",
    "gzip": "this is gzip data, not a BSON dump",
}
"""What a file that begins with no document is, where its first bytes tell."""
NO_CATEGORIES = "and no category file was given"
TRUNCATED = "the last document is truncated"

Advance = Callable[[int, int, int], None]
"""Told of (bytes, documents, bad documents) as a pack grows."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What makes a document good, and how many bad ones are put up with."""

    categories: frozenset[int] | None  # None: no category file
    allow_bad: int
    chain_documents: int


class Columns:
    """The index of a pack while it grows. Offsets count from the start of the pack, positions from the source's."""

    def __init__(self) -> None:
        self.product_id = bytearray()
        self.position = bytearray()
        self.offset = bytearray()
        self.length = bytearray()
        self.category_id = bytearray()
        self.images = bytearray()
        self.image_offset = bytearray()
        self.image_length = bytearray()
        self.image_md5 = bytearray()
        self.sets: dict[int, Labels] = {}  # every label set of the pack, by its number

    def __len__(self) -> int:
        return len(self.product_id) // 8

    def add(self, **more: Int64 | bytes) -> None:
        """Append to every column: int64[n or m], or m MD5s."""
        for name, values in more.items():
            column: bytearray = getattr(self, name)
            column += values if isinstance(values, bytes) else values.tobytes()

    def to_npz(self) -> bytes:
        """As NumPy arrays of int64; an MD5 is two of them, as bytes."""
        columns = {name: values for name, values in vars(self).items() if name != "sets"}
        arrays: dict[str, Any] = {name: np.frombuffer(values, dtype=np.int64) for name, values in columns.items()}
        arrays["sets"] = np.frombuffer(json.dumps(list(self.sets.items())).encode(), dtype=np.uint8)
        sink = BytesIO()
        np.savez(sink, **arrays)
        return sink.getvalue()


class TooManyBad(Exception):  # noqa: N818 (it ends a put)
    """One bad document more than is put up with."""


class PackWalk:
    """The walk over the documents of one pack: `content` gives the pack's bytes and fills `columns` and `bad`."""

    def __init__(self, window: Window, limit: int, rules: Rules, advance: Advance) -> None:
        self.columns = Columns()
        self.bad: list[tuple[int, str]] = []
        self.unrecognised = 0
        self.written = 0
        self.position = window.base
        self._shift = 0  # from a place in the window to its place in the pack
        self._window = window
        self._limit = limit
        self._rules = rules
        self._categories = None if rules.categories is None else np.array(sorted(rules.categories), dtype=np.int64)
        self._advance = advance

    def content(self) -> Iterator[bytes | memoryview]:
        """The good documents in blocks, each void when the next is asked for. Raises what stops the pack."""
        more = True
        while more:
            begun, documents, bad = self.position, len(self.columns), len(self.bad)
            block, more = self._block()
            self.written += len(block)
            self._advance(self.position - begun, len(self.columns) - documents, len(self.bad) - bad)
            yield block

    def _block(self) -> tuple[bytes | memoryview, bool]:
        """The next good documents in a row, and whether the pack goes on after them."""
        window = self._window
        while True:
            data, begin = window.data, self.position - window.base
            at, reason, length = self._take_all(data, begin)
            self.position = window.base + at
            if reason:
                block = bytes(data[begin:at])  # the search for the next document makes the view void
                self._pass_over(reason, length)
                return block, self.position < self._limit
            if at > begin or self.position >= self._limit:
                return data[begin:at], self.position < self._limit
            window.drop(self.position)
            if not window.grow():
                left = len(window.data)
                if left:
                    self._pass_over_end(left)
                return b"", bool(left)

    def _take_all(self, data: memoryview, begin: int) -> tuple[int, str, int]:
        """Take the whole good documents of `data` from `begin` on.

        Returns where they end and, if a bad document is there, why it is bad and its length, 0 if that is unknown.
        """
        at, limit = begin, self._limit - self._window.base
        self._shift = self.written - begin
        while at < limit and len(data) - at >= 4:
            places = follow(data, at, limit)
            if len(places) == 1:
                try:
                    check_length(INT32.unpack_from(data, at)[0])
                except DamagedError as error:
                    return at, str(error), 0
                break
            products, fault = self._checked(*walk_all(data, places))
            self._take(data, places[: len(products) + 1], products)
            at = int(places[len(products)])
            if fault:
                length = int(places[len(products) + 1]) - at
                return at, str(fault), length if isinstance(fault, RefusedError) else 0
        return at, "", 0

    def _checked(self, products: Products, fault: Exception | None) -> tuple[Products, Exception | None]:
        """The products up to the first whose category is refused, and the fault that comes first."""
        refused = products.labelled
        if self._categories is not None:
            refused = refused & ~np.isin(products.category_id, self._categories)
            for row, labels in products.labels.items():
                refused[row] = bool(self._unknown(labels))
        if not refused.any():
            return products, fault
        row = int(refused.argmax())
        name, given = "category_id", [int(products.category_id[row])]
        if row in products.labels:
            name, given = "category_ids", list(products.labels[row])
        words = ", ".join(map(str, given if self._categories is None else self._unknown(given)))
        if self._categories is None:
            return products.first(row), RefusedError(f"it has {name} {words}, {NO_CATEGORIES}")
        return products.first(row), RefusedError(f"{name} {words} is not in the category file")

    def _unknown(self, labels: Iterable[int]) -> list[int]:
        return [label for label in labels if label not in (self._rules.categories or ())]

    def _take(self, data: memoryview, places: Int64, products: Products) -> None:
        """Note the products, which lie in `data` from each place to the next."""
        pictures = list(zip(products.image_offset.tolist(), products.image_length.tolist(), strict=True))
        self.columns.add(
            product_id=products.product_id,
            position=places[:-1] + self._window.base,
            offset=places[:-1] + self._shift,
            length=np.diff(places),
            category_id=np.where(products.labelled, products.category_id, NO_CATEGORY),
            images=products.images,
            image_offset=products.image_offset + self._shift,
            image_length=products.image_length,
            image_md5=b"".join([md5(data[at : at + size]).digest() for at, size in pictures]),
        )
        for row, labels in products.labels.items():
            self.columns.sets[int(products.category_id[row])] = labels
        for row in np.flatnonzero(~_are_jpegs(data, products)).tolist():
            at, size = pictures[row]
            self.unrecognised += not is_picture(bytes(data[at : at + min(size, 12)]))

    def _pass_over(self, reason: str, length: int) -> None:
        """Note the bad document at `position` and go on after it; where that is, is searched if `length` is 0."""
        head = bytes(self._window.data[:1024]) if self.position == 0 and length == 0 else b""
        self._note(self.position, _kind_of_file(head) or reason)
        self.position = self.position + length if length else self._next_start()

    def _pass_over_end(self, size: int) -> None:
        """The source ends within the document at `position`, of which `size` bytes are there."""
        begun, head = self.position, bytes(self._window.data[:1024])
        length = int.from_bytes(head[:4], "little", signed=True)
        self.position = self._next_start()
        if self.position < self._window.stop:
            reason = f"its length field ({length}) runs past the end of the dump"
        elif size < 4:
            reason = f"{TRUNCATED}: {size} bytes are left, too few for a length field"
        else:
            reason = f"{TRUNCATED}: {size} of its {length} bytes are there"
        self._note(begun, (_kind_of_file(head) if begun == 0 else "") or reason)

    def _next_start(self) -> int:
        found = find_start(self._window, self.position + 1, self._rules.chain_documents)
        return self._window.stop if found is None else found

    def _note(self, offset: int, reason: str) -> None:
        self.bad.append((offset, reason))
        if len(self.bad) > self._rules.allow_bad:
            raise TooManyBad


def is_picture(picture: bytes) -> bool:
    """Whether it begins like a JPEG, PNG or WebP."""
    if picture.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        return True
    return picture[:4] == b"RIFF" and picture[8:12] == b"WEBP"


def _are_jpegs(data: memoryview, products: Products) -> Bool:
    """Which images of `data` begin like a JPEG: bool[m]. A document ends 3 bytes after its last image or later."""
    content, at = np.frombuffer(data, dtype=np.uint8), products.image_offset
    begin_so: Bool = (content[at] == 0xFF) & (content[at + 1] == 0xD8) & (content[at + 2] == 0xFF)
    return begin_so & (products.image_length >= 3)


def _kind_of_file(head: bytes) -> str:
    if head.startswith(b"\x1f\x8b"):
        return NO_DUMP["gzip"]
    return NO_DUMP["text"] if head and b"\0" not in head and _is_text(head) else ""


def _is_text(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4  # a character cut in half at the end
    return True
