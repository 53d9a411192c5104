"""Chunks and their decoded pictures, made ahead of the device: bounded in chunks, in pictures and in bytes."""

import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from shared.ports import Clock
from workers.scoring.chunks import Plan
from workers.vision.decode import DecodeLimits, UndecodableError, decode, decoded_bytes

_GROUPS_AHEAD = 8  # as many groups of pictures as this wait or are decoded at one time, at least


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One decoded picture, uint8 [height, width, 3], or why there is none."""

    image: int  # row of the chunk's index
    pixels: Tensor | None
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far ahead of the device to be: pictures waiting or being decoded, and the bytes they take decoded."""

    pictures: int
    bytes: int


class DecodeAhead:
    """Iterate over (plan, its pictures) in order; a thread pulls the plans, a pool decodes. Leave it to stop both.

    The pictures of a plan have to be taken before the next plan is.
    """

    def __init__(
        self, plans: Iterator[Plan], pool: ThreadPoolExecutor, limits: DecodeLimits, bounds: Bounds, clock: Clock
    ) -> None:
        self._clock = clock
        self._plans = plans
        self._pool = pool
        self._limits = limits
        self._bounds = bounds
        self._room = threading.Condition()
        self._waiting_pictures = 0
        self._waiting_bytes = 0
        self._stopped = False
        self._items: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._chunks = threading.Semaphore(2)  # one on the device and one being decoded
        self._feeder = threading.Thread(target=self._feed, name="decode-ahead", daemon=True)

    def __enter__(self) -> Self:
        self._feeder.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._room:
            self._stopped = True
            self._room.notify_all()
        self._chunks.release()
        self._feeder.join()

    def __iter__(self) -> Iterator[tuple[Plan, Iterator[Picture]]]:
        while isinstance(item := self._take(), Plan):
            pictures = self._pictures()
            yield item, pictures
            for _ in pictures:  # what the caller left
                pass
            self._chunks.release()

    def _pictures(self) -> Iterator[Picture]:
        while isinstance(item := self._take(), _Decoding):
            try:
                pictures = item.future.result()
            finally:
                with self._room:
                    self._waiting_pictures -= item.pictures
                    self._waiting_bytes -= item.bytes
                    self._room.notify_all()
            yield from pictures

    def _take(self) -> "Plan | _Decoding | None":
        item = self._items.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def _feed(self) -> None:
        try:
            while self._chunks.acquire() and not self._stopped:
                plan = next(self._plans, None)
                self._items.put(plan)
                if plan is None:
                    return
                for group in self._groups(plan):
                    if not self._submit(group):
                        return
                self._items.put(None)
        except BaseException as error:  # it belongs to whoever takes the chunks
            self._items.put(error)

    def _groups(self, plan: Plan) -> Iterator["_Group"]:
        """Pictures to decode one after another in one thread: handing each over by itself costs a third of decoding."""
        most = max(1, self._bounds.pictures // _GROUPS_AHEAD), self._bounds.bytes // _GROUPS_AHEAD
        group = _Group([], 0)
        for image in plan.pictures:
            content = plan.chunk.picture(image)
            size = decoded_bytes(content, self._limits)
            if group.contents and (len(group.contents) == most[0] or group.bytes + size > most[1]):
                yield group
                group = _Group([], 0)
            group.contents.append((image, content))
            group.bytes += size
        if group.contents:
            yield group

    def _submit(self, group: "_Group") -> bool:
        pictures = len(group.contents)
        with self._room:
            self._room.wait_for(lambda: self._stopped or self._fits(pictures, group.bytes))
            if self._stopped:
                return False
            self._waiting_pictures += pictures
            self._waiting_bytes += group.bytes
        self._items.put(_Decoding(self._pool.submit(self._decode, group.contents), pictures, group.bytes))
        return True

    def _fits(self, pictures: int, size: int) -> bool:
        if not self._waiting_pictures:
            return True
        within = self._waiting_pictures + pictures <= self._bounds.pictures
        return within and self._waiting_bytes + size <= self._bounds.bytes

    def _decode(self, contents: Sequence[tuple[int, memoryview]]) -> list[Picture]:
        return [self._decode_one(image, content) for image, content in contents]

    def _decode_one(self, image: int, content: memoryview) -> Picture:
        began = self._clock()
        try:
            pixels = torch.from_numpy(decode(content, self._limits))
        except UndecodableError as error:
            return Picture(image, None, error.reason, self._clock() - began)
        return Picture(image, pixels, "", self._clock() - began)


@dataclass(frozen=True, slots=True, eq=False)
class _Decoding:
    future: Future[list[Picture]]
    pictures: int
    bytes: int


@dataclass(slots=True)
class _Group:
    contents: list[tuple[int, memoryview]]
    bytes: int  # of the pictures when they are decoded


_Item = Plan | _Decoding | BaseException | None
