"""Many product documents at once: the layout that dumps nearly always have is checked by array operations, byte by byte
as `bson_walk` does, and every other document goes to `bson_walk`, which alone decides what is bad.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from services.ingest.bson_elements import INT32, MAX_DOCUMENT, MIN_DOCUMENT, DamagedError
from services.ingest.bson_walk import RefusedError, Walked, walk
from shared.domain.label_sets import Labels, set_id

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
_MOST = 1024  # documents at once: enough to make array operations cheap, few to walk again after a bad one
_SHORTEST = 48  # bytes of a document that the pieces below may be laid over


def _word(content: bytes) -> int:
    """The integer that these bytes are in memory: names are compared as numbers, which is fastest."""
    return int.from_bytes(content, "little")


def _record(*fields: tuple[str, str, int]) -> np.dtype[Any]:
    names, formats, offsets = zip(*fields, strict=True)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets})


def _head(value: str) -> np.dtype[Any]:
    imgs = 9 + int(value[-1])
    return _record(
        ("name", "<u4", 5),
        ("id", value, 9),
        ("imgs", "<u4", imgs),
        ("imgs_end", "<u4", imgs + 2),
        ("array", "<i4", imgs + 6),
    )


def _tail(value: str) -> np.dtype[Any]:
    end = 15 + int(value[-1])
    return _record(("start", "<u8", 0), ("name_end", "<u8", 7), ("category", value, 15), ("end", "u1", end))


# The usual layout is `_id`, `imgs`, `category_id?` and nothing else, in these pieces:
#   head   length, \x10 _id\0 value, \x04 imgs\0 length of the array; then the first image
#   image  \0, \x03 figure \0 length, \x05 picture\0 size subtype; then the picture. Its first \0 is the end of the
#          image before it, or else the highest byte of the array's length
#   tail   \0 of the last image, \0 of the array, \x10 category_id\0 value, \0
_INTEGERS = {0x10: "<i4", 0x12: "<i8"}  # element types of `_id` and `category_id`
_HEADS = {kind: _head(value) for kind, value in _INTEGERS.items()}
_ID, _IMGS, _IMGS_END = _word(b"_id\0"), _word(b"\x04img"), _word(b"mgs\0")
_IMAGE = _record(
    ("start", "<u4", 0),
    ("inner", "<i4", 4),
    ("name", "<u8", 8),
    ("end", "u1", 16),
    ("size", "<i4", 17),
    ("kind", "u1", 21),
)
_STARTS = np.array([_word(b"\0\x03%d\0" % number) for number in range(10)], dtype="<u4")
_PICTURE = _word(b"\x05picture")
_INT32 = np.dtype("<i4")
_BARE_TAIL = _record(("ends", "<u2", 0), ("end", "u1", 2))
_TAILS = {kind: _tail(value) for kind, value in _INTEGERS.items()}
_TAIL_STARTS = {kind: _word(b"\0\0%ccateg" % kind) for kind in _INTEGERS}
_TAIL_NAME_END = _word(b"gory_id\0")


@dataclass(frozen=True, slots=True)
class Products:
    """n products in a row with m images. Offsets are places in the buffer that was walked."""

    product_id: Int64  # int64[n]
    category_id: Int64  # int64[n], 0 where there is none, the number of its set where there are several
    labelled: Bool  # bool[n], whether there is one
    images: Int64  # int64[n]
    image_offset: Int64  # int64[m], by product
    image_length: Int64  # int64[m]
    labels: Mapping[int, Labels] = field(default_factory=dict)  # by row, of those that have a set

    def __len__(self) -> int:
        return len(self.product_id)

    def first(self, count: int) -> "Products":
        """The first `count` products."""
        images = int(self.images[:count].sum())
        return Products(
            self.product_id[:count],
            self.category_id[:count],
            self.labelled[:count],
            self.images[:count],
            self.image_offset[:images],
            self.image_length[:images],
            {row: labels for row, labels in self.labels.items() if row < count},
        )


def follow(data: memoryview, start: int, limit: int) -> Int64:
    """Where the whole documents of `data` begin, by their length fields, from `start` on, and last where they end.

    Stops before a length that no document has, at `limit`, and after about a thousand documents: int64[1 or more].
    """
    unpack = INT32.unpack_from
    places = [start]
    at, stop = start, min(limit, len(data) - 3)
    for _ in range(_MOST):
        if at >= stop:
            break
        (length,) = unpack(data, at)
        if not MIN_DOCUMENT <= length <= MAX_DOCUMENT:
            break
        at += length
        places.append(at)
    if at > len(data):
        places.pop()
    return np.array(places, dtype=np.int64)


def walk_all(data: memoryview, places: Int64) -> tuple[Products, DamagedError | RefusedError | None]:
    """The products of the documents `data[places[i]:places[i + 1]]` up to the first bad one, and its fault."""
    found = _Found(len(places) - 1)
    rows = np.flatnonzero(places[1:] - places[:-1] >= _SHORTEST)
    kinds = np.frombuffer(data, dtype=np.uint8)[places[rows] + 4]
    for kind in _INTEGERS:
        some = rows[kinds == kind]
        if len(some):
            _walk_usual(data, kind, some, places, found)
    for row in np.flatnonzero(~found.good).tolist():
        begin, end = places[row : row + 2].tolist()
        try:
            found.add(row, begin, walk(bytes(data[begin:end]), 0, end - begin))
        except (DamagedError, RefusedError) as error:
            return found.products().first(row), error
    return found.products(), None


class _Found:
    """What is known of n documents so far; `good` says of which."""

    def __init__(self, count: int) -> None:
        self.good = np.zeros(count, dtype=np.bool_)
        self.product_id = np.zeros(count, dtype=np.int64)
        self.category_id = np.zeros(count, dtype=np.int64)
        self.labelled = np.zeros(count, dtype=np.bool_)
        self.labels: dict[int, Labels] = {}
        nothing = np.zeros(0, dtype=np.int64)
        self.images: list[tuple[Int64, Int64, Int64]] = [(nothing, nothing, nothing)]  # rows, offsets, lengths

    def add(self, row: int, begin: int, walked: Walked) -> None:
        """A document at `begin` that was walked alone."""
        product_id, category, offsets, lengths = walked
        self.product_id[row] = product_id
        self.labelled[row] = category is not None
        if isinstance(category, tuple):
            self.labels[row], category = category, set_id(category)
        self.category_id[row] = category or 0
        self.images.append((np.full(len(offsets), row), np.array(offsets) + begin, np.array(lengths)))

    def products(self) -> Products:
        """The documents in order; of those that are not good everything but their place is unknown."""
        rows, offset, length = (np.concatenate(some) for some in zip(*self.images, strict=True))
        order = offset.argsort()
        images = np.bincount(rows, minlength=len(self.good))
        return Products(
            self.product_id, self.category_id, self.labelled, images, offset[order], length[order], self.labels
        )


def _walk_usual(data: memoryview, kind: int, rows: Int64, places: Int64, found: _Found) -> None:
    """Find those of the documents `rows`, whose `_id` is of this kind, that have the usual layout."""
    start, end = places[rows], places[rows + 1]
    head = _records(data, start, _HEADS[kind])
    key = start + _HEADS[kind].itemsize
    last = key - 5 + head["array"]  # the zero at the array's end
    good = (head["name"] == _ID) & (head["imgs"] == _IMGS) & (head["imgs_end"] == _IMGS_END)
    good &= _walk_tails(data, rows, last - 1, end, found)
    if not good.all():
        rows, key, last, head = rows[good], key[good], last[good], head[good]
    found.product_id[rows] = head["id"]
    found.good[rows], (image_rows, offset, length) = _walk_images(data, key, last)
    image_rows = rows[image_rows]
    if not found.good.all():
        kept = found.good[image_rows]
        image_rows, offset, length = image_rows[kept], offset[kept], length[kept]
    found.images.append((image_rows, offset, length))


def _walk_tails(data: memoryview, rows: Int64, start: Int64, end: Int64, found: _Found) -> Bool:
    """What lies from the end of each last image on; whether it is usual."""
    left = end - start
    good: Bool = left == _BARE_TAIL.itemsize
    if good.any():
        tail = _records(data, start[good], _BARE_TAIL)
        good[good] = (tail["ends"] == 0) & (tail["end"] == 0)
    for kind, record in _TAILS.items():
        some = np.flatnonzero(left == record.itemsize)
        if len(some):
            tail = _records(data, start[some], record)
            named = (tail["start"] == _TAIL_STARTS[kind]) & (tail["name_end"] == _TAIL_NAME_END)
            good[some] = named & (tail["end"] == 0)
            found.labelled[rows[some]] = True
            found.category_id[rows[some]] = tail["category"]
    return good


def _walk_images(data: memoryview, key: Int64, last: Int64) -> tuple[Bool, tuple[Int64, Int64, Int64]]:
    """The arrays from their first key up to `last`: which are usual, and the row, offset and length of each image.

    First the inner lengths are followed, then what lies there is checked at once.
    """
    ends = np.zeros(len(key), dtype=np.int64)
    rows, keys, stop = [np.arange(len(key))], [key], last
    while len(key):
        after = key + 3 + _records(data, key + 3, _INT32)
        ends[rows[-1]] = after
        more = np.flatnonzero((after > key) & (after + _IMAGE.itemsize < stop))
        if len(keys) == len(_STARTS) or not len(more):
            break
        key, stop = after[more], stop[more]
        rows.append(rows[-1][more])
        keys.append(key)
    row, key = np.concatenate(rows), np.concatenate(keys)
    image = _records(data, key - 1, _IMAGE)
    size = image["size"].astype(np.int64)
    sound = image["start"] == np.repeat(_STARTS[: len(keys)], [len(some) for some in keys])
    sound &= (image["name"] == _PICTURE) & (image["end"] == 0) & (image["kind"] == 0)
    sound &= (size > 0) & (image["inner"] == size + 19)  # 18 bytes before the picture, and its end
    good = ends == last
    if not sound.all():
        good[row[~sound]] = False
    return good, (row, key + 21, size)


def _records(data: memoryview, places: Int64, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """The bytes from each place on, as records of this kind."""
    size = kind.itemsize
    anywhere: npt.NDArray[Any] = np.ndarray((len(data) - size + 1,), f"V{size}", data, strides=(1,))
    return anywhere[places].view(kind)
