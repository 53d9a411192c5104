"""The worker around the engine: claims chunks as the engine pulls them, stores what it computed, and lets go in order.

A claim comes before the engine is loaded, so that a model that never loads is seen. Losing a compare-and-set means that
somebody else has the chunk: what was computed for it is dropped silently.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

from shared import layout
from shared.domain import states
from shared.domain.chunks import in_order
from shared.domain.errors import NewerSchemaError, NotFoundError, ShelverError, StoreUnavailableError
from shared.domain.records import SCHEMA, Chunk, Job
from shared.ports import Clock, Jobs, Objects
from shared.settings import Settings
from shared.swaps import update_job
from workers.scoring import copying, telling, writing
from workers.scoring.chunks import ChunkInput, ChunkResult, nothing_left
from workers.scoring.claims import Claims, nothing
from workers.scoring.copying import Prepared
from workers.scoring.engines import CannotRunError, Engine, EngineFactory, Engines
from workers.scoring.reading import ChunkReader
from workers.scoring.residents import Residents
from workers.scoring.telling import Tell

log = logging.getLogger(__name__)

READ_TRIES = 4
FIRST_BACK_OFF, MOST_BACK_OFF = 0.2, 5.0  # seconds between tries of a store that is away

T = TypeVar("T")


class EngineFailedError(Exception):
    """The engine raised what nobody foresaw: no product's fault, and perhaps the process's own."""


class Worker:
    """Handles messages one by one. `stop` may be called from any thread."""

    def __init__(
        self,
        jobs: Jobs,
        objects: Objects,
        engine_factory: EngineFactory,
        settings: Settings,
        *,
        worker_id: str,
        pool: str = "",
        tell: Tell = telling.nobody,
        clock: Clock = time.monotonic,
        beside: Executor | None = None,
    ) -> None:
        """`pool` is whose chunks are taken straight from the rows; empty: any. `tell` gets what there is to tell.

        `beside` stores results while the engine computes; None: a thread.
        """
        self._jobs = jobs
        self._objects = objects
        self._settings = settings
        self._clock = clock
        self._reader = ChunkReader(objects)
        self.claims = Claims(jobs, worker_id, settings.leases.beat_seconds)
        self.residents: Residents[Any] = Residents(
            settings.scoring.resident_bytes, lambda seconds, size: tell(telling.loaded(seconds, size))
        )
        self.engines = Engines(jobs, engine_factory, self._halved, self.residents)
        self._pool = pool
        self._tell = tell
        self._job = ""
        self._stopped = threading.Event()
        self._beside = beside or ThreadPoolExecutor(1, thread_name_prefix="write")
        self._storing = ("", 0)  # the chunk whose result is stored, and its products
        self._until = 0.0  # by the clock: when the queue is looked at again
        self._prepared: dict[str, Prepared] = {}  # by chunk, of those of the pipeline

    def stop(self) -> None:
        """Take nothing more and hand back, uncounted, what is held."""
        self._stopped.set()
        self.claims.stop()

    def handle(self, message: Mapping[str, Any]) -> None:
        """Run the message's chunks, then go on with sent ones of the ensembles in memory, straight from the rows.

        Raises EngineFailedError, after giving up what was held, when the process should start afresh.
        """
        if message["schema"] > SCHEMA:
            log.warning("a message of schema %s is left to a newer worker", message["schema"])
            return
        self._until = self._clock() + self._settings.scoring.resident_seconds
        job, chunks = message["job"], list(message["chunks"])
        while chunks and not self._stopped.is_set():
            self._run(job, chunks)
            job, chunks = self._next_sent() if self._clock() < self._until else ("", [])

    def _next_sent(self) -> tuple[str, list[str]]:
        """Sent chunks of the oldest running job whose ensemble is in memory: as many as a message, or one solo one."""
        try:
            return self._patiently(self._sent_of_resident)
        except (StoreUnavailableError, NewerSchemaError):
            return "", []  # the next message finds out whether it is back, and a newer worker takes what is newer

    def _sent_of_resident(self) -> tuple[str, list[str]]:
        for job in reversed(self._jobs.jobs(("running",))):
            if self._pool in ("", job.pool) and self.engines.has(job):
                sent = in_order(self._jobs.chunks(job.id, ("sent",)))[: self._settings.dispatch.message_chunks]
                if sent:
                    return job.id, [c.id for c in sent if not c.solo] or [sent[0].id]
        return "", []

    def _run(self, job_id: str, chunk_ids: Sequence[str]) -> None:
        """Pipelines over the chunks until none is left: one per solo chunk, and a new one when the shape changes."""
        self._job = job_id
        waiting = list(chunk_ids)
        try:
            while waiting and not self._stopped.is_set():
                first = self._patiently(partial(self._first, job_id, waiting.pop(0)))
                if first is not None:
                    self._pipeline(*first, waiting)
        except CannotRunError as error:
            self._insist(partial(self.claims.hand_back, str(error)))
            self._tell(telling.let_go("handed back"))
            self._stopped.wait(MOST_BACK_OFF)  # whoever can run it should find it first
        except StoreUnavailableError as error:
            log.warning("handing back: %s", error)
            self._insist(self.claims.hand_back)
            self._tell(telling.let_go("handed back"))

    def _first(self, job_id: str, chunk_id: str) -> tuple[Job, Chunk] | None:
        """Claim a chunk to begin a pipeline with; None when it, or its job, is not to be run any more."""
        try:
            job = self._jobs.job(job_id)
        except (NotFoundError, NewerSchemaError):
            return None
        if job.state != "running":
            return None
        self.claims.ready = self.engines.has(job)
        chunk = self.claims.claim(chunk_id)
        return None if chunk is None else (job, chunk)

    def _pipeline(self, job: Job, first: Chunk, waiting: list[str]) -> None:
        """Score `first` and what can run beside it, taken from `waiting`."""
        try:
            if not self._prepare(job, first):
                return
            engine = self._patiently(partial(self.engines.of, job.id))
            engine.on_batch = lambda: self._tell(telling.moved())
            self.claims.ready, self.claims.through = True, partial(self._through, engine)
            self.claims.beat()  # at once: from now on a loss may be the chunk's own doing
            # closed before anything is given up: its look-ahead must claim nothing afterwards
            with closing(engine.run(self._inputs(job, engine, first, waiting))) as results:
                self._store(results)
        except (StoreUnavailableError, CannotRunError):
            raise
        except Exception as error:
            log.exception("the engine failed")
            self.engines.clear()
            understood = isinstance(error, ShelverError)  # a dataset, an ensemble or a device is not as it should be
            self.claims.ready = self.claims.ready and not understood
            words = str(error) or type(error).__name__
            self._insist(partial(self.claims.give_up, words))
            self._tell(telling.let_go("given up"))
            waiting.clear()
            if not understood:
                raise EngineFailedError(words) from error
        finally:
            self.claims.through = nothing
            self._prepared.clear()

    def _store(self, results: Iterator[ChunkResult]) -> None:
        """Store each result while the engine computes the next, as no device has to wait for a store."""
        storing: Future[None] | None = None
        try:
            for result in results:
                if storing is not None:
                    storing.result()
                self._storing = result.key, len(result.products)
                storing = self._beside.submit(self._insist, partial(self._write, result))
        finally:
            if storing is not None:
                storing.result()

    def _through(self, engine: Engine, chunk: str) -> int:
        """How many products of a chunk the engine is through with: all while they are stored."""
        storing, products = self._storing
        return products if chunk == storing else engine.through(chunk)

    def _inputs(self, job: Job, engine: Engine, first: Chunk, waiting: list[str]) -> Iterator[ChunkInput]:
        """Claimed chunks as the engine pulls them; runs in a thread of the engine's."""
        yield self._read(job, first)
        if first.solo:
            return
        while not self._stopped.is_set() and self._patiently(partial(self._goes_on, job, engine)):
            if not waiting:
                waiting += self._more_of(job)
            if not waiting or self._patiently(partial(self._is_solo, waiting[0])):
                return
            chunk = self._patiently(partial(self.claims.claim, waiting.pop(0)))
            if chunk is not None and self._prepare(job, chunk):
                yield self._read(job, chunk)

    def _more_of(self, job: Job) -> list[str]:
        """Sent chunks of the job, as long as it goes on: between two pipelines a device would wait for pictures."""
        following, chunks = self._next_sent() if self._clock() < self._until else ("", [])
        return chunks if following == job.id else []

    def _prepare(self, job: Job, chunk: Chunk) -> bool:
        """Whether anything is left for the engine; a chunk that is copied whole is stored here, without it."""
        began = self._clock()
        prepared = self._patiently(lambda: copying.prepare(self._jobs, job, chunk, self._reader.index(job, chunk)))
        prepared.seconds["copy" if job.options.since else "fetch"] = self._clock() - began
        self._prepared[chunk.id] = prepared
        if prepared.rest.any():
            return True
        self._insist(partial(self._write, nothing_left(chunk.id)))
        return False

    def _goes_on(self, job: Job, engine: Engine) -> bool:
        row = self._jobs.job(job.id)
        return row.state == "running" and row.batch_images == engine.batch_images

    def _is_solo(self, chunk_id: str) -> bool:
        try:
            return self._jobs.chunk(chunk_id).solo
        except (NotFoundError, NewerSchemaError):
            return False

    def _read(self, job: Job, chunk: Chunk) -> ChunkInput:
        began = self._clock()
        prepared = self._prepared[chunk.id]
        read = self._patiently(partial(self._reader.read, job, chunk, prepared.rest))
        prepared.seconds["fetch"] = prepared.seconds.get("fetch", 0.0) + self._clock() - began
        return read

    def _write(self, result: ChunkResult) -> None:
        """Outcomes first, then the chunk's end. May be repeated."""
        chunk = self.claims.mine(result.key)
        if chunk is None:
            return
        job = self._jobs.job(chunk.job)
        if job.state != "running":
            cancelling = job.state == "cancelling"
            self.claims.end(chunk, states.cancel_chunk if cancelling else states.hand_back)
            self._tell(telling.let_go("cancelled" if cancelling else "handed back"))
            return
        began = self._clock()
        kept = writing.scores(result)
        key = layout.chunk_scores(chunk.job, chunk.id, chunk.generation) if kept else ""
        if kept:
            self._objects.put(key, kept)
        prepared = self._prepared[chunk.id]
        self._jobs.add_outcomes(writing.outcomes(chunk, prepared, result))
        seconds = prepared.seconds | {"write": self._clock() - began}
        change = partial(writing.finished, result=result, copied=len(prepared.copied), seconds=seconds, scores_key=key)
        if self.claims.end(chunk, change):
            policies = {"images": job.options.image_duplicates, "products": job.options.product_duplicates}
            self._tell(telling.done(change(chunk), result, policies))
        self._prepared.pop(chunk.id, None)

    def _halved(self, batch_images: int) -> None:
        def change(row: Job) -> Job | None:
            going = row.state in ("running", "cancelling") and row.batch_images > batch_images
            return states.halve(row, batch_images=batch_images) if going else None

        log.warning("out of memory: batch shape halved to %s", batch_images)
        self._insist(lambda: update_job(self._jobs, self._job, change))

    def _patiently(self, action: Callable[[], T]) -> T:
        """The action's value; raises StoreUnavailableError only after several tries."""
        wait = FIRST_BACK_OFF
        for _ in range(READ_TRIES - 1):
            try:
                return action()
            except StoreUnavailableError:
                self._stopped.wait(wait)
                wait *= 2
        return action()

    def _insist(self, action: Callable[[], object]) -> None:
        """Try until it is done or this worker stops: meanwhile the beats go on, and nothing computed is thrown away."""
        wait = FIRST_BACK_OFF
        while True:
            try:
                action()
                return
            except StoreUnavailableError as error:
                log.warning("trying again: %s", error)
            if self._stopped.wait(wait):
                return
            wait = min(2 * wait, MOST_BACK_OFF)
