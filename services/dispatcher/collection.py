"""The daily collection: what retention no longer keeps goes without a person's asking."""

import logging
import threading
from dataclasses import replace

from shared import retention
from shared.domain.errors import ConflictError, NewerSchemaError
from shared.domain.retention import DAY
from shared.domain.service_records import Lease
from shared.ports import Clock, Stores
from shared.retention import Garbage
from shared.settings import RetentionSettings

log = logging.getLogger(__name__)

_ROW = "gc"
_LOOK_SECONDS = 60.0


class Collection:
    """Collects once per interval of all replicas together.

    The row of the lease `gc` holds when the last one began: a time of day that only this interval is judged by, so that
    clocks that differ make one collection too early or too late, and no more.
    """

    def __init__(self, stores: Stores, settings: RetentionSettings, *, clock: Clock, now: Clock) -> None:
        self._stores = stores
        self._settings = settings
        self._clock = clock
        self._now = now
        self._looked = float("-inf")
        self._running: threading.Thread | None = None

    def collect_if_due(self) -> None:
        """Begin a collection in a thread of its own, if it is time. Raises StoreUnavailableError."""
        if not self._settings.gc_days or self._clock() - self._looked < _LOOK_SECONDS or self.busy():
            return
        self._looked = self._clock()
        row = self._stores.leases.lease(_ROW)
        if row.holder and self._now() - float(row.holder) < self._settings.gc_days * DAY:
            return
        begun = Lease(name=_ROW, holder=repr(self._now()), term=row.term + 1)
        first = not row.holder  # of a new installation: it has nothing to collect, and the interval begins
        if self._stores.leases.swap_lease(row, begun) and not first:
            self._running = threading.Thread(target=self._collect, name="gc", daemon=True)
            self._running.start()

    def busy(self) -> bool:
        """Whether a collection is under way here."""
        return self._running is not None and self._running.is_alive()

    def _collect(self) -> None:
        stores = self._stores
        try:
            found = retention.find(
                stores.objects, stores.catalog, stores.runs, stores.jobs, self._settings, self._now()
            )
            removed = [garbage for garbage in map(_removed, found) if garbage.remove is not None]
        except Exception:  # the next one tries again, and meanwhile jobs go on
            log.exception("the collection was broken off")
            return
        size = sum(garbage.bytes for garbage in removed)
        log.info("collected %d things of %d bytes; %d are left", len(removed), size, len(found) - len(removed))


def _removed(garbage: Garbage) -> Garbage:
    """Remove it; the same without `remove` where it was refused or is only named."""
    try:
        if garbage.remove is not None:
            garbage.remove()
            log.info("removed %s %s: %s", garbage.kind, garbage.name, garbage.why)
    except (ConflictError, NewerSchemaError) as refused:
        return replace(garbage, why=str(refused), remove=None)
    return garbage
