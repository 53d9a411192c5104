"""The engines a worker keeps in memory, and the shape in which a job's first one decides for all others."""

from collections.abc import Callable, Generator, Iterator
from typing import Protocol

from shared.domain import states
from shared.domain.errors import ShelverError
from shared.domain.records import Job, JobOptions
from shared.ports import Jobs
from workers.scoring.chunks import ChunkInput, ChunkResult
from workers.scoring.residents import Residents


class CannotRunError(ShelverError):
    """This device cannot run what the job was begun with: another worker has to."""


class Engine(Protocol):
    """What the worker needs of `workers.scoring.engine.Engine`: how it runs, and that it does."""

    precision: str
    batch_images: int  # shrinks when memory runs out; may be set between runs
    on_batch: Callable[[], None]  # called when a batch went through

    @property
    def bytes(self) -> int:
        """Of its weights and tables."""

    def run(self, chunks: Iterator[ChunkInput], /) -> Generator[ChunkResult, None, None]:
        """Score chunks in order; the next ones are pulled while one is on the device."""

    def through(self, key: str) -> int:
        """How many products of a chunk it is through with, 0 but for the one that it is at; for any thread."""

    def close(self) -> None:
        """Free what it holds."""


OnHalved = Callable[[int], None]
EngineFactory = Callable[[Job, OnHalved], Engine]
"""Load the job's ensemble in its precision and batch shape, chosen for the device where the job has none yet.

Returns once the device has run a batch. Raises CannotRunError where the device does not have the precision."""

Resident = tuple[str, str, str, JobOptions]


def resident(job: Job) -> Resident:
    """Jobs of equal values share an engine."""
    return (job.ensemble, job.version, job.dataset_fingerprint, job.options)


class Engines:
    """The engines of jobs among those in memory."""

    def __init__(self, jobs: Jobs, factory: EngineFactory, on_halved: OnHalved, residents: Residents["Engine"]) -> None:
        self._jobs = jobs
        self._factory = factory
        self._on_halved = on_halved
        self._residents = residents

    def has(self, job: Job) -> bool:
        """Whether an engine that can run the job is in memory."""
        engine = self._residents.get(resident(job))
        return engine is not None and job.precision in ("", engine.precision)

    def of(self, job_id: str) -> Engine:
        """An engine that runs as the job does; the first one ever writes how that is into the job's row.

        Not while the engine runs. Raises CannotRunError, StoreUnavailableError and whatever loading raises.
        """
        while True:
            job = self._jobs.job(job_id)
            engine = self._engine(job)
            if job.precision:
                engine.batch_images = job.batch_images
                return engine
            if job.state in states.ENDED:
                return engine
            shape = states.resolve_precision(job, precision=engine.precision, batch_images=engine.batch_images)
            if self._jobs.swap_job(job, shape):
                return engine

    def clear(self) -> None:
        """Free everything."""
        self._residents.clear()

    def _engine(self, job: Job) -> Engine:
        key = resident(job)
        if not self.has(job):
            self._residents.drop(key)
        engine = self._residents.use(key, lambda: self._factory(job, self._on_halved))
        if job.precision not in ("", engine.precision):
            self._residents.drop(key)
            raise CannotRunError(f"this worker runs {engine.precision}, the job was begun in {job.precision}")
        return engine
