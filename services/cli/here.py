"""The verbs on the stores of this machine's home."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.cli.driving import (
    cancel_job,
    export_job,
    holdout_figures,
    job_facts,
    read_source,
    run_job,
    train_ensemble,
    watch_job,
)
from services.cli.place import Facts
from services.cli.run_names import find
from services.cli.session import Session
from services.ingest import IngestRequest
from shared import ensemble_versions, removal, run_log, training_requests, wiring
from shared.domain.ensemble import Ensemble
from shared.domain.records import Dataset, EnsembleVersion, Run
from shared.dumps import FileDump
from shared.ensemble_import import import_ensemble
from shared.ingest_requests import IngestOrder
from shared.job_requests import JobRequest
from shared.packs import Manifest
from shared.run_log import Line, RunLog

_ASK_SECONDS = 300.0  # a cold child loads torch and every member first
_ASK_GRACE_SECONDS = 2.0


class Here:
    """The place that is this machine."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stores = session.stores

    def ingest(self, order: IngestOrder) -> Manifest:
        """See `Place`."""
        request = IngestRequest(
            source=order.source,
            dataset=order.dataset,
            categories=Path(order.categories) if order.categories else None,
            allow_bad=order.allow_bad,
            processes=order.processes,
        )
        with self._session.exclusive():
            return read_source(self._session, request)

    def datasets(self) -> list[Dataset]:
        """See `Place`."""
        return self._stores.catalog.datasets()

    def train(self, ensemble: Ensemble, dataset: str, members: Sequence[str] | None) -> Facts:
        """See `Place`."""
        with self._session.exclusive():
            version = train_ensemble(self._session, ensemble, dataset, members)
        if version is None:
            return {"ensemble": ensemble.name, "version": None, "runs": {}, "holdout": {}}
        found = {"ensemble": version.name, "version": version.version, "runs": dict(version.runs)}
        return {**found, "holdout": holdout_figures(self._session, version)}

    def runs(self) -> list[Line]:
        """See `Place`."""
        rows = self._stores.runs.runs()
        self._remark_if_idle(rows)
        return [run_log.summary(self._stores.objects, row) for row in rows]

    def run(self, name: str) -> tuple[Run, RunLog]:
        """See `Place`."""
        known = {row.id: row for row in self._stores.runs.runs()}
        trainings = (training.runs for training in reversed(self._stores.runs.trainings()))
        row = known[find(known, trainings, name)]
        self._remark_if_idle([row])
        return row, run_log.read(self._stores.objects, row.id)

    def versions(self) -> list[Facts]:
        """See `Place`."""
        return [ensemble_versions.summary(self._stores.runs, version) for version in self._stores.runs.versions()]

    def version(self, name: str) -> tuple[EnsembleVersion, bool]:
        """See `Place`."""
        version = self._stores.runs.version(*name.split("@", 1))
        return version, self._is_current(version)

    def import_version(
        self, ensemble: Ensemble, dataset: str, weights: Mapping[str, str], *, current: bool
    ) -> EnsembleVersion:
        """See `Place`."""
        files = {member: FileDump(Path(file)) for member, file in weights.items()}
        with self._session.exclusive():
            return import_ensemble(self._stores, ensemble, dataset, files, move_current=current, now=time.time())

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

    def cancel_training(self, training: str) -> str:
        """See `Place`."""
        return training_requests.cancel(self._stores, training).state

    def remove(self, kind: str, name: str) -> None:
        """See `Place`."""
        stores = self._stores
        with self._session.exclusive():
            if kind == "dataset":
                removal.remove_dataset(stores.objects, stores.catalog, stores.runs, stores.jobs, name)
            elif kind == "run":
                removal.remove_run(stores.objects, stores.runs, name)
            elif kind == "ensemble":
                removal.remove_version(stores.objects, stores.runs, stores.jobs, name)
            elif kind == "training":
                removal.remove_training(stores.runs, wiring.launcher(self._session.settings), name)
            else:
                removal.remove_job(stores.objects, stores.jobs, name)

    def export(self, job: str, output: Path, form: str, combination: str | None, fill: int | None) -> int:
        """See `Place`."""
        return export_job(self._session, self._stores.jobs.job(job), output, form, combination, fill)

    def predict(self, ensemble: str, pictures: Sequence[bytes]) -> Facts:
        """See `Place`."""
        from services.gateway import answers  # FastAPI would slow every other verb down

        version, _ = self.version(ensemble)
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

    def _is_current(self, version: EnsembleVersion) -> bool:
        return self._stores.runs.current(version.name) == version.version

    def _remark_if_idle(self, rows: Sequence[Run]) -> None:
        if any(row.state == "running" for row in rows):
            self._session.remark_if_idle("train")
