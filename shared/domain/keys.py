"""128-bit keys (an image's MD5, a product's set of MD5s) as arrays uint64[n, 2], and counts of classes under them."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from shared.domain.digests import UInt64, mix

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

BLOCK = 2**20
"""Keys that are sorted at once: bounds the working memory of a catalog of any size to about 100 MiB."""

_BUCKET_BITS = 4
"""About 2^4 keys begin with the same bits: few enough to lie in neighbouring lines of the processor's cache."""


def blocks(keys: UInt64) -> Iterator[Int64]:
    """The rows of `keys` in blocks of about `BLOCK`, by ascending leading bits; rows ascend inside a block.

    Equal keys fall into one block, and blocks follow each other in the order of keys.
    """
    bits = np.uint64((len(keys) // BLOCK).bit_length())
    if not bits:
        yield np.arange(len(keys))
        return
    leading = (keys[:, 0] >> (np.uint64(64) - bits)).astype(np.uint32)
    for value in range(1 << int(bits)):
        yield np.flatnonzero(leading == value)


def starts(*columns: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """Where a run of equal rows starts: bool[n], for columns of n values that are sorted together."""
    first = np.ones(len(columns[0]), dtype=np.bool_)
    if len(first):
        first[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return first


def product_keys(first_image: Int64, image_md5: UInt64) -> UInt64:
    """The key of each product: a 128-bit digest of the set of its distinct MD5s, so order and repeats do not matter.

    `first_image` int64[n + 1], `image_md5` uint64[m, 2] -> uint64[n, 2]. The digest is the sum (modulo 2^64, twice) of
    scattered MD5s, which is the same in any order and needs no loop over products.
    """
    products = len(first_image) - 1
    result = np.empty((products, 2), dtype=np.uint64, order="F")
    start = 0
    while start < products:
        stop = int(np.searchsorted(first_image, first_image[start] + BLOCK, side="right")) - 1
        stop = min(max(stop, start + 1), products)
        first = first_image[start : stop + 1]
        result[start:stop] = _set_digests(first - first[0], image_md5[first[0] : first[-1]])
        start = stop
    return result


def image_digests(first_image: Int64, image_md5: UInt64) -> list[str]:
    """One digest per product of its MD5s in their order, repeats included: the first 32 hex digits of their SHA-256.

    `first_image` int64[n + 1], `image_md5` uint64[m, 2]. Equal digests: the networks see the same pictures in the same
    order, so a product's outcome is the same to the last digit, which under `product_keys` it need not be.
    """
    content = image_md5.astype(">u8").tobytes()
    return [
        hashlib.sha256(content[16 * begin : 16 * end]).hexdigest()[:32] for begin, end in pairwise(first_image.tolist())
    ]


def _set_digests(first_image: Int64, md5: UInt64) -> UInt64:
    product = np.repeat(np.arange(len(first_image) - 1), np.diff(first_image))
    order = np.lexsort((md5[:, 1], md5[:, 0], product))
    high, low = md5[order, 0], md5[order, 1]
    distinct = starts(product, high, low)
    words = (mix(high ^ mix(low)), mix(low ^ mix(~high)))
    digests = np.empty((len(first_image) - 1, 2), dtype=np.uint64)
    for column, word in enumerate(words):
        sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(np.where(distinct, word, 0), dtype=np.uint64)])
        digests[:, column] = mix(sums[first_image[1:]] - sums[first_image[:-1]])
    return digests


@dataclass(frozen=True, slots=True, eq=False)
class KeyCounts:
    """How often each class was seen under each of k keys. Entries of key i: rows `start[i]` up to `start[i + 1]`."""

    key: UInt64  # uint64[k, 2], sorted and distinct; in Fortran order, which spares `find` a copy
    first: Int64  # int64[2^b + 1], the first key of each value of their first b bits, and k
    start: Int64  # int64[k + 1]
    class_index: Int32  # int32[e], ascending under one key
    count: Int32  # int32[e], at least 1

    def __len__(self) -> int:
        return len(self.key)

    @property
    def nbytes(self) -> int:
        """Memory that its arrays take."""
        arrays = (self.key, self.first, self.start, self.class_index, self.count)
        return sum(array.nbytes for array in arrays)

    def find(self, keys: UInt64) -> Int64:
        """The row of each key, -1 for one that is not here: uint64[m, 2] -> int64[m]. Compares all 128 bits."""
        high, low = self.key[:, 0], self.key[:, 1]
        bits = keys[:, 0] >> np.uint64(65 - len(self.first).bit_length())
        place, end = self.first[bits], self.first[bits + np.uint64(1)]
        stop = end.copy()
        while (place < stop).any():  # by bisection of the few keys that begin with these bits
            middle = np.minimum((place + stop) // 2, len(high) - 1)
            halves = high[middle]
            below = halves < keys[:, 0]
            same = np.flatnonzero(halves == keys[:, 0])
            below[same] = low[middle[same]] < keys[same, 1]
            below &= place < stop
            stop = np.where(below | (place == stop), stop, middle)
            place = np.where(below, middle + 1, place)
        found = place < end
        found[found] = (self.key[place[found]] == keys[found]).all(axis=1)
        return np.where(found, place, -1)

    def entries(self, rows: Int64) -> tuple[Int64, Int32, Int32]:
        """All entries of the keys at `rows` (int64[m], -1 for none): position in `rows`, class index, count."""
        known = rows >= 0
        safe = np.where(known, rows, 0)
        begin = self.start[safe]
        lengths = np.where(known, self.start[np.minimum(safe + 1, len(self))] - begin, 0)
        position = np.repeat(np.arange(len(rows)), lengths)
        offset = np.arange(len(position)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        taken = np.repeat(begin, lengths) + offset
        return position, self.class_index[taken], self.count[taken]


class Builder:
    """Makes a KeyCounts of sorted pieces, of at most `capacity` entries together, without holding them twice."""

    def __init__(self, capacity: int) -> None:
        # Room that is not filled costs no memory: its pages are never touched.
        self._key = np.empty((capacity, 2), dtype=np.uint64, order="F")
        self._start = np.empty(capacity + 1, dtype=np.int64)
        self._class_index = np.empty(capacity, dtype=np.int32)
        self._count = np.empty(capacity, dtype=np.int32)
        self._keys = 0
        self._entries = 0

    def append(self, key: UInt64, class_index: Int32, count: Int32) -> None:
        """Add one row per key and class, sorted, all after those that are there: uint64[e, 2], int32[e], int32[e]."""
        if not len(key):
            return
        new = starts(key[:, 0], key[:, 1])
        new[0] = not self._keys or bool((key[0] != self._key[self._keys - 1]).any())
        entry = np.flatnonzero(new)
        keys, entries = self._keys + len(entry), self._entries + len(key)
        self._key[self._keys : keys] = key[entry]
        self._start[self._keys : keys] = entry + self._entries
        self._class_index[self._entries : entries] = class_index
        self._count[self._entries : entries] = count
        self._keys, self._entries = keys, entries

    def finish(self) -> KeyCounts:
        """All pieces together."""
        self._start[self._keys] = self._entries
        key = self._key[: self._keys]
        bits = max(1, self._keys.bit_length() - _BUCKET_BITS)
        edges = np.arange(1 << bits, dtype=np.uint64) << np.uint64(64 - bits)
        return KeyCounts(
            key=key,
            first=np.append(np.searchsorted(key[:, 0], edges), self._keys),
            start=self._start[: self._keys + 1],
            class_index=self._class_index[: self._entries],
            count=self._count[: self._entries],
        )


def count(keys: UInt64, class_index: Int32, counts: Int32 | None = None) -> KeyCounts:
    """Count each class under each key: uint64[m, 2], int32[m] and how often each row counts (int32[m], default 1)."""
    builder = Builder(len(keys))
    for rows in blocks(keys):
        order = rows[np.lexsort((class_index[rows], keys[rows, 1], keys[rows, 0]))]
        key, classes = keys[order], class_index[order]
        entry = np.flatnonzero(starts(key[:, 0], key[:, 1], classes))
        sums = np.diff(np.append(entry, len(order))).astype(np.int32)
        if counts is not None and len(order):
            sums = np.add.reduceat(counts[order], entry, dtype=np.int32)
        builder.append(key[entry], classes[entry], sums)
    return builder.finish()


def merge(parts: Sequence[KeyCounts]) -> KeyCounts:
    """The sums of all counts, range of keys by range of keys: beside parts and result it holds one block."""
    entries = sum(len(part.count) for part in parts)
    bits = (entries // BLOCK).bit_length()
    edges = np.arange(1, 1 << bits, dtype=np.uint64) << np.uint64(64 - bits if bits else 0)
    cuts = [np.concatenate([[0], np.searchsorted(part.key[:, 0], edges), [len(part)]]) for part in parts]
    builder = Builder(entries)
    for number in range(1 << bits):
        rows = [np.arange(cut[number], cut[number + 1]) for cut in cuts]
        found = [part.entries(at) for part, at in zip(parts, rows, strict=True)]
        key = np.concatenate([part.key[at[f[0]]] for part, at, f in zip(parts, rows, found, strict=True)])
        summed = count(key, np.concatenate([f[1] for f in found]), np.concatenate([f[2] for f in found]))
        builder.append(np.repeat(summed.key, np.diff(summed.start), axis=0), summed.class_index, summed.count)
    return builder.finish()
