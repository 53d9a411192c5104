"""The dispatcher: looks at the rows, stores what follows from them by compare-and-set, and sends messages.

Two dispatchers at work are harmless, and what one that dies leaves undone is done by the next step of any other.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from services.dispatcher import planning, sending
from services.dispatcher.idle import EmptyQueues, IdlePools
from services.dispatcher.recovery import Counts, Recovery, chunks_in
from services.dispatcher.turns import Turns
from shared.domain import attempts, chunks, states
from shared.domain.errors import FailedError, StoreUnavailableError
from shared.domain.records import Chunk, Job, Outcome
from shared.job_progress import Progress, Speed, observe
from shared.ports import Clock, Jobs, Objects, Queue
from shared.settings import Settings
from shared.swaps import update_job

log = logging.getLogger(__name__)

MOST_BACK_OFF = 10.0  # seconds between two looks at a store that is away
REPORT_SECONDS = 1.0
_RECOUNT_SECONDS = 1.0  # counting reads every chunk of a job; nothing that a count decides is in more of a hurry


@dataclass(frozen=True, slots=True)
class _Running:
    """A running job as a step sees it: its sent and running chunks, and its chunks by state, a second old at most."""

    job: Job
    active: Sequence[Chunk]
    counts: Counts


@dataclass(frozen=True, slots=True)
class _Counted:
    """The counts of a job, when they were made, and its active chunks at that moment."""

    counts: Counts
    at: float
    active: frozenset[tuple[str, int]]


class Dispatcher:
    """Drives unfinished jobs of the store. Not for several threads."""

    def __init__(
        self,
        jobs: Jobs,
        objects: Objects,
        queue: Queue,
        settings: Settings,
        *,
        clock: Clock = time.monotonic,
        now: Clock = time.time,
    ) -> None:
        """`clock` judges durations, `now` is written into rows for people to read."""
        self._jobs = jobs
        self._objects = objects
        self._queue = queue
        self._settings = settings
        self._clock = clock
        self._now = now
        self._recovery = Recovery(jobs, settings.leases)
        self._complete_splits: set[str] = set()
        self._dead: frozenset[str] = frozenset()
        self._turns: dict[str, Turns] = {}
        self._counted: dict[str, _Counted] = {}
        self._idle = IdlePools(settings.leases)
        self._queues = EmptyQueues(queue.waiting)
        self._speeds: dict[str, Speed] = {}
        self.sent: Counter[str] = Counter()  # messages by pool, since the start
        self.quarantined = 0
        self._reported: dict[str, Progress] = {}

    @property
    def lost(self) -> Counter[str]:
        """Chunks by pool whose worker was lost, since the start."""
        return self._recovery.taken_back

    def step(self, only: Container[str] | None = None) -> None:
        """One look at every unfinished job, or at those in `only`.

        Raises StoreUnavailableError, after which all leases start anew.
        """
        try:
            self._step(only)
        except StoreUnavailableError:
            self._recovery.forget()
            raise

    def run(
        self,
        job_ids: Sequence[str],
        report: Callable[[Progress], None] = lambda _: None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> list[Job]:
        """Drive these jobs alone until they have ended, report on them every second and once at the end; their rows.

        A store that is away is waited for. Raises FailedError when no worker can be started.
        """
        poll = self._settings.leases.poll_seconds
        wait, reported = poll, float("-inf")
        while True:
            try:
                self.step(only=job_ids)
                rows = [self._jobs.job(job) for job in job_ids]
                ended = all(row.state in states.ENDED for row in rows)
                if ended or self._clock() - reported >= REPORT_SECONDS:
                    reported = self._clock()
                    for row in rows:
                        report(self._progress(row))
                if ended:
                    return rows
                wait = poll
            except StoreUnavailableError as error:
                log.warning("waiting %.1f s: %s", wait, error)
                for progress in self._reported.values():
                    report(replace(progress, message=str(error)))
                wait = min(2 * wait, MOST_BACK_OFF)
            sleep(wait)

    def _progress(self, job: Job) -> Progress:
        progress = observe(self._jobs, job, self._speeds.setdefault(job.id, Speed()), self._clock())
        self._reported[job.id] = progress
        return progress

    def _step(self, only: Container[str] | None) -> None:
        dead = self._queue.lost_workers()
        resend = bool(dead - self._dead)
        running = []
        for job in reversed(self._jobs.jobs(states.UNFINISHED)):
            if only is not None and job.id not in only:
                continue
            if job.state in ("queued", "planning"):
                self._plan(job)
            elif job.state == "cancelling":
                self._cancel(job, dead)
            else:
                active = self._jobs.chunks(job.id, states.ACTIVE_CHUNKS)
                running.append(_Running(job, active, self._count(job, active)))
        self._counted = {one.job.id: self._counted[one.job.id] for one in running}
        stranded = self._idle.stranded([(one.job, one.active) for one in running], self._clock())
        still = []
        for one in running:
            lost = resend or one.job.pool in stranded
            if (left := self._advance(one, dead, lost)) is not None:
                still.append(left)
        self._dead = dead
        pools = dict.fromkeys(one.job.pool for one in still)
        for pool in pools:
            self._send(pool, [one for one in still if one.job.pool == pool])
        self._turns = {pool: turns for pool, turns in self._turns.items() if pool in pools}

    def _count(self, job: Job, active: Sequence[Chunk]) -> Counts:
        """The chunks by state: counted anew when the active ones have changed, and from time to time."""
        seen = frozenset((chunk.id, chunk.generation) for chunk in active)
        known = self._counted.get(job.id)
        if known is None or known.active != seen or self._clock() - known.at >= _RECOUNT_SECONDS:
            known = self._counted[job.id] = _Counted(self._jobs.count_chunks(job.id), self._clock(), seen)
        return known.counts

    def _plan(self, job: Job) -> None:
        try:
            planning.plan(self._jobs, self._objects, job)
        except FailedError as error:
            self._fail(job, str(error))

    def _advance(self, running: _Running, dead: frozenset[str], resend: bool) -> _Running | None:
        """One step of a running job; None once it does not run any more."""
        job, counts = running.job, running.counts
        if _answered(counts) == job.products:
            self._end(job, failed=sum(sums["failed"] for sums in counts.values()))
            return None
        active = running.active
        now = self._clock()
        job, active = self._recovery.take_back(
            job, active, counts, dead=dead, resend=resend, empty=lambda: self._queues.empty(job.pool, now), now=now
        )
        if attempts.failing(job):
            self._fail(job, job.error)
            return None
        if chunks_in(counts, "split"):
            self._complete_children(job)
        return _Running(job, active, counts)

    def _end(self, job: Job, *, failed: int) -> None:
        self._jobs.swap_job(job, states.finish(job, failed=failed, at=self._now()))
        self._recovery.drop(job.id)

    def _fail(self, job: Job, error: str) -> None:
        def change(row: Job) -> Job | None:
            return None if row.state in (*states.ENDED, "cancelling") else states.fail(row, error=error, at=self._now())

        update_job(self._jobs, job.id, change)
        self._recovery.drop(job.id)

    def _cancel(self, job: Job, dead: frozenset[str]) -> None:
        """Workers cancel what they run; nobody else's chunk is waited for longer than its lease."""
        for chunk in self._jobs.chunks(job.id, ("pending", "sent")):
            self._jobs.swap_chunk(chunk, states.cancel_chunk(chunk))
        running = self._jobs.chunks(job.id, ("running",))
        for chunk in self._recovery.lost(job.id, running, dead=dead, now=self._clock()):
            self._jobs.swap_chunk(chunk, states.cancel_chunk(chunk))
        if not self._jobs.chunks(job.id, ("pending", *states.ACTIVE_CHUNKS), limit=1):
            self._jobs.swap_job(job, states.end_cancelled(job, at=self._now()))
            self._recovery.drop(job.id)

    def _complete_children(self, job: Job) -> None:
        for parent in self._jobs.chunks(job.id, ("split",)):
            if parent.id not in self._complete_splits:
                planning.add_children(self._jobs, self._objects, job, parent)
                self._complete_splits.add(parent.id)

    def _send(self, pool: str, running: Sequence[_Running]) -> None:
        by_id = {one.job.id: one.job for one in running}
        active = [chunk for one in running for chunk in one.active]
        on_the_way = {chunk.id for chunk in active}
        turns = self._turns.setdefault(pool, Turns())
        turns.keep(list(by_id))
        self._settle(turns, on_the_way)
        room = sending.window(self._settings.dispatch, active) - len(on_the_way)
        if room <= 0:
            return
        groups = {one.job.id: deque(self._groups(one.job, one.counts)) for one in running}
        for job_id, group in sending.take_turns(groups, room, turns):
            sent = [new for chunk in group if self._jobs.swap_chunk(chunk, new := states.send(chunk))]
            if sent:
                self._hand_over(sending.message(by_id[job_id], sent), sent)
                self.sent[pool] += 1

    def _hand_over(self, message: Mapping[str, Any], sent: Sequence[Chunk]) -> None:
        """Send a message; its chunks wait again where the queue is away. Raises StoreUnavailableError."""
        try:
            self._queue.send(message)
        except StoreUnavailableError:
            for chunk in sent:
                self._jobs.swap_chunk(chunk, states.resend(chunk))
            raise

    def _settle(self, turns: Turns, on_the_way: Collection[str]) -> None:
        """Let chunks that were sent and are on their way no more say what they took."""
        for chunk_id in turns.on_the_way():
            if chunk_id not in on_the_way:
                turns.settle(self._jobs.chunk(chunk_id))

    def _groups(self, job: Job, counts: Counts) -> list[list[Chunk]]:
        """The messages that pending chunks make; those due for it are split or quarantined instead."""
        done = chunks_in(counts, "done")
        steps: dict[str, list[Chunk]] = {"send": [], "split": [], "quarantine": [], "hold": []}
        for chunk in self._jobs.chunks(job.id, ("pending",), limit=4 * self._settings.dispatch.window_chunks):
            steps[attempts.due(chunk, done)].append(chunk)
        for chunk in steps["quarantine"]:
            self._quarantine(job, chunk)
        for chunk in steps["split"]:
            if self._jobs.swap_chunk(chunk, states.split(chunk, cuts=chunks.cuts(chunk), done=done)):
                self._complete_children(job)
        if steps["hold"] and len(steps["hold"]) == job.products - _answered(counts):
            self._fail(job, steps["hold"][-1].error)  # nothing is left that could show that the environment works
        return list(sending.messages(chunks.in_order(steps["send"]), self._settings.dispatch.message_chunks))

    def _quarantine(self, job: Job, chunk: Chunk) -> None:
        """The outcome first, then the swap: whoever repeats it finds the outcome there."""
        product = planning.product_at(self._objects, job, chunk)
        error = f"quarantined: it took its worker down {chunk.losses} times; last: {chunk.error}"
        self._jobs.add_outcomes(
            [Outcome(job=job.id, product=product, position=chunk.position, chunk=chunk.id, error=error)]
        )
        (stored,) = self._jobs.outcomes(job.id, after=chunk.position - 1, limit=1)
        if self._jobs.swap_chunk(chunk, states.quarantine(chunk, answered=not stored.error)):
            self.quarantined += 1


def _answered(counts: Counts) -> int:
    return sum(sums["done"] + sums["failed"] for sums in counts.values())
