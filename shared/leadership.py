"""Who leads among the replicas of a service: a lease that observers judge by their own clock.

Two leaders for a moment are harmless, since everything that a leader does is a compare-and-set.
"""

from dataclasses import replace

from shared.domain.service_records import Lease
from shared.ports import Clock, Leases
from shared.settings import LeaseSettings

DISPATCHER, LAUNCHER = "dispatcher", "launcher"
"""The services that have a leader, by the names of their leases."""


class Leadership:
    """One replica's view of a lease. Not for several threads."""

    def __init__(self, leases: Leases, name: str, settings: LeaseSettings, *, holder: str, clock: Clock) -> None:
        """`holder` is this replica, unlike any other; the beat is raised every `beat_seconds` while it leads."""
        self._leases = leases
        self._name = name
        self._holder = holder
        self._beat_seconds = settings.beat_seconds
        self._lease_seconds = settings.lease_seconds
        self._clock = clock
        self._mine: Lease | None = None
        self._seen: Lease | None = None
        self._since = 0.0  # when what was seen last changed; when the own beat was last raised

    def lead(self) -> bool:
        """Whether this replica leads now, keeping or taking the lease as it is due. Raises StoreUnavailableError."""
        now = self._clock()
        if self._mine is not None and now - self._since < self._beat_seconds:
            return True
        if self._mine is not None:
            return self._take(self._mine, replace(self._mine, beat=self._mine.beat + 1), now)
        row = self._leases.lease(self._name)
        if row.holder == self._holder:  # a store was away, and nobody took over meanwhile
            return self._take(row, replace(row, beat=row.beat + 1), now)
        if row != self._seen:
            self._seen, self._since = row, now
        if row.holder and now - self._since < self._lease_seconds:
            return False
        return self._take(row, replace(row, holder=self._holder, term=row.term + 1, beat=0), now)

    def forget(self) -> None:
        """Start anew after a store was away: what was not seen meanwhile says nothing about others."""
        self._mine = self._seen = None

    def hand_over(self) -> None:
        """Let another replica lead at once. Raises StoreUnavailableError."""
        if self._mine is not None:
            self._leases.swap_lease(self._mine, replace(self._mine, holder="", beat=self._mine.beat + 1))
            self.forget()

    def _take(self, old: Lease, new: Lease, now: float) -> bool:
        won = self._leases.swap_lease(old, new)
        self._mine, self._seen, self._since = (new if won else None), None, now
        return won


def vacate(leases: Leases, name: str) -> None:
    """Let the next replica lead at once. Only for the exclusive owner of the stores: whoever led has died."""
    row = leases.lease(name)
    if row.holder:
        leases.swap_lease(row, replace(row, holder="", beat=row.beat + 1))
