"""A pool on virtual time: rows, dispatcher, claims and workers are real; devices, deaths and the queue are played.

Seconds are what a job of a large ensemble takes on a GPU. Every fault comes from the seed.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from services.dispatcher import Dispatcher
from shared.adapters.directory import DirectoryObjects
from shared.adapters.sqlite_jobs import SqliteJobs
from shared.domain import states
from shared.domain.errors import StoreUnavailableError
from shared.exports import stored_outcomes
from shared.settings import Settings
from tests.scoring_stub import new_job, put_dataset
from tests.simulated_engine import PlayedEngine
from tests.simulated_queue import PlayedQueue
from tests.simulated_rows import DoubledError, LostError, MortalJobs, WatchedJobs, WorkersJobs
from tests.virtual_time import KilledError, VirtualExecutor, VirtualLock, VirtualTime
from workers.scoring.worker import EngineFailedError, Worker

CHUNK_PRODUCTS = 4
_READ = 0.02  # at most, of rows
_WRITE = 0.3
_LOAD = 20.0
_RESTART = 15.0  # a new pod
_STALL = 75.0  # longer than a lease and the time to judge its loss
_REDELIVERED = 120.0  # what a dead worker took and never acknowledged comes again
_FIRST_ID = 100  # of the products


@dataclass(frozen=True)
class Faults:
    """Mean seconds between two of a kind, per worker or of the dispatcher; shares of messages."""

    death: float = 1500.0
    stall: float = 2000.0  # it stands still for longer than a lease, and goes on unaware
    eviction: float = 2000.0
    engine_error: float = 3000.0
    dispatcher_death: float = 120.0
    lost: float = 0.005
    doubled: float = 0.03
    late: float = 0.01  # by up to 20 s
    refused: float = 0.003  # the queue is away


@dataclass
class Books:
    """What became of the device seconds of workers that were up, those that load apart."""

    available: float = 0.0
    idle: float = 0.0  # while a chunk waited that they could have had
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def idle_share(self) -> float:
        return self.idle / self.available


class Simulation:
    """A job of `chunks` chunks on `workers` devices. `run` gives its books; what is lost or doubled raises."""

    def __init__(
        self,
        home: Path,
        *,
        chunks: int,
        workers: int,
        seed: int,
        poison: int = 2,
        faults: Faults = Faults(),
        rows: type[WatchedJobs] = WatchedJobs,
    ) -> None:
        """`poison` products kill whoever scores them."""
        self.random = random.Random(seed)
        self.faults = faults
        self.settings = Settings()
        self.books = Books()
        self.time = VirtualTime(self._pass)
        self.jobs = rows(SqliteJobs(home / "jobs.sqlite"))
        self.objects = DirectoryObjects(home / "objects")
        products = chunks * CHUNK_PRODUCTS
        self.poison = frozenset(self.random.sample(range(_FIRST_ID, _FIRST_ID + products), poison))
        packs = -(-chunks // 250)
        manifest = put_dataset(self.objects, [1] * products, packs=packs, poison=self.poison, first_id=_FIRST_ID)
        self.job = self.jobs.create(new_job(manifest, chunk_images=CHUNK_PRODUCTS))
        self.queue = PlayedQueue(self)
        self.devices = {f"device{number}": "away" for number in range(workers)}
        self.begun: Counter[str] = Counter()  # by chunk
        self._claims: set[tuple[str, int]] = set()
        self._processes: list[Process] = []

    def run(self) -> Books:
        for device in self.devices:
            self.start(device, restart=0.0)
        self._lead()
        while self.jobs.job(self.job.id).state not in states.ENDED:
            self.time.turn()
        for process in self._processes:
            process.kill()
        self._check()
        return self.books

    def start(self, device: str, restart: float = _RESTART) -> None:
        self.time.at(restart, lambda: self._processes.append(Process(self, device)))

    def gone(self, process: "Process") -> None:
        """Another one is started in its place."""
        self._processes.remove(process)
        self.start(process.device)

    def begin(self, chunk: str, worker: Worker) -> None:
        """A device begins a chunk. Raises DoubledError where it did so under this claim before."""
        mine = worker.claims.mine(chunk)
        if mine is None:
            return  # lost while it was fetched: nobody needs what comes of it
        self.begun[chunk] += 1
        claim = (chunk, mine.generation)
        if claim in self._claims:
            raise DoubledError(f"chunk {chunk} was computed twice under one claim")
        self._claims.add(claim)

    def after(self, mean: float) -> float:
        return self.random.expovariate(1 / mean)

    def _pass(self, seconds: float) -> None:
        by_state = Counter(self.devices.values())
        self.books.available += seconds * (by_state["idle"] + by_state["busy"])
        self.books.idle += seconds * min(by_state["idle"], self.jobs.waiting)

    def _lead(self) -> None:
        """A dispatcher steps until it dies in the middle of a step; for a while two may."""
        dies = self.time.now + self.after(self.faults.dispatcher_death)
        jobs = MortalJobs(self.jobs, lambda: self.time.now >= dies, self.random.randrange(20))
        dispatcher = Dispatcher(
            jobs,
            self.objects,
            self.queue,
            self.settings,
            clock=self.time,
            now=lambda: 1.0,  # type: ignore[arg-type]
        )
        poll = self.settings.leases.poll_seconds

        def step() -> None:
            wait = poll
            try:
                dispatcher.step()
            except StoreUnavailableError:
                wait = 2 * poll
            except KilledError:
                self.books.faults["dispatcher deaths"] += 1
                self.time.at(self.random.uniform(0.0, 10.0), self._lead)
                return
            self.time.at(wait, step)

        step()

    def _check(self) -> None:
        """Each product has one answer, its own; each chunk was begun once, and again only after it was taken back."""
        job = self.jobs.job(self.job.id)
        if job.state not in states.ANSWERED:
            raise LostError(f"the job is {job.state}: {job.error}")
        found = [
            (outcome.product, bool(outcome.error), outcome.predictions.get("all", {}).get("category_id"))
            for outcome in stored_outcomes(self.jobs, job.id)  # type: ignore[arg-type]
        ]
        bad = [(product in self.poison) for product in range(_FIRST_ID, _FIRST_ID + job.products)]
        right = [(p, error, None if error else p % 3) for p, error in enumerate(bad, start=_FIRST_ID)]
        if found != right:
            first = next((one for one, other in zip(found, right, strict=False) if one != other), len(found))
            raise LostError(f"{len(found)} of {len(right)} products have an answer; wrong is first {first}")
        doubled = [chunk for chunk, times in self.begun.items() if times > 1 + self.jobs.released[chunk]]
        if doubled:
            raise DoubledError(f"computed again although nobody had lost them: {', '.join(doubled)}")


class Process:
    """One life of a worker: a real `Worker` over a played device, until something ends it."""

    def __init__(self, simulation: Simulation, device: str) -> None:
        self.simulation = simulation
        self.device = device
        self.time = simulation.time
        self.stalled_until = 0.0
        self.executor = VirtualExecutor(self.time)
        self.worker = Worker(
            self._rows(),  # type: ignore[arg-type]
            simulation.objects,
            lambda job, on_halved: self._load(),
            simulation.settings,
            worker_id=f"{device}-{simulation.books.faults['lives']}",
            beside=self.executor,
            clock=self.time,
        )
        self.worker.claims._lock = VirtualLock(self.time)  # type: ignore[assignment]
        simulation.books.faults["lives"] += 1
        self.message: Mapping[str, Any] | None = None
        self.ended = False
        self.broken_at = self.time.now + simulation.after(simulation.faults.engine_error)
        self.task = self.time.begin(self._live)
        self.tasks = [self.task, self.time.begin(self._beat)]
        for kind, fault in (("death", self._end), ("stall", self._stall), ("eviction", self._evict)):
            self.time.at(simulation.after(getattr(simulation.faults, kind)), partial(self._befall, kind, fault))

    @property
    def state(self) -> str:
        return self.simulation.devices[self.device]

    @state.setter
    def state(self, state: str) -> None:
        self.simulation.devices[self.device] = state

    def kill(self) -> None:
        self.ended = True
        self.executor.kill()
        for task in self.tasks:
            task.kill()
        self.state = "away"

    def _live(self) -> None:
        self.state = "idle"
        try:
            while True:
                self.message = self.simulation.queue.take(self)
                self.worker.handle(self.message)
                self.message = None
        except EngineFailedError:
            self.simulation.books.faults["engine errors"] += 1
        except KilledError:
            if self.ended:
                raise
            self.simulation.books.faults["poisoned"] += 1
        self.time.at(0.0, self._end)

    def _end(self) -> None:
        if not self.ended:
            self.kill()
            if self.message is not None:
                self.time.at(_REDELIVERED, partial(self.simulation.queue.deliver, self.message))
            self.simulation.gone(self)

    def _befall(self, kind: str, fault: Callable[[], None]) -> None:
        if not self.ended:
            self.simulation.books.faults[kind] += 1
            fault()

    def _stall(self) -> None:
        self.stalled_until = self.time.now + _STALL
        again = self.simulation.after(self.simulation.faults.stall)
        self.time.at(_STALL + again, partial(self._befall, "stall", self._stall))

    def _evict(self) -> None:
        def hand_back() -> None:
            self.worker.stop()
            self.time.at(0.0, self._end)

        self.tasks.append(self.time.begin(hand_back))

    def _beat(self) -> None:
        beat = self.simulation.settings.leases.beat_seconds
        self.time.sleep(self.simulation.random.uniform(0.0, beat))
        while True:
            if self.time.now >= self.stalled_until:
                self.worker.claims.beat()
            self.time.sleep(beat)

    def _rows(self) -> WorkersJobs:
        time, chance = self.time, self.simulation.random
        return WorkersJobs(
            self.simulation.jobs, lambda: time.sleep(chance.uniform(0.0, _READ)), lambda: time.sleep(_WRITE)
        )

    def _load(self) -> PlayedEngine:
        self.state = "away"
        self.time.sleep(_LOAD)
        self.state = "idle"
        return PlayedEngine(self)
