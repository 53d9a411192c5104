"""Pools in which nothing moves although chunks were sent: their messages are lost, as after a queue was emptied.

A sent chunk has a deadline of its own, which is long, since a busy pool may take its time. In an idle pool that long a
wait would be for nothing. Where no worker comes, as in a pool of zero, the wait doubles, so that messages do not pile
up.
"""

from collections.abc import Sequence

from shared.domain.records import Chunk, Job
from shared.settings import LeaseSettings


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
