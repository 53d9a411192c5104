"""Messages that are lost, as after a queue was emptied, noticed before the deadline of a sent chunk.

That deadline is long, since a busy pool may take its time. Where nothing moves although chunks were sent, that long a
wait would be for nothing. Where no worker comes, as in a pool of zero, the wait doubles, so that messages do not pile
up. In a pool that moves, an empty queue tells.
"""

from collections.abc import Callable, Sequence

from shared.domain.errors import StoreUnavailableError
from shared.domain.records import Chunk, Job
from shared.settings import LeaseSettings

_ASK_SECONDS = 1.0


class IdlePools:
    """What an observer remembers of pools that have sent chunks and no running one."""

    def __init__(self, settings: LeaseSettings) -> None:
        self._settings = settings
        self._since: dict[str, float] = {}  # idle, or sent again, since
        self._wait: dict[str, float] = {}

    def stranded(self, running: Sequence[tuple[Job, Sequence[Chunk]]], now: float) -> set[str]:
        """Pools whose sent chunks are to be sent again now. `running` has all sent and running chunks of each job."""
        pools: dict[str, set[str]] = {}
        for job, chunks in running:
            pools.setdefault(job.pool, set()).update(chunk.state for chunk in chunks)
        idle = {pool for pool, found in pools.items() if found == {"sent"}}
        self._since = {pool: self._since.get(pool, now) for pool in idle}
        self._wait = {pool: self._wait.get(pool, self._settings.lease_seconds) for pool in idle}
        due = {pool for pool in idle if now - self._since[pool] >= self._wait[pool]}
        for pool in due:
            self._since[pool] = now
            self._wait[pool] = min(2 * self._wait[pool], self._settings.sent_seconds)
        return due


class EmptyQueues:
    """Queues that hold no message: what was sent a while ago is with a worker, which may be at something else, or lost.

    Sent again, it comes twice at worst, to a worker that has nothing to do.
    """

    def __init__(self, waiting: Callable[[str], int | None]) -> None:
        """`waiting` as in the port Queue; it is asked once a second at most."""
        self._waiting = waiting
        self._found: dict[str, tuple[float, bool]] = {}

    def empty(self, pool: str, now: float) -> bool:
        """Whether the pool's queue is known to be empty; a queue that is away is not."""
        at, found = self._found.get(pool, (float("-inf"), False))
        if now - at < _ASK_SECONDS:
            return found
        try:
            found = self._waiting(pool) == 0
        except StoreUnavailableError:
            found = False
        self._found[pool] = (now, found)
        return found
