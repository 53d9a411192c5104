"""The engines that a worker keeps in memory: as many as fit, the least recently used ones go."""

import atexit
import gc
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

from shared.domain.errors import FailedError
from shared.ports import Clock

log = logging.getLogger(__name__)


class Kept(Protocol):
    """What is kept: how much memory its weights and tables take, and how it is let go."""

    @property
    def bytes(self) -> int:
        """Of weights and tables."""

    def close(self) -> None:
        """Free it."""


E = TypeVar("E", bound=Kept)
Loaded = Callable[[float, int], None]
"""Told after each loading: the seconds it took, and the bytes that are kept now."""


class Residents(Generic[E]):
    """Engines by key, at most `limit_bytes` together; the one in use stays whatever its size. For one thread."""

    def __init__(self, limit_bytes: int, on_loaded: Loaded = lambda *_: None, *, clock: Clock = time.monotonic) -> None:
        self._limit = limit_bytes
        self._on_loaded = on_loaded
        self._clock = clock
        self._engines: OrderedDict[Hashable, E] = OrderedDict()

    def get(self, key: Hashable) -> E | None:
        """The engine, if it is in memory."""
        return self._engines.get(key)

    def use(self, key: Hashable, load: Callable[[], E]) -> E:
        """The engine in memory, or the one that `load` makes; raises what that raises."""
        if key not in self._engines:
            began = self._clock()
            self._engines[key] = self._load(load)
            while self.bytes > self._limit and len(self._engines) > 1:
                self._let_go(self._engines.popitem(last=False)[1])
            keep_from_collection()
            self._on_loaded(self._clock() - began, self.bytes)
        self._engines.move_to_end(key)
        return self._engines[key]

    def drop(self, key: Hashable) -> None:
        """Let one go; not being there is fine."""
        if key in self._engines:
            self._let_go(self._engines.pop(key))

    def clear(self) -> None:
        """Let all go."""
        while self._engines:
            self._let_go(self._engines.popitem(last=False)[1])

    @property
    def bytes(self) -> int:
        """Of all together."""
        return sum(engine.bytes for engine in self._engines.values())

    def _let_go(self, engine: E) -> None:
        engine.close()
        gc.unfreeze()  # networks that refer to themselves go with the next collection

    def _load(self, load: Callable[[], E]) -> E:
        """Once more with all memory free, where others took room that the device may lack."""
        try:
            return load()
        except FailedError as error:
            if not self._engines:
                raise
            log.warning("loading again without the others in memory: %s", error)
            self.clear()
            gc.collect()
            return load()


def keep_from_collection() -> None:
    """Python need not look through libraries and networks for garbage: that took 0.2 s now and then, and held the lock
    for which decoding threads wait."""
    gc.collect()
    gc.freeze()
    atexit.unregister(gc.unfreeze)
    atexit.register(gc.unfreeze)  # or libraries complain at the end that something of theirs is left
