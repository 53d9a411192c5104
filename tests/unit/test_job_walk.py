"""Random walks over whole jobs: dispatchers that die, two that lead, workers that die, stall, come late, stores away.

What must hold (I4 to I7): one outcome per product; no product is blamed but those that take workers down; counts equal
what is stored; every job ends once faults stop.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shared.domain import states
from shared.domain.chunks import in_order
from shared.domain.errors import StoreUnavailableError
from shared.domain.records import Chunk, Outcome
from shared.job_requests import reclaim
from tests.job_scene import Scene

LEASE = 30.0
workers = st.integers(0, 2)


class DispatcherDiedError(BaseException):
    """The dispatcher's process is gone, in the middle of a step."""


@dataclass
class SimulatedWorker:
    """Claims and outcomes by the same transitions as the real one, one small step at a time."""

    id: str
    ready: bool = False
    held: list[Chunk] = field(default_factory=list)
    written: set[str] = field(default_factory=set)


class JobWalk(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.generations: dict[str, int] = {}
        self.names = 0
        self.environment_faults = 0

    @initialize(
        products=st.integers(1, 24),
        poison=st.sets(st.integers(100, 123), max_size=3),
        chunk_images=st.integers(1, 8),
        packs=st.integers(1, 2),
    )
    def begin(self, products: int, poison: set[int], chunk_images: int, packs: int) -> None:
        self.poison = {product for product in poison if product < 100 + products}
        self.scene = Scene(Path(self.folder.name), [1] * products, chunk_images=chunk_images, packs=packs)
        self.rival = self.scene.new_dispatcher()
        self.products = products
        self.workers = [self.new_worker() for _ in range(3)]

    def teardown(self) -> None:
        try:
            if hasattr(self, "workers"):
                self.faults_stop()
        finally:
            self.folder.cleanup()

    def new_worker(self) -> SimulatedWorker:
        self.names += 1
        return SimulatedWorker(f"w{self.names}")

    def kill(self, number: int, *, known: bool) -> None:
        if known:
            self.scene.queue.dead.add(self.workers[number].id)
        self.workers[number] = self.new_worker()

    # --- the dispatcher

    @rule(seconds=st.sampled_from([0.2, LEASE / 3, LEASE]))
    def step(self, seconds: float) -> None:
        """Whoever holds a chunk for long without a beat loses it, but one that runs a solo chunk keeps it alive."""
        self.environment_faults += any(worker.held for worker in self.workers)
        self.scene.steps(1, seconds)
        self.keep_solo_alive()

    @rule(new=st.booleans())
    def another_dispatcher_leads_too(self, new: bool) -> None:
        """With a memory of its own, which may be of long ago."""
        self.environment_faults += any(worker.held for worker in self.workers)
        if new:
            self.rival = self.scene.new_dispatcher()
        self.rival.step()

    def keep_solo_alive(self) -> None:
        for number in range(3):
            if not self.blameless(number):
                self.beat(number)

    @rule(writes=st.integers(0, 6), another=st.booleans())
    def dispatcher_dies_within_a_step(self, writes: int, another: bool) -> None:
        store, left = self.scene.jobs, writes

        def dying(write: Callable[..., Any]) -> Callable[..., Any]:
            def call(*given: Any) -> Any:
                nonlocal left
                if not left:
                    raise DispatcherDiedError
                left -= 1
                return write(*given)

            return call

        names = ("swap_job", "swap_chunk", "add_chunks", "add_outcomes")
        for name in names:
            setattr(store, name, dying(getattr(store, name)))
        try:
            self.scene.steps()
        except DispatcherDiedError:
            another = True
        finally:
            for name in names:
                delattr(store, name)
        if another:
            self.scene.dispatcher = self.scene.new_dispatcher()

    @rule()
    def the_store_is_away(self) -> None:
        self.scene.jobs.away = True
        try:
            self.scene.steps()
        except StoreUnavailableError:
            self.scene.clock.sleep(60)
        self.scene.jobs.away = False

    @rule()
    def the_owner_restarts(self) -> None:
        for number in range(3):
            self.kill(number, known=False)
        reclaim(self.scene.jobs)
        self.scene.dispatcher, self.rival = self.scene.new_dispatcher(), self.scene.new_dispatcher()

    # --- workers

    @rule(number=workers)
    def claim(self, number: int) -> None:
        worker = self.workers[number]
        if self.scene.job.state != "running" or any(chunk.solo for chunk in worker.held):
            return
        sent = [chunk for chunk in in_order(self.scene.chunks("sent")) if not (chunk.solo and worker.held)]
        if sent:
            mine = states.claim(sent[0], worker=worker.id, ready=worker.ready)
            assert self.scene.jobs.swap_chunk(sent[0], mine)
            worker.held.append(mine)

    @rule(number=workers)
    def beat(self, number: int) -> None:
        worker = self.workers[number]
        worker.ready = worker.ready or bool(worker.held)
        worker.held = [c for c in worker.held if self.scene.jobs.beat(c.id, c.generation, ready=worker.ready)]

    @rule(number=workers)
    def score(self, number: int) -> None:
        """Insert the outcomes of one chunk, or die of it."""
        worker = self.workers[number]
        for chunk in worker.held:
            if worker.ready and chunk.id not in worker.written:
                ids = range(100 + chunk.position, 100 + chunk.position + chunk.products)
                if self.poison & set(ids):
                    self.kill(number, known=True)
                else:
                    self.scene.jobs.add_outcomes(
                        Outcome(job="job1", product=i, position=i - 100, chunk=chunk.id) for i in ids
                    )
                    worker.written.add(chunk.id)
                return

    @rule(number=workers)
    def finish(self, number: int) -> None:
        worker = self.workers[number]
        for chunk in [c for c in worker.held if c.id in worker.written]:
            worker.held.remove(chunk)
            self.scene.finish(chunk)

    @rule(number=workers)
    def hand_back(self, number: int) -> None:
        worker = self.workers[number]
        for chunk in worker.held:
            self.scene.jobs.swap_chunk(chunk, states.hand_back(chunk))
        worker.held = []

    def blameless(self, number: int) -> bool:
        return not any(chunk.solo for chunk in self.workers[number].held)

    @rule(number=workers, known=st.booleans())
    @precondition(lambda self: any(map(self.blameless, range(3))))
    def a_worker_is_killed(self, number: int, known: bool) -> None:
        """Not one that runs a solo chunk: that is what blame is made of."""
        if self.blameless(number):
            self.environment_faults += bool(self.workers[number].held)
            self.kill(number, known=known)

    @rule(number=workers)
    def a_worker_gives_up(self, number: int) -> None:
        worker = self.workers[number]
        if self.blameless(number):
            self.environment_faults += bool(worker.held)
            for chunk in worker.held:
                self.scene.jobs.swap_chunk(chunk, states.give_up(chunk, error="no memory", ready=worker.ready))
            worker.held = []

    @rule(number=workers)
    def a_worker_stalls(self, number: int) -> None:
        """For longer than its lease: what it then writes is stale."""
        if self.blameless(number):
            self.environment_faults += 1
            self.scene.steps(1, LEASE)
            self.keep_solo_alive()
            self.scene.steps()

    # --- what must hold

    @invariant()
    def nothing_goes_back(self) -> None:
        for chunk in self.scene.chunks() if hasattr(self, "workers") else []:
            assert chunk.generation >= self.generations.get(chunk.id, 0)
            self.generations[chunk.id] = chunk.generation
            assert chunk.done + chunk.failed in (0, chunk.products)

    @invariant()
    def only_the_guilty_are_blamed(self) -> None:
        for chunk in self.scene.chunks("quarantined") if hasattr(self, "workers") else []:
            assert 100 + chunk.position in self.poison
        for product, error in self.scene.answers().items() if hasattr(self, "workers") else []:
            assert not error or product in self.poison

    def faults_stop(self) -> None:
        for number in range(3):
            self.kill(number, known=True)
        for _ in range(600):
            self.scene.steps(1, 1.0)
            if self.scene.job.state in states.ENDED:
                break
            self.claim(0)
            self.beat(0)
            self.score(0)
            self.finish(0)
        job = self.scene.job
        assert job.state in states.ENDED, self.scene.counts()
        self.only_the_guilty_are_blamed()
        if job.state == "failed":
            assert job.error
            assert self.environment_faults or len(self.poison) == self.products
            return
        assert job.state == ("finished with errors" if self.poison else "succeeded")
        answers = self.scene.answers()
        assert sorted(answers) == list(range(100, 100 + self.products))
        assert {product for product, error in answers.items() if error} == self.poison
        leaves = [chunk for chunk in self.scene.chunks() if chunk.state != "split"]
        assert sorted(p for c in leaves for p in range(c.position, c.position + c.products)) == list(
            range(self.products)
        )
        assert sum(chunk.done for chunk in leaves) == self.products - len(self.poison)
        assert sum(chunk.failed for chunk in leaves) == len(self.poison)


TestJobWalk = JobWalk.TestCase
TestJobWalk.settings = settings(max_examples=50, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow])
