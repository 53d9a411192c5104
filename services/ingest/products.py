"""Which products of a dump are repeated, and the digest of all, in memory that no number of them changes.

The records of each pack are sorted into a temporary file of 32 bytes per product, whose runs are then merged.
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b, sha256
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from shared.packs import Int64, PackIndex

Records = npt.NDArray[Any]
_RECORD = np.dtype([("id", "<i8"), ("content", "V16"), ("place", "<i8")])
_DIGESTED = np.dtype([("id", "<i8"), ("content", "V16")])
_MERGED = 2**17  # records in memory, of all runs together


def content_digests(index: PackIndex) -> npt.NDArray[Any]:
    """A 16-byte digest of the category and the image MD5s, in order, of each product: V16[n]."""
    category = index.category_id.astype("<i8").tobytes()
    md5s = index.image_md5.astype(">u8").tobytes()
    first = (index.first_image * 16).tolist()
    digests = (
        blake2b(category[8 * i : 8 * i + 8] + md5s[first[i] : first[i + 1]], digest_size=16).digest()
        for i in range(len(index))
    )
    return np.frombuffer(b"".join(digests), dtype="V16")


class Products:
    """What is to be known of all products of a dump together."""

    def __init__(self, indexes: Iterable[PackIndex]) -> None:
        """`indexes` of the packs in dump order."""
        digest = sha256()
        again: list[Records] = []
        first: list[Records] = []
        last = np.empty(0, dtype=_RECORD)  # where the id of the record before came first
        with TemporaryFile() as file:
            for records in _merged(file, _write(file, indexes)):
                some = np.concatenate([last, records])
                starts = np.flatnonzero(np.concatenate([[True], some["id"][1:] != some["id"][:-1]]))
                group = np.repeat(starts, np.diff(np.append(starts, len(some))))
                repeated = np.flatnonzero(group != np.arange(len(some)))
                again.append(some[repeated])
                first.append(some[group[repeated]])
                digest.update(_digested(some[starts[len(last) :]]))
                last = some[starts[-1:]]
        self._fingerprint = digest.hexdigest()
        repeats, firsts = (np.concatenate([np.empty(0, dtype=_RECORD), *found]) for found in (again, first))
        order = np.lexsort((repeats["place"], repeats["id"]))
        self.repeated: Int64 = repeats["place"][order]
        """Places in the dump of products whose id came before, by id, then place."""
        self.first: Int64 = firsts["place"][order]
        """The place where each of them came first."""
        self.conflicting = (repeats["content"] != firsts["content"])[order]

    def fingerprint(self) -> str:
        """A digest over (id, category, image MD5s) of the products that are kept, sorted by id."""
        return self._fingerprint


def _write(file: IO[bytes], indexes: Iterable[PackIndex]) -> list[int]:
    """Write the records of each pack, sorted by id, then place; how many each has."""
    counts: list[int] = []
    for index in indexes:
        records = np.empty(len(index), dtype=_RECORD)
        records["id"], records["content"] = index.product_id, content_digests(index)
        records["place"] = sum(counts) + np.arange(len(index))
        file.write(records[np.argsort(records["id"], kind="stable")].tobytes())
        counts.append(len(index))
    return counts


def _merged(file: IO[bytes], counts: list[int]) -> Iterator[Records]:
    """All records by id, those of one id from the first place on, in arrays that are not empty."""
    ends = np.cumsum(counts, dtype=np.int64).tolist()
    at = [end - count for end, count in zip(ends, counts, strict=True)]
    held = [np.empty(0, dtype=_RECORD)] * len(counts)
    most = max(1, _MERGED // max(1, len(counts)))
    while True:
        for run, end in enumerate(ends):
            if not len(held[run]) and at[run] < end:
                stop = min(end, at[run] + most)
                file.seek(at[run] * _RECORD.itemsize)
                held[run] = np.frombuffer(file.read((stop - at[run]) * _RECORD.itemsize), dtype=_RECORD)
                at[run] = stop
        if not any(map(len, held)):
            return
        unread = [records["id"][-1] for run, records in enumerate(held) if at[run] < ends[run]]
        sure = min(unread, default=None)  # what is still to be read is greater, or another of that run's last
        taken = [len(one) if sure is None else int(np.searchsorted(one["id"], sure, side="right")) for one in held]
        records = np.concatenate([one[:count] for one, count in zip(held, taken, strict=True)])
        held = [one[count:] for one, count in zip(held, taken, strict=True)]
        yield records[np.argsort(records["id"], kind="stable")]


def _digested(records: Records) -> bytes:
    kept = np.empty(len(records), dtype=_DIGESTED)
    kept["id"], kept["content"] = records["id"], records["content"]
    return kept.tobytes()
