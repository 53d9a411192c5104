"""A scoring job on a stage: real rows and objects in a folder, a queue in memory, a clock that only tests move."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

from services.dispatcher import Dispatcher
from shared.adapters.directory import DirectoryObjects
from shared.adapters.sqlite_jobs import SqliteJobs
from shared.domain import states
from shared.domain.records import SCHEMA, Chunk, Job
from shared.packs import Manifest
from shared.settings import Settings
from tests.scoring_stub import (
    AtOnce,
    Flaky,
    MemoryQueue,
    StubEngine,
    VirtualClock,
    WorkerKilledError,
    new_job,
    put_dataset,
)
from workers.scoring.chunks import ChunkInput, ChunkResult
from workers.scoring.engines import Engine
from workers.scoring.worker import EngineFailedError, Worker


class Scene:
    """One job `job1` over a dataset of `counts` images per product, a dispatcher, and as many workers as asked for.

    What it shows and plays is the job named `current`.
    """

    def __init__(
        self, home: Path, counts: Sequence[int], *, chunk_images: int = 4, settings: Settings | None = None, **data: Any
    ) -> None:
        self.settings = settings or Settings()
        self.clock = VirtualClock()
        self.queue = MemoryQueue()
        self.jobs = Flaky(SqliteJobs(home / "jobs.sqlite"))
        self.objects = Flaky(DirectoryObjects(home / "objects"))
        self.manifest = put_dataset(self.objects, counts, **data)
        self.jobs.create(new_job(self.manifest, chunk_images=chunk_images))
        self.current = "job1"
        self.dispatcher = self.new_dispatcher()
        self.workers = 0

    def new_dispatcher(self) -> Dispatcher:
        return Dispatcher(self.jobs, self.objects, self.queue, self.settings, clock=self.clock, now=lambda: 1.0)

    def new_worker(self, load: Callable[[], Engine] = StubEngine, *, beside: Executor | None = None) -> Worker:
        """Worker w1, w2, ...; its beats are raised only by `worker.claims.beat()`. It stores at once by default."""
        self.workers += 1
        return Worker(
            self.jobs,
            self.objects,
            lambda job, on_halved: load(),
            self.settings,
            worker_id=f"w{self.workers}",
            clock=self.clock,
            beside=beside or AtOnce(),
        )

    def turn_to(self, manifest: Manifest, job: str, **more: Any) -> None:
        """Create another job, which is the current one from now on."""
        self.jobs.create(new_job(manifest, id=job, **more))
        self.current = job

    def steps(self, count: int = 1, seconds: float = 0.2) -> None:
        for _ in range(count):
            self.dispatcher.step()
            self.clock.sleep(seconds)

    def play(self, load: Callable[[], Engine] = StubEngine, *, most: int = 500) -> Job:
        """One worker after the other until the job has ended; each death is known at once. Returns the job."""
        worker = self.new_worker(load)
        for _ in range(most):
            self.steps()
            if self.job.state in states.ENDED:
                return self.job
            while self.queue.messages:
                try:
                    worker.handle(self.queue.messages.pop(0))
                except (WorkerKilledError, EngineFailedError):
                    self.queue.dead.add(f"w{self.workers}")
                    self.queue.messages.clear()
                    worker = self.new_worker(load)
        raise AssertionError(f"no end after {most} steps: {self.counts()}")

    @property
    def job(self) -> Job:
        row: Job = self.jobs.job(self.current)
        return row

    def chunks(self, *of_states: str) -> list[Chunk]:
        rows: list[Chunk] = self.jobs.chunks(self.current, of_states)
        return rows

    def counts(self) -> dict[str, int]:
        return {state: sums["chunks"] for state, sums in self.jobs.count_chunks(self.current).items()}

    def answers(self) -> dict[int, str]:
        """The error of every product that has an outcome."""
        return {o.product: o.error for o in self.jobs.outcomes(self.current, limit=10_000)}

    def claim(self, worker: str = "w", *, ready: bool = True, count: int = 1) -> list[Chunk]:
        """A worker claims the first sent chunks."""
        claimed = []
        for sent in self.chunks("sent")[:count]:
            running = states.claim(sent, worker=worker, ready=ready)
            assert self.jobs.swap_chunk(sent, running)
            claimed.append(running)
        assert len(claimed) == count
        return claimed

    def finish(self, chunk: Chunk) -> bool:
        """The worker that claimed `chunk` ends it."""
        done = states.finish_chunk(
            chunk,
            done=chunk.products,
            failed=0,
            decided=0,
            scored_images=chunk.images,
            precision="float32",
            batch_images=8,
            seconds={},
        )
        stored: bool = self.jobs.swap_chunk(chunk, done)
        return stored

    def set_chunk(self, chunk: Chunk, **changes: Any) -> Chunk:
        """Store a row that other tests lead to."""
        new = replace(chunk, generation=chunk.generation + 1, **changes)
        assert self.jobs.swap_chunk(chunk, new)
        return new


def all_sent(home: Path) -> Scene:
    """Ten chunks of four products, all sent."""
    scene = Scene(home, [1] * 40)
    scene.steps(2)
    assert scene.counts() == {"sent": 10}
    return scene


def message(*chunks: Chunk) -> dict[str, object]:
    """What the dispatcher would send."""
    return {"schema": SCHEMA, "job": chunks[0].job, "chunks": [chunk.id for chunk in chunks]}


class Watching(StubEngine):
    """Calls `watch` with the number of chunks pulled before each result."""

    def __init__(self, watch: Callable[[int], None]) -> None:
        super().__init__()
        self.watch = watch

    def run(self, chunks: Iterator[ChunkInput], /) -> Iterator[ChunkResult]:
        for number, result in enumerate(super().run(chunks)):
            self.watch(number)
            yield result
