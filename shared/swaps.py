"""Compare-and-set with another try: what both sides of a job do to its row."""

from collections.abc import Callable

from shared.domain.records import Job
from shared.ports import Jobs


def update_job(jobs: Jobs, job: str, change: Callable[[Job], Job | None]) -> Job:
    """Apply `change` to the row as it is now, again whenever somebody else was first; None leaves it. Returns the row.

    Raises what `change` raises, and NotFoundError.
    """
    while True:
        old = jobs.job(job)
        new = change(old)
        if new is None:
            return old
        if jobs.swap_job(old, new):
            return new
