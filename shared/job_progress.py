"""How far a job is, from its rows, and how fast it goes."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from shared.domain.records import Job
from shared.ports import Jobs

RATE_SECONDS = 30.0
"""The rate is that of the last half minute: long enough to be steady over chunks, short enough to follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Products done (with a prediction) and failed (with an error), and those that workers are through with in chunks
    whose outcomes are not stored yet.

    Among the done: those decided (by duplicates alone) and those copied (from the job that the job's `since` names).
    """

    job: str
    state: str
    products: int
    done: int
    failed: int
    decided: int
    copied: int
    through: int
    chunks: Mapping[str, int]  # by state
    rate: float  # products per second; 0 while unknown
    seconds_left: float | None  # None while unknown
    halvings: int
    message: str  # what a person should know; empty when all is as usual


class Speed:
    """Products per second of one job over the last `RATE_SECONDS` of an injected clock."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def __call__(self, now: float, products: int) -> float:
        """Note `products` finished by `now`; the rate."""
        self._samples.append((now, products))
        while now - self._samples[0][0] > RATE_SECONDS and len(self._samples) > 2:
            self._samples.popleft()
        (then, before) = self._samples[0]
        return (products - before) / (now - then) if now > then else 0.0


def observe(jobs: Jobs, job: Job, speed: Speed, now: float) -> Progress:
    """The job's progress at `now`."""
    counts = jobs.count_chunks(job.id)
    names = ("done", "failed", "decided", "copied")
    done, failed, decided, copied = (sum(sums[name] for sums in counts.values()) for name in names)
    running = jobs.chunks(job.id, ("running",)) if "running" in counts else ()
    through = sum(chunk.through for chunk in running)
    finished = done + failed + through
    rate = max(0.0, speed(now, finished))  # what a lost worker was through with has to be scored again
    return Progress(
        job=job.id,
        state=job.state,
        products=job.products,
        done=done,
        failed=failed,
        decided=decided,
        copied=copied,
        through=through,
        chunks={state: sums["chunks"] for state, sums in counts.items()},
        rate=rate,
        seconds_left=(job.products - finished) / rate if rate else None,
        halvings=job.halvings,
        message=_message(jobs, job),
    )


def _message(jobs: Jobs, job: Job) -> str:
    if job.error:
        return job.error
    waiting = jobs.chunks(job.id, ("pending", "sent"), limit=1) if job.state == "running" else []
    if waiting and waiting[0].error:
        return waiting[0].error
    return f"out of memory: batch shape halved to {job.batch_images}" if job.halvings else ""
