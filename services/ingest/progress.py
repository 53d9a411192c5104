"""How far an ingest is."""

import time
from collections.abc import Callable, Iterable

from services.ingest.pack_writer import PackAccount
from shared.ingest_progress import IngestProgress


class Meter:
    """Counts what is done and reports it now and then."""

    def __init__(
        self,
        report: Callable[[IngestProgress], None],
        total: int | None,
        clock: Callable[[], float] = time.monotonic,
        every: float = 0.25,
    ) -> None:
        """`total` bytes, if that is known; `every` seconds are between two reports."""
        self._report = report
        self._total = total
        self._clock = clock
        self._every = every
        self._begun = self._reported = clock()
        self._bytes = self._documents = self._bad = self._skipped = 0

    def advance(self, read: int, documents: int, bad: int) -> None:
        """`read` more bytes of the source gave these documents."""
        self._bytes += read
        self._documents += documents
        self._bad += bad
        if self._clock() - self._reported >= self._every:
            self.report()

    def skip(self, accounts: Iterable[PackAccount]) -> None:
        """These packs were written by an earlier ingest."""
        for account in accounts:
            self._skipped += account.end - account.start
            self._bytes += account.end - account.start
            self._documents += account.documents
            self._bad += len(account.bad)

    def rate(self) -> float:
        """Bytes of the source per second since the start; 0 where an earlier ingest has read some of it."""
        return 0.0 if self._skipped else self._rate(self._clock())

    def _rate(self, now: float) -> float:
        return (self._bytes - self._skipped) / max(now - self._begun, 1e-9)

    def report(self) -> None:
        """Report now."""
        self._reported = self._clock()
        rate = self._rate(self._reported)
        done = self._bytes if self._total is None else min(self._bytes, self._total)
        left = None if self._total is None or rate <= 0 else (self._total - done) / rate
        self._report(IngestProgress(done, self._total, self._documents, self._bad, rate, left))
