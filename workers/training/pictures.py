"""Pictures straight from packs: one range read each, decoded in threads ahead of the device, kept while they fit."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from shared.domain.errors import FailedError
from shared.ports import Objects
from workers.training.dataset import Images
from workers.vision.decode import DecodeLimits, UndecodableError, decode

Rows = npt.NDArray[np.int64]
_BATCHES_AHEAD = 3  # enough to ride out a slow read, little enough to bound memory


@dataclass(frozen=True, slots=True)
class PictureBatch:
    """Decoded pictures of the rows that could be decoded, in the order asked for."""

    rows: Rows  # int64[n], rows of `Images`
    pictures: list[torch.Tensor]  # n of uint8 [h, w, 3]
    undecodable: dict[int, str]  # the other rows, with the reason

    def take(self, some: Rows) -> "PictureBatch":
        """These of the decoded ones."""
        return PictureBatch(self.rows[some], [self.pictures[place] for place in some.tolist()], {})


class Noted:
    """The parts of a batch as they go by, and what they were."""

    def __init__(self, parts: Iterable[PictureBatch], count: Callable[[Rows], int]) -> None:
        """`count` says how many units rows are of (`workers.training.units`)."""
        self._parts = parts
        self._count = count
        self.units = 0  # of which an image could be decoded
        self.seen = 0  # images that could be decoded
        self.undecodable: dict[int, str] = {}  # the others by their rows, with the reason

    def __iter__(self) -> Iterator[PictureBatch]:
        for part in self._parts:
            self.seen += len(part.rows)
            self.units += self._count(part.rows)
            self.undecodable |= part.undecodable
            yield part


class Source(Protocol):
    """What a training reads: pictures, or their precomputed features."""

    def batches(self, batches: Iterable[Rows]) -> Iterator[PictureBatch]:
        """What each batch of rows holds, in order."""


class PictureSource:
    """Reads and decodes images. Use as a context manager: leaving it ends the threads."""

    def __init__(
        self, objects: Objects, images: Images, limits: DecodeLimits, *, threads: int | None, cache_bytes: int
    ) -> None:
        """`threads` None: one per core. Up to `cache_bytes` of decoded pictures stay in memory (never evicted: an
        epoch visits every picture once, so what is kept is hit in every later epoch)."""
        self._objects = objects
        self._images = images
        self._limits = limits
        self._pool = ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="decode")
        self._cache: dict[int, torch.Tensor] = {}
        self._room = cache_bytes
        self._lock = threading.Lock()

    def __enter__(self) -> "PictureSource":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def batches(self, batches: Iterable[Rows]) -> Iterator[PictureBatch]:
        """The pictures of each batch of rows, in order; the next few batches are on their way meanwhile."""
        waiting: deque[tuple[Rows, list[Future[torch.Tensor | str]]]] = deque()
        for rows in batches:
            waiting.append((rows, [self._pool.submit(self._picture, row) for row in rows.tolist()]))
            if len(waiting) > _BATCHES_AHEAD:
                yield _collected(*waiting.popleft())
        while waiting:
            yield _collected(*waiting.popleft())

    def _picture(self, row: int) -> torch.Tensor | str:
        cached = self._cache.get(row)
        if cached is not None:
            return cached
        images = self._images
        key = images.pack_keys[images.pack[row]]
        offset, length = int(images.offset[row]), int(images.length[row])
        content = self._objects.read(key, offset, length)
        if len(content) < length:  # else it would train on less than its run id says
            raise FailedError(f"{key} ends before offset {offset + length}; restore it, or ingest again")
        try:
            picture = torch.from_numpy(decode(content, self._limits))
        except UndecodableError as error:
            return error.reason
        with self._lock:
            if picture.nbytes <= self._room:
                self._room -= picture.nbytes
                self._cache[row] = picture
        return picture


def _collected(rows: Rows, futures: list[Future[torch.Tensor | str]]) -> PictureBatch:
    found = [future.result() for future in futures]
    decoded = np.array([not isinstance(one, str) for one in found], dtype=np.bool_)
    return PictureBatch(
        rows[decoded],
        [one for one in found if isinstance(one, torch.Tensor)],
        {int(row): one for row, one in zip(rows, found, strict=True) if isinstance(one, str)},
    )
