"""The verbs on the stores of this machine's home."""

import time
from collections.abc import Sequence
from pathlib import Path

from services.cli.app import Session
from services.cli.driving import cancel_job, job_facts, run_job, watch_job
from services.cli.place import Facts
from services.cli.results import export_job
from shared import wiring
from shared.domain.records import Dataset
from shared.job_requests import JobRequest

_ASK_SECONDS = 300.0  # a cold child loads torch and every member first
_ASK_GRACE_SECONDS = 2.0


class Here:
    """The place that is this machine."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stores = session.stores

    def datasets(self) -> list[Dataset]:
        """See `Place`."""
        return self._stores.catalog.datasets()

    def score(self, request: JobRequest) -> Facts:
        """See `Place`."""
        with self._session.exclusive():
            job = run_job(self._session, request)
        return job_facts(self._session, job)

    def jobs(self) -> list[Facts]:
        """See `Place`."""
        found = [job_facts(self._session, row) for row in self._stores.jobs.jobs()]
        if any(one["state"] == "running" for one in found):
            self._session.remark_if_idle("score")
        return found

    def job(self, job: str) -> Facts:
        """See `Place`."""
        row = self._stores.jobs.job(job)
        if row.state == "running":
            self._session.remark_if_idle("score")
        return job_facts(self._session, row)

    def errors(self, job: str, most: int) -> list[tuple[int, str]]:
        """See `Place`."""
        return [(one.product, one.error) for one in self._stores.jobs.outcomes(job, limit=most, errors_only=True)]

    def watch(self, job: str) -> None:
        """See `Place`."""
        watch_job(self._session, job)

    def cancel(self, job: str) -> str:
        """See `Place`."""
        return cancel_job(self._session, job)

    def export(self, job: str, output: Path, form: str, combination: str | None, fill: int | None) -> int:
        """See `Place`."""
        return export_job(self._session, self._stores.jobs.job(job), output, form, combination, fill)

    def predict(self, ensemble: str, pictures: Sequence[bytes]) -> Facts:
        """See `Place`."""
        from services.gateway import answers  # FastAPI would slow every other verb down

        name, _, asked = ensemble.partition("@")
        version = self._stores.runs.version(name, asked)
        queue = wiring.queue(self._session.settings)
        try:
            return answers.ask(
                self._stores.objects,
                queue,
                version,
                pictures,
                pool=self._session.settings.worker.pool,
                timeout=_ASK_SECONDS,
                now=time.time(),
            ).model_dump()
        finally:
            queue.close(grace=_ASK_GRACE_SECONDS)

    def keys(self) -> list[Facts]:
        """See `Place`."""
        from services.gateway.keys import plain

        return [plain(key) for key in self._stores.keys.all_keys()]

    def add_key(self, name: str, tenant: str, scopes: Sequence[str]) -> Facts:
        """See `Place`."""
        from services.gateway.authentication import new_key
        from services.gateway.keys import plain

        key, secret = new_key(tenant, tuple(scopes), name, time.time())
        return plain(self._stores.keys.add_key(key)) | {"secret": secret}

    def revoke_key(self, key: str) -> None:
        """See `Place`."""
        self._stores.keys.revoke_key(key)
