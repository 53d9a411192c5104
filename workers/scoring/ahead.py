"""Chunks and their decoded pictures, made ahead of the device: bounded in chunks, in pictures and in bytes."""

import math
import queue
import threading
from collections import deque
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from shared.ports import Clock
from workers.scoring.chunks import Plan
from workers.scoring.groups import Decoded, Group, decode_group, shape_of
from workers.vision.decode import DecodeLimits, Header, Pixels, UndecodableError, read_header


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far ahead of the device to be: pictures waiting or being decoded, and the bytes they take decoded.

    They are that many in `groups` groups at least, each of which one thread decodes.
    """

    pictures: int
    bytes: int
    groups: int


@dataclass(frozen=True, slots=True)
class BatchShape:
    """How many pictures of a plan make a batch, and at which sizes (pixels of a side) they are taken as they are."""

    images: int
    sizes: Collection[int]


class DecodeAhead:
    """Iterate over (plan, its pictures) in order; a thread pulls the plans, a pool decodes. Leave it to stop both.

    The pictures of a plan have to be taken before the next plan is. Who decodes makes the groups too: a thread that
    does nothing else would take its turns on the cores of those. With `helps`, who would have to wait for pictures
    decodes as well: on a CPU, where the pool has one thread less than there are cores, and more would take turns.
    """

    def __init__(
        self,
        plans: Iterator[Plan],
        pool: ThreadPoolExecutor,
        limits: DecodeLimits,
        bounds: Bounds,
        clock: Clock,
        *,
        threads: int,
        helps: bool,
        batches: BatchShape,
    ) -> None:
        """`threads` are the pool's."""
        self._clock = clock
        self._plans = plans
        self._pool = pool
        self._threads = threads
        self._helps = helps
        self._shape = batches
        self._free_batches: dict[int, deque[Pixels]] = {size: deque() for size in batches.sizes}
        self._limits = limits
        self._bounds = bounds
        self._lock = threading.Lock()  # for what follows, up to the queue
        self._waiting_pictures = 0
        self._waiting_bytes = 0
        self._decoding = 0  # of the pool's threads
        self._stopped = False
        self._pulled: deque[Plan | BaseException | None] = deque()
        self._groups: Iterator[Group] | None = None  # of the plan that was begun last; None: of none
        self._next: Group | None = None  # for which there was no room
        self._items: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._current: Pixels | None = None  # the batch of the last group that was taken
        self._free: deque[Pixels] = deque()  # memory of groups that were taken: new memory costs a third of decoding
        self._chunks = threading.Semaphore(2)  # one on the device and one being decoded
        self._puller = threading.Thread(target=self._pull, name="decode-ahead", daemon=True)

    def __enter__(self) -> Self:
        self._puller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._stopped = True
        self._chunks.release()
        self._puller.join()

    @property
    def waiting(self) -> int:
        """Pictures that are decoded, or will be, and were not taken."""
        return self._waiting_pictures

    def __iter__(self) -> Iterator[tuple[Plan, Iterator[Decoded]]]:
        while isinstance(item := self._take(), Plan):
            groups = self._groups_taken()
            yield item, groups
            for _ in groups:  # what the caller left
                pass
            self._give_back(self._current)
            self._current = None
            self._chunks.release()

    def _groups_taken(self) -> Iterator[Decoded]:
        while isinstance(item := self._take(), _Decoding):
            if item.group.batch is not self._current:
                self._give_back(self._current)
                self._current = item.group.batch
            try:
                while self._helps and not item.future.done() and self._decode_next():
                    pass
                decoded, memory = item.future.result()
            finally:
                with self._lock:
                    self._waiting_pictures -= len(item.group.contents)
                    self._waiting_bytes -= item.group.bytes
                    self._wake()
            yield decoded
            if memory is not None:
                self._free.append(memory)

    def _give_back(self, batch: Pixels | None) -> None:
        if batch is not None:
            self._free_batches[batch.shape[1]].append(batch)

    def _take(self) -> "Plan | _Decoding | None":
        while self._helps and self._items.empty() and self._decode_next():
            pass
        item = self._items.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def _pull(self) -> None:
        pulled: Plan | BaseException | None
        while self._chunks.acquire() and not self._stopped:
            try:
                pulled = next(self._plans, None)
            except BaseException as error:  # it belongs to whoever takes the chunks
                pulled = error
            with self._lock:
                self._pulled.append(pulled)
                if self._groups is None:
                    self._begin()
                self._wake()
            if not isinstance(pulled, Plan):
                return

    def _begin(self) -> None:
        """The plan that was pulled next, if there is one. Under the lock, as are those that follow."""
        if self._pulled:
            self._items.put(plan := self._pulled.popleft())
            self._groups = self._groups_of(plan) if isinstance(plan, Plan) else None

    def _wake(self) -> None:
        """Threads of the pool that have ended since there was nothing to decode, or no room."""
        if self._groups is not None:
            for _ in range(self._threads - self._decoding):
                self._decoding += 1
                self._pool.submit(self._decode)

    def _decode(self) -> None:
        """What a thread of the pool does, as long as there is anything."""
        while True:
            with self._lock:
                item = self._form()
                if item is None:
                    self._decoding -= 1
                    return
            self._decode_one(item)

    def _decode_next(self) -> bool:
        """Whether there was a group, and room for it."""
        with self._lock:
            item = self._form()
        if item is not None:
            self._decode_one(item)
        return item is not None

    def _decode_one(self, item: "_Decoding") -> None:
        try:
            item.future.set_result(decode_group(item.group, self._memory, self._limits, self._clock))
        except BaseException as error:  # it belongs to whoever takes the group
            item.future.set_exception(error)

    def _form(self) -> "_Decoding | None":
        """The next group, if there is one and room for it."""
        while self._groups is not None and not self._stopped:
            try:
                self._next = self._next or next(self._groups, None)
            except BaseException as error:  # it belongs to whoever takes the chunks
                self._groups = None
                self._items.put(error)
                return None
            if self._next is None:
                self._groups = None
                self._items.put(None)
                self._begin()
            elif self._fits(len(self._next.contents), self._next.bytes):
                item, self._next = _Decoding(Future(), self._next), None
                self._waiting_pictures += len(item.group.contents)
                self._waiting_bytes += item.group.bytes
                self._items.put(item)
                return item
            else:
                return None
        return None

    def _groups_of(self, plan: Plan) -> Iterator[Group]:
        """Pictures to decode one after another in one thread: handing each over by itself costs a third of decoding."""
        most = max(1, self._bounds.pictures // self._bounds.groups), self._bounds.bytes // self._bounds.groups
        group, batch = Group(0, [], [], 0, None), None
        for place, content in enumerate(plan.chunk.pictures(plan.pictures)):
            header = self._header(content)
            size = math.prod(shape_of(header))
            begins = place % self._shape.images == 0
            if group.contents and (begins or len(group.contents) == most[0] or group.bytes + size > most[1]):
                yield group
                group = Group(place, [], [], 0, batch)
            if begins:
                group.batch = batch = self._batch(header)
            group.contents.append(content)
            group.headers.append(header)
            group.bytes += size
        if group.contents:
            yield group

    def _header(self, content: memoryview) -> Header | None:
        try:
            return read_header(content, self._limits)
        except UndecodableError:  # it is told where the others are decoded
            return None

    def _batch(self, header: Header | None) -> Pixels | None:
        """Memory of a batch whose first picture this is, where it can be taken as it is."""
        height, width, _ = shape_of(header)
        if height != width or height not in self._shape.sizes:
            return None
        try:
            return self._free_batches[height].popleft()
        except IndexError:
            return np.empty((self._shape.images, height, width, 3), np.uint8)

    def _fits(self, pictures: int, size: int) -> bool:
        if not self._waiting_pictures:
            return True
        within = self._waiting_pictures + pictures <= self._bounds.pictures
        return within and self._waiting_bytes + size <= self._bounds.bytes

    def _memory(self, size: int) -> Pixels:
        """At least `size` bytes."""
        try:
            memory = self._free.popleft()
        except IndexError:
            return np.empty(size, np.uint8)
        return memory if len(memory) >= size else np.empty(size, np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class _Decoding:
    future: Future[tuple[Decoded, Pixels | None]]
    group: Group


_Item = Plan | _Decoding | BaseException | None
