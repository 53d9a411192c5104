"""The real rows of a simulated job, and what is true of them at every moment."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from shared.domain.records import Chunk, Outcome
from shared.ports import Jobs
from tests.virtual_time import KilledError


class DoubledError(Exception):
    """Work was done twice."""


class LostError(Exception):
    """A product has no answer, or not its own."""


class WatchedJobs:
    """Counts chunks by state, and refuses to see work done twice."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self.by_state: Counter[str] = Counter()
        self.released: Counter[str] = Counter()  # by chunk: how often it was taken or given back after a claim
        self._known: dict[str, str] = {}  # state of each chunk
        self._ended: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._jobs, name)

    @property
    def waiting(self) -> int:
        """Chunks that an idle device could have begun."""
        return self.by_state["pending"] + self.by_state["sent"]

    def add_chunks(self, chunks: Iterable[Chunk]) -> None:
        rows = list(chunks)
        self._jobs.add_chunks(rows)
        for row in rows:
            if row.id not in self._known:
                self._move(row.id, row.state)

    def swap_chunk(self, old: Chunk, new: Chunk) -> bool:
        if not self._jobs.swap_chunk(old, new):
            return False
        if new.state in ("done", "split", "quarantined"):
            if new.id in self._ended:
                raise DoubledError(f"chunk {new.id} ended twice")
            self._ended.add(new.id)
        self.released[new.id] += old.state == "running" and new.state == "pending"
        self._move(new.id, new.state)
        return True

    def _move(self, chunk: str, state: str) -> None:
        if chunk in self._known:
            self.by_state[self._known[chunk]] -= 1
        self._known[chunk] = state
        self.by_state[state] += 1


class WorkersJobs:
    """The rows as a worker sees them, over a network: what it reads is a little old, and storing takes a while."""

    def __init__(self, jobs: WatchedJobs, read: Callable[[], None], write: Callable[[], None]) -> None:
        self._jobs = jobs
        self._read = read
        self._write = write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._jobs, name)

    def chunk(self, chunk: str) -> Chunk:
        row: Chunk = self._jobs.chunk(chunk)
        self._read()
        return row

    def chunks(self, *asked: Any, **more: Any) -> list[Chunk]:
        rows: list[Chunk] = self._jobs.chunks(*asked, **more)
        self._read()
        return rows

    def add_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        self._write()
        self._jobs.add_outcomes(outcomes)


class MortalJobs:
    """The rows as one dispatcher sees them, which dies in the middle of what it does: `calls` after `dying` is true."""

    def __init__(self, jobs: WatchedJobs, dying: Callable[[], bool], calls: int) -> None:
        self._jobs = jobs
        self._dying = dying
        self._left = calls

    def __getattr__(self, name: str) -> Any:
        self._left -= self._dying()
        if self._left < 0:
            raise KilledError
        return getattr(self._jobs, name)
