"""Letting jobs in: at most so many outstanding products per tenant, however many gateways there are."""

from http import HTTPStatus

from services.gateway.context import Context
from services.gateway.problems import RefusedError
from shared.domain import quota, states
from shared.domain.errors import NotFoundError
from shared.domain.records import Job
from shared.ports import Jobs

STALE_SECONDS = 60.0  # between letting a job in and making its row a request takes milliseconds
_RETRY_SECONDS = 60


class Admissions:
    """Judges requests of every tenant. For several threads."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._seen: dict[str, float] = {}  # pending job -> when this process first saw it, by its own clock

    def admit(self, job: Job) -> None:
        """Let a job in that is about to be made. Raises RefusedError (429) past the quota."""
        keys, jobs = self._context.stores.keys, self._context.stores.jobs
        most = self._context.settings.gateway.quota_products
        while True:
            row = keys.admission(job.tenant)  # before the jobs: what it lets go of meanwhile is among them
            remaining = {
                one.id: _remaining(jobs, one) for one in jobs.jobs(states.UNFINISHED) if one.tenant == job.tenant
            }
            known = [name for name in row.pending if name in remaining or _is_there(jobs, name)]
            stale = self._stale([name for name in row.pending if name not in known])
            new = quota.admit(row, remaining, known, job.id, job.products, most=most, stale=stale)
            if new is None:
                self._context.metrics.refused.inc()
                used = quota.outstanding(row, remaining, stale)
                raise RefusedError(
                    HTTPStatus.TOO_MANY_REQUESTS,
                    f"{used:,} products of tenant '{job.tenant}' are outstanding, and with {job.products:,} more they "
                    f"would be over its quota of {most:,}; wait for jobs to end, or cancel some",
                    {"Retry-After": str(_RETRY_SECONDS)},
                )
            if keys.swap_admission(row, new):
                return

    def _stale(self, pending: list[str]) -> list[str]:
        """Those whose request died before it made them, as far as this process has watched them."""
        now = self._context.clock()
        self._seen = {name: self._seen.get(name, now) for name in pending}
        return [name for name, since in self._seen.items() if now - since > STALE_SECONDS]


def _remaining(jobs: Jobs, job: Job) -> int:
    counts = jobs.count_chunks(job.id)
    return job.products - sum(sums["done"] + sums["failed"] for sums in counts.values())


def _is_there(jobs: Jobs, job: str) -> bool:
    try:
        jobs.job(job)
    except NotFoundError:
        return False
    return True
