"""Noticing lost chunks and deciding what their loss means. Rules: `shared.domain.attempts`; here is only the memory."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from services.dispatcher.leases import Leases
from shared.domain import attempts, states
from shared.domain.attempts import Loss
from shared.domain.records import Chunk, Job
from shared.ports import Jobs
from shared.settings import LeaseSettings
from shared.swaps import update_job

Counts = Mapping[str, Mapping[str, int]]


def chunks_in(counts: Counts, *of_states: str) -> int:
    """The number of chunks in any of the states, out of `Jobs.count_chunks`."""
    return sum(counts[state]["chunks"] for state in of_states if state in counts)


@dataclass(frozen=True, slots=True)
class _Decided:
    """When a loss was decided, how many chunks were done then, and whether it counted."""

    at: float
    done: int
    counted: bool


@dataclass(slots=True)
class _Memory:
    """Of one job: losses by chunk, undecided, and decided within a lease time or since a chunk was done."""

    undecided: dict[str, Loss] = field(default_factory=dict)
    decided: dict[str, _Decided] = field(default_factory=dict)
    outage_until: float = float("-inf")


class Recovery:
    """Takes back chunks that nobody claimed or whose worker is lost, one job at a time."""

    def __init__(self, jobs: Jobs, settings: LeaseSettings) -> None:
        self._jobs = jobs
        self._settings = settings
        self._leases: dict[str, Leases] = {}
        self._memory: dict[str, _Memory] = {}
        self.taken_back: Counter[str] = Counter()  # chunks by pool whose worker was lost, since the start
        self._waiting: set[str] = set()

    def forget(self) -> None:
        """Start anew after a store error: every lease gets its whole time again, and nothing undecided counts."""
        self._leases.clear()
        for memory in self._memory.values():
            memory.undecided.clear()

    def drop(self, job: str) -> None:
        """The job has ended."""
        self._leases.pop(job, None)
        self._memory.pop(job, None)

    def take_back(
        self,
        job: Job,
        active: Sequence[Chunk],
        counts: Counts,
        *,
        dead: frozenset[str],
        resend: bool,
        empty: Callable[[], bool],
        now: float,
    ) -> tuple[Job, list[Chunk]]:
        """Look at the sent and running chunks of a running job; returns its row, which may have failed, and those
        chunks that are still sent or running.

        `dead` are workers known to be; `resend`: messages are known to be lost, so nothing stays sent; `empty`: whether
        the queue is, so that what was sent a lease time ago does not.
        """
        lost = self.lost(job.id, active, dead=dead, now=now)
        self._waiting = set()
        leases = self._leases[job.id]
        for chunk in active:
            if chunk.state == "sent" and (
                resend or leases.expired(chunk, now) or (leases.overdue(chunk, now) and empty())
            ):
                self._swap(chunk, states.resend(chunk))
        running = [chunk for chunk in active if chunk.state == "running"]
        memory = self._memory.setdefault(job.id, _Memory())
        self._notice(memory, lost, running, chunks_in(counts, "done"), now)
        job = self._decide(job, memory, counts, alive=len(running) - len(lost), now=now)
        return job, [chunk for chunk in active if chunk.id not in self._waiting]

    def lost(self, job: str, active: Sequence[Chunk], *, dead: frozenset[str], now: float) -> list[Chunk]:
        """Those running chunks of the job whose worker is lost; `active` are all that are to be remembered."""
        leases = self._leases.setdefault(job, Leases(self._settings))
        leases.observe(active, now)
        running = [chunk for chunk in active if chunk.state == "running"]
        return [c for c in running if c.lost or c.worker in dead or leases.expired(c, now)]

    def _notice(self, memory: _Memory, lost: Sequence[Chunk], running: Sequence[Chunk], done: int, now: float) -> None:
        before = memory.undecided
        horizon = now - self._settings.lease_seconds
        lost_ids = {chunk.id for chunk in lost}
        memory.decided = {
            k: v for k, v in memory.decided.items() if k not in lost_ids and (v.at > horizon or v.done == done)
        }
        workers = [chunk.worker for chunk in running]
        memory.undecided = {}
        for chunk in lost:
            known = before.get(chunk.id)
            if known is None or known.chunk.generation != chunk.generation:
                seen = self._leases[chunk.job].first_seen(chunk)
                recent = sum(
                    attempts.related(chunk, done, seen=seen, earlier=one.at, done_then=one.done)
                    for one in memory.decided.values()
                )
                known = Loss(chunk, now, workers.count(chunk.worker) > 1, recent)
            memory.undecided[chunk.id] = known

    def _decide(self, job: Job, memory: _Memory, counts: Counts, *, alive: int, now: float) -> Job:
        losses = list(memory.undecided.values())
        verdicts = attempts.judge(
            losses,
            running=alive,
            chunks=sum(sums["chunks"] for state, sums in counts.items() if state != "split"),
            now=now,
            lease_seconds=self._settings.lease_seconds,
        )
        done, progress = chunks_in(counts, "done"), chunks_in(counts, "done", "quarantined")
        if now < memory.outage_until:
            verdicts = ["outage"] * len(losses)
        elif "outage" in verdicts:
            job = self._begin_outage(job, memory, losses, progress, now)
        for loss, verdict in zip(losses, verdicts, strict=True):
            if verdict != "wait":
                del memory.undecided[loss.chunk.id]
                job = self._apply(job, memory, loss, verdict, done=done, progress=progress, now=now)
        return job

    def _begin_outage(self, job: Job, memory: _Memory, losses: Sequence[Loss], progress: int, now: float) -> Job:
        for chunk_id, one in memory.decided.items():
            chunk = self._jobs.chunk(chunk_id)
            if one.counted and chunk.state == "pending" and chunk.losses:
                self._jobs.swap_chunk(chunk, states.forgive(chunk))
        memory.decided.clear()
        memory.outage_until = now + self._settings.lease_seconds
        return self._count(job, states.count_wave, progress, _words(losses[-1].chunk))

    def _apply(
        self, job: Job, memory: _Memory, loss: Loss, verdict: str, *, done: int, progress: int, now: float
    ) -> Job:
        chunk, words = loss.chunk, _words(loss.chunk)
        if verdict == "counted":
            new = states.lose_counted(chunk, error=words)
        elif verdict == "solo":
            new = states.lose_solo(chunk, done=done, error=words)
        else:
            new = states.lose_uncounted(chunk, error=words)
        if not self._swap(chunk, new):  # it was finished, handed back or kept alive after all
            return job
        self.taken_back[job.pool] += 1
        if verdict != "outage":
            memory.decided[chunk.id] = _Decided(now, done, verdict == "counted")
        if verdict == "unready":
            return self._count(job, states.count_unready, progress, words)
        return job

    def _swap(self, chunk: Chunk, new: Chunk) -> bool:
        swapped = self._jobs.swap_chunk(chunk, new)
        if swapped:
            self._waiting.add(chunk.id)
        return swapped

    def _count(self, job: Job, count: Callable[..., Job], progress: int, error: str) -> Job:
        def change(row: Job) -> Job | None:
            return count(row, progress=progress, error=error) if row.state == "running" else None

        return update_job(self._jobs, job.id, change)


def _words(chunk: Chunk) -> str:
    when = "while it ran" if chunk.ready else "before its engine was ready, with"
    last = chunk.position + chunk.products - 1
    return chunk.error or f"worker {chunk.worker} was lost {when} products {chunk.position} to {last}"
