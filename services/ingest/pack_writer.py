"""One pack: the documents that start in one range of a dump are checked, copied and indexed in one pass.

Worker processes import this module, so it stays clear of pyarrow.
"""

import json
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import md5, sha256
from io import BytesIO
from typing import Any

import numpy as np

from services.ingest.bson_elements import DamagedError, check_length
from services.ingest.bson_walk import RefusedError, walk
from services.ingest.window import Window, find_start
from shared import layout
from shared.domain.records import Record
from shared.ports import Objects

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


@dataclass(frozen=True, slots=True)
class PackPlace:
    """Where a pack goes, and where its documents may start: before `limit`."""

    dataset: str
    number: int
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PackAccount(Record):
    """What became of one pack. The next one starts at `end`, unless the walk `stopped` at one bad document too many."""

    number: int
    start: int
    end: int
    documents: int = 0
    images: int = 0
    unrecognised: int = 0
    bytes: int = 0
    digest: str = ""
    bad: tuple[tuple[int, str], ...] = ()  # (offset in the source, reason)
    stopped: bool = False


class Columns:
    """The index of a pack while it grows. Offsets count from the start of the pack, positions from the source's."""

    def __init__(self) -> None:
        self.product_id = array("q")
        self.position = array("q")
        self.offset = array("q")
        self.length = array("q")
        self.category_id = array("q")
        self.images = array("q")
        self.image_offset = array("q")
        self.image_length = array("q")
        self.image_md5 = bytearray()

    def to_npz(self) -> bytes:
        """As NumPy arrays of int64; an MD5 is two of them, as bytes."""
        arrays: dict[str, Any] = {name: np.frombuffer(values, dtype=np.int64) for name, values in vars(self).items()}
        sink = BytesIO()
        np.savez(sink, **arrays)
        return sink.getvalue()


class _TooManyBad(Exception):  # noqa: N818 (it ends a put, nobody sees it)
    pass


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
        self._advance = advance
        self._digest = sha256()

    @property
    def digest(self) -> str:
        """SHA-256 of the content so far."""
        return self._digest.hexdigest()

    def content(self) -> Iterator[bytes]:
        """The good documents, block by block. Raises what stops the pack."""
        more = True
        while more:
            begun, documents, bad = self.position, len(self.columns.product_id), len(self.bad)
            block, more = self._block()
            self._digest.update(block)
            self.written += len(block)
            self._advance(self.position - begun, len(self.columns.product_id) - documents, len(self.bad) - bad)
            yield block

    def _block(self) -> tuple[bytes, bool]:
        """The next good documents in a row, and whether the pack goes on after them."""
        window = self._window
        while True:
            data, begin = window.data, self.position - window.base
            at, reason, length = self._take_all(data, begin)
            self.position = window.base + at
            if reason:
                self._pass_over(reason, length)
            if reason or at > begin or self.position >= self._limit:
                return data[begin:at], self.position < self._limit
            window.drop(self.position)
            if not window.grow():
                left = len(window.data)
                if left:
                    self._pass_over_end(left)
                return b"", bool(left)

    def _take_all(self, data: bytes, begin: int) -> tuple[int, str, int]:
        """Take the whole good documents of `data` from `begin` on.

        Returns where they end and, if a bad document is there, why it is bad and its length, 0 if that is unknown.
        """
        at, size, limit = begin, len(data), self._limit - self._window.base
        self._shift = self.written - begin
        while at < limit and size - at >= 4:
            length = int.from_bytes(data[at : at + 4], "little", signed=True)
            try:
                check_length(length)
                if at + length > size:
                    break
                self._take(data, at, length)
            except DamagedError as error:
                return at, str(error), 0
            except RefusedError as error:
                return at, str(error), length
            at += length
        return at, "", 0

    def _take(self, data: bytes, at: int, length: int) -> None:
        product_id, category_id, image_offsets, image_lengths = walk(data, at, at + length)
        if category_id is not None:
            self._check_category(category_id)
        columns, shift = self.columns, self._shift
        columns.product_id.append(product_id)
        columns.position.append(self._window.base + at)
        columns.offset.append(at + shift)
        columns.length.append(length)
        columns.category_id.append(NO_CATEGORY if category_id is None else category_id)
        columns.images.append(len(image_offsets))
        columns.image_length.extend(image_lengths)
        for offset, size in zip(image_offsets, image_lengths, strict=True):
            picture = data[offset : offset + size]
            columns.image_offset.append(offset + shift)
            columns.image_md5 += md5(picture).digest()
            if not is_picture(picture):
                self.unrecognised += 1

    def _check_category(self, category_id: int) -> None:
        if self._rules.categories is None:
            raise RefusedError(f"it has category_id {category_id}, {NO_CATEGORIES}")
        if category_id not in self._rules.categories:
            raise RefusedError(f"category_id {category_id} is not in the category file")

    def _pass_over(self, reason: str, length: int) -> None:
        """Note the bad document at `position` and go on after it; where that is, is searched if `length` is 0."""
        head = self._window.data[:1024] if self.position == 0 and length == 0 else b""
        self._note(self.position, _kind_of_file(head) or reason)
        self.position = self.position + length if length else self._next_start()

    def _pass_over_end(self, size: int) -> None:
        """The source ends within the document at `position`, of which `size` bytes are there."""
        begun, head = self.position, self._window.data[:1024]
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
            raise _TooManyBad


def write_pack(objects: Objects, window: Window, place: PackPlace, rules: Rules, advance: Advance) -> PackAccount:
    """Write the pack at `place` from the documents that follow `window.base`, its columns, and last its account.

    Nothing is written if one bad document too many stops the walk; the account says so.
    """
    start = window.base
    walk_ = PackWalk(window, place.limit, rules, advance)
    key = layout.ingest_pack(place.dataset, place.number)
    known = _known_digest(objects, place)
    try:
        content = list(walk_.content()) if known else walk_.content()
        if walk_.digest != known:
            objects.delete(key)
            objects.put(layout.pack(place.dataset, place.number), content)
    except _TooManyBad:
        return PackAccount(number=place.number, start=start, end=walk_.position, bad=tuple(walk_.bad), stopped=True)
    objects.put(layout.ingest_columns(place.dataset, place.number), walk_.columns.to_npz())
    account = PackAccount(
        number=place.number,
        start=start,
        end=walk_.position,
        documents=len(walk_.columns.product_id),
        images=len(walk_.columns.image_length),
        unrecognised=walk_.unrecognised,
        bytes=walk_.written,
        digest=walk_.digest,
        bad=tuple(walk_.bad),
    )
    objects.put(key, json.dumps(account.plain()).encode())
    return account


def read_account(objects: Objects, dataset: str, number: int) -> PackAccount | None:
    """The account of a pack that is written, if it is."""
    key = layout.ingest_pack(dataset, number)
    return PackAccount.from_plain(json.loads(objects.read(key))) if objects.exists(key) else None


def _known_digest(objects: Objects, place: PackPlace) -> str:
    account = read_account(objects, place.dataset, place.number)
    return account.digest if account else ""


def is_picture(picture: bytes) -> bool:
    """Whether it begins like a JPEG, PNG or WebP."""
    if picture.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        return True
    return picture[:4] == b"RIFF" and picture[8:12] == b"WEBP"


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
