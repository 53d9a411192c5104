"""Dividing a dataset into chunks, and a chunk into its children. Arrays are those of a pack index (n products)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.domain.digests import digest
from shared.domain.errors import ConflictError
from shared.domain.records import Chunk

SPLIT_CHILDREN = 8
"""One bad product among 4,096 is alone after 4 splits; twice as many children would save one."""

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PackProducts:
    """Where the products of one pack lie: offsets and lengths int64[n] in bytes, `first_image` int64[n + 1]."""

    number: int
    offset: Int64
    length: Int64
    first_image: Int64

    def __len__(self) -> int:
        return len(self.offset)


def chunk_id(job: str, pack: int, offset: int, length: int) -> str:
    """A chunk's id: a digest of where it lies, so that inserting it again changes nothing."""
    return digest([job, pack, offset, length], length=24)


def plan(job: str, packs: Iterable[PackProducts], chunk_images: int) -> Iterator[Chunk]:
    """The chunks of a job in dump order: whole products, at most `chunk_images` images, or one larger product."""
    if chunk_images < 1:
        raise ValueError(f"chunk_images must be positive, not {chunk_images}")
    position = 0
    for pack in packs:
        start = 0
        while start < len(pack):
            limit = pack.first_image[start] + chunk_images
            stop = int(np.searchsorted(pack.first_image, limit, side="right")) - 1
            stop = min(max(stop, start + 1), len(pack))
            yield _chunk(job, pack, start, stop, position=position + start)
            start = stop
        position += len(pack)


def cuts(chunk: Chunk) -> tuple[int, ...]:
    """Where a split divides `chunk`: the positions of the first products of at most eight children of equal size."""
    if chunk.products < 2:
        raise ConflictError(f"chunk {chunk.id} holds one product and cannot be split")
    parts = min(SPLIT_CHILDREN, chunk.products)
    return tuple(chunk.position + chunk.products * part // parts for part in range(parts))


def children(parent: Chunk, pack: PackProducts) -> list[Chunk]:
    """The children of a split chunk, the same whenever they are computed; `pack` is the one that holds it."""
    first = locate(parent, pack)
    ends = (*parent.cuts[1:], parent.position + parent.products)
    return [
        _chunk(
            parent.job,
            pack,
            first + begin - parent.position,
            first + end - parent.position,
            position=begin,
            parent=parent.id,
            solo=True,
            done_before=parent.done_before,
        )
        for begin, end in zip(parent.cuts, ends, strict=True)
    ]


def in_order(waiting: Iterable[Chunk]) -> list[Chunk]:
    """What was never lost goes first, by position; what runs alone follows, the least lost and the largest first.

    So whatever still works gets done before a chunk is blamed again, and brothers before the parts of a lost one.
    """
    return sorted(waiting, key=lambda chunk: (chunk.solo, chunk.losses, -chunk.products * chunk.solo, chunk.position))


def locate(chunk: Chunk, pack: PackProducts) -> int:
    """The row of the chunk's first product in its pack's index."""
    row = int(np.searchsorted(pack.offset, chunk.offset))
    if row + chunk.products > len(pack) or int(pack.offset[row]) != chunk.offset:
        raise ConflictError(f"chunk {chunk.id} does not lie in the index of pack {chunk.pack}")
    return row


def _chunk(job: str, pack: PackProducts, start: int, stop: int, *, position: int, **more: Any) -> Chunk:
    offset = int(pack.offset[start])
    length = int(pack.offset[stop - 1] + pack.length[stop - 1]) - offset
    return Chunk(
        id=chunk_id(job, pack.number, offset, length),
        job=job,
        pack=pack.number,
        offset=offset,
        length=length,
        position=position,
        products=stop - start,
        images=int(pack.first_image[stop] - pack.first_image[start]),
        **more,
    )
