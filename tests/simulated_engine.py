"""The engine of a simulated worker: what it takes is virtual time, and a poison product kills its process."""

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from tests.scoring_stub import StubEngine
from tests.virtual_time import KilledError
from workers.scoring.chunks import ChunkInput, ChunkResult

if TYPE_CHECKING:
    from tests.simulated_pool import Process

_FETCH = 0.5  # seconds until the first pictures of a chunk are decoded
_FORWARD = (8.0, 12.0)


class PlayedEngine(StubEngine):
    """Fetches one chunk while another is on the device, as the real one does."""

    fetches_ahead = True

    def __init__(self, process: "Process") -> None:
        super().__init__(on_poison=self._kill)
        self._process = process

    def run(self, chunks: Iterator[ChunkInput], /) -> Generator[ChunkResult, None, None]:
        process, simulation = self._process, self._process.simulation
        time, ahead = simulation.time, self._pull(chunks)
        while ahead is not None:
            chunk, ready = ahead
            time.sleep(max(0.0, ready - time.now))
            if time.now >= process.broken_at:
                raise RuntimeError("the device has fallen off the bus")
            ends = time.now + simulation.random.uniform(*_FORWARD)
            process.state = "busy"
            simulation.begin(chunk.key, process.worker)
            ahead = self._pull(chunks) if self.fetches_ahead else None
            time.sleep(ends - time.now)
            time.sleep(max(0.0, process.stalled_until - time.now))
            (result,) = super().run(iter([chunk]))
            process.state = "idle"
            yield result
            ahead = ahead if self.fetches_ahead else self._pull(chunks)

    def _pull(self, chunks: Iterator[ChunkInput]) -> tuple[ChunkInput, float] | None:
        chunk = next(chunks, None)
        return None if chunk is None else (chunk, self._process.time.now + _FETCH)

    def _kill(self, product: int) -> None:
        raise KilledError
