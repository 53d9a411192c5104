"""What the leading dispatcher tells Prometheus about jobs, from their rows."""

from collections import Counter

from services.dispatcher.dispatcher import Dispatcher
from shared.domain import states
from shared.ports import Clock, Jobs
from shared.telemetry import JobMetrics

_SECONDS = 1.0  # between two looks at the rows
_WAITING = ("pending", "sent", "running")
_CHUNKS = ("pending", "sent", "running", "done", "split", "quarantined", "cancelled")
_JOBS = (*states.UNFINISHED, *states.ENDED)


class Observations:
    """Sets the gauges at most once a second, and raises the counters by what the dispatcher did since."""

    def __init__(self, jobs: Jobs, metrics: JobMetrics, clock: Clock) -> None:
        self._jobs = jobs
        self._metrics = metrics
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """Another one leads, or this one anew: nothing is told of jobs until the next look."""
        metrics = self._metrics
        for gauge in (metrics.jobs, metrics.chunks, metrics.oldest_pending, metrics.outstanding):
            gauge.clear()
        self._looked = float("-inf")
        self._sent: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._quarantined = 0
        self._pending: dict[str, tuple[int, float]] = {}  # pool -> pending chunks, since when not fewer

    def look(self, dispatcher: Dispatcher) -> None:
        """After a step. Raises StoreUnavailableError."""
        metrics = self._metrics
        for pool, sent in (dispatcher.sent - self._sent).items():
            metrics.sent.labels(pool).inc(sent)
        for pool, lost in (dispatcher.lost - self._lost).items():
            metrics.lost.labels(pool).inc(lost)
        metrics.quarantined.inc(dispatcher.quarantined - self._quarantined)
        self._sent, self._lost = Counter(dispatcher.sent), Counter(dispatcher.lost)
        self._quarantined = dispatcher.quarantined
        now = self._clock()
        if now - self._looked >= _SECONDS:
            self._looked = now
            self._gauge(now)

    def _gauge(self, now: float) -> None:
        metrics = self._metrics
        rows = self._jobs.jobs()
        by_state = Counter(row.state for row in rows)
        for state in _JOBS:
            metrics.jobs.labels(state).set(by_state[state])
        pools: dict[str, Counter[str]] = {}
        for row in rows:
            if row.state in states.UNFINISHED:
                counts = self._jobs.count_chunks(row.id)
                pools.setdefault(row.pool, Counter()).update({state: c["chunks"] for state, c in counts.items()})
        for gauge in (metrics.chunks, metrics.oldest_pending, metrics.outstanding):
            gauge.clear()  # pools that have nothing to do are not told of
        self._pending = {pool: self._pending.get(pool, (0, now)) for pool in pools}
        for pool, chunks in pools.items():
            for state in _CHUNKS:
                metrics.chunks.labels(pool, state).set(chunks[state])
            metrics.outstanding.labels(pool).set(sum(chunks[state] for state in _WAITING))
            before, since = self._pending[pool]
            if not chunks["pending"] or chunks["pending"] < before:
                since = now
            self._pending[pool] = (chunks["pending"], since)
            metrics.oldest_pending.labels(pool).set(now - since)
