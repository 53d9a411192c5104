"""The chunks a worker holds, kept alive by a thread that raises their beats."""

import logging
import threading
from collections.abc import Callable

from shared.domain import states
from shared.domain.errors import NewerSchemaError, NotFoundError, StoreUnavailableError
from shared.domain.records import Chunk
from shared.ports import Jobs

log = logging.getLogger(__name__)


class Claims:
    """Claim, keep alive, hand back, give up: each chunk on its own, by compare-and-set on its claimed generation."""

    def __init__(self, jobs: Jobs, worker: str, beat_seconds: float) -> None:
        self._jobs = jobs
        self._worker = worker
        self._beat_seconds = beat_seconds
        self._held: dict[str, Chunk] = {}
        self.ready = False  # whether the engine is, stored with the next beat
        self.through: Callable[[str], int] = nothing  # how many products of a chunk it is through with, likewise
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, name="beats", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def claim(self, chunk_id: str) -> Chunk | None:
        """The chunk as this worker now holds it, or None when it is not there to be claimed any more."""
        with self._lock:
            if self._stopped.is_set():
                return None
            try:
                sent = self._jobs.chunk(chunk_id)
            except (NotFoundError, NewerSchemaError):
                return None
            if sent.state != "sent":
                return None
            mine = states.claim(sent, worker=self._worker, ready=self.ready)
            if not self._jobs.swap_chunk(sent, mine):
                return None
            self._held[mine.id] = mine
            return mine

    def held(self) -> list[Chunk]:
        """What is claimed and neither ended nor known to be lost."""
        with self._lock:
            return list(self._held.values())

    def mine(self, chunk_id: str) -> Chunk | None:
        """The chunk as it was claimed, or None when it is not held any more."""
        with self._lock:
            return self._held.get(chunk_id)

    def beat(self) -> None:
        """Raise every beat once; what was lost is held no more. A store that is away is no loss."""
        for chunk in self.held():
            try:
                through = self.through(chunk.id)
                alive = self._jobs.beat(chunk.id, chunk.generation, ready=self.ready, through=through)
            except StoreUnavailableError as error:
                log.warning("no beat: %s", error)
                return
            if not alive:
                self._drop(chunk)

    def end(self, chunk: Chunk, change: Callable[[Chunk], Chunk]) -> bool:
        """Store how it ended and hold it no more; False when it had been lost."""
        stored = self._jobs.swap_chunk(chunk, change(chunk))
        self._drop(chunk)
        return stored

    def hand_back(self, error: str = "") -> None:
        """Everything held goes back, uncounted."""
        for chunk in self.held():
            self.end(chunk, lambda mine: states.hand_back(mine, error=error))

    def give_up(self, error: str) -> None:
        """The engine failed on everything held; the dispatcher decides what that means."""
        for chunk in self.held():
            self.end(chunk, lambda mine: states.give_up(mine, error=error, ready=self.ready))

    def stop(self) -> None:
        """Claim nothing more and hand back what is held."""
        self._stopped.set()
        self.hand_back()

    def _drop(self, chunk: Chunk) -> None:
        with self._lock:
            if self._held.get(chunk.id) is chunk:
                del self._held[chunk.id]

    def _keep_alive(self) -> None:
        while not self._stopped.wait(self._beat_seconds):
            self.beat()


def nothing(_: str) -> int:
    """No engine is at work."""
    return 0
