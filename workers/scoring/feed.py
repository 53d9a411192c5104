"""From the events of the child that computes to the metrics of the process that fetches.

One exporter in the process that lives; the child may die at any time and only writes lines to a pipe.
"""

import json
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from shared.ports import Clock
from shared.telemetry import WorkerMetrics

_MOVED_SECONDS = 1.0  # batches may be many a second; that they go on is enough
_MOST_BYTES = 4096  # of one write that a pipe takes whole, on any system


class Mouth:
    """The child's end: writes events, and rather loses one than wait. For several threads."""

    def __init__(self, descriptor: int, *, clock: Clock = time.monotonic) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._clock = clock
        self._moved = float("-inf")

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Tell an event."""
        now = self._clock()
        if event["event"] == "moved":
            if now - self._moved < _MOVED_SECONDS:
                return
            self._moved = now
        line = json.dumps(event).encode() + b"\n"
        if len(line) <= _MOST_BYTES:
            with suppress(BlockingIOError):
                os.write(self._descriptor, line)


class Ear:
    """The other end: keeps the metrics, when the child last moved, and whether it is warm."""

    def __init__(self, metrics: WorkerMetrics, pool: str, *, clock: Clock = time.monotonic) -> None:
        self._metrics = metrics
        self._pool = pool
        self._clock = clock
        self._moved = clock()
        self.warm = False

    def start(self, descriptor: int) -> None:
        """Listen to a pipe from a thread of its own."""
        threading.Thread(target=self._run, args=(descriptor,), name="feed", daemon=True).start()

    def age(self) -> float:
        """Seconds since the child last moved."""
        return self._clock() - self._moved

    def hear(self, event: Mapping[str, Any]) -> None:
        """One event."""
        self._moved = self._clock()
        kind, metrics = event["event"], self._metrics
        if kind == "begun":
            self.warm = False
        elif kind == "warm":
            self.warm = True
        elif kind == "loaded":
            metrics.load.observe(event["seconds"])
            metrics.resident.set(event["bytes"])
        elif kind == "chunk":
            metrics.chunks.labels(self._pool, event["end"]).inc()
            if event["end"] == "done":
                self._done(event)
        metrics.warm.set(self.warm)

    def _done(self, event: Mapping[str, Any]) -> None:
        metrics = self._metrics
        for counter, name in ((metrics.products, "products"), (metrics.images, "images"), (metrics.views, "views")):
            counter.labels(self._pool).inc(event[name])
        for policy, source, products in event["decisions"]:
            metrics.decisions.labels(policy, source).inc(products)
        for stage, seconds in event["seconds"].items():
            metrics.stages.labels(stage).observe(seconds)
        metrics.fill.set(event["fill"])
        metrics.memory.set(event["memory"])

    def _run(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb") as lines:
            for line in lines:
                self.hear(json.loads(line))
