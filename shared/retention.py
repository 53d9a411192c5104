"""Garbage of a home: what retention no longer keeps, and what work that died has left behind.

`find` only looks. Each garbage is removed on its own, and what a kill leaves of it the next `find` finds again. Rows
that `shared.domain.retention` spares and everything they name stay; what no row names is removed only where it can be
nothing but an unfinished piece, else it is named and left to a person.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from shared import layout, removal
from shared.domain import retention as rules
from shared.domain import runs as run_rules
from shared.domain.errors import NotFoundError
from shared.domain.records import EnsembleVersion, Ingest, Job, Run, Training
from shared.domain.states import ENDED
from shared.ports import Catalog, Jobs, Objects, Runs
from shared.settings import RetentionSettings

_OWN = ("datasets", "runs", "jobs", "ensembles", "pretrained", "uploads")
_UNKNOWN = "no row names it; restore the document store, or remove it by hand"


@dataclass(frozen=True, slots=True)
class Garbage:
    """One thing to remove, its objects' bytes, and how; without `remove` it is only named."""

    kind: str
    name: str
    why: str
    bytes: int
    remove: Callable[[], None] | None


def find(
    objects: Objects, catalog: Catalog, runs: Runs, jobs: Jobs, settings: RetentionSettings, now: float
) -> list[Garbage]:
    """Everything to remove, in an order in which it can be. `now`: seconds since the epoch.

    Raises FailedError where a damaged manifest hides what is in use.
    """
    return list(_Survey(objects, catalog, runs, jobs, settings, now).found())


class _Survey:
    """One look at all stores; what is found to go counts as gone for what comes after it."""

    def __init__(
        self, objects: Objects, catalog: Catalog, runs: Runs, jobs: Jobs, settings: RetentionSettings, now: float
    ) -> None:
        self._objects, self._catalog, self._runs, self._jobs = objects, catalog, runs, jobs
        self._settings, self._now = settings, now
        self._versions: list[EnsembleVersion] = runs.versions()
        self._trainings: list[Training] = runs.trainings()
        self._run_rows: list[Run] = runs.runs()
        self._job_rows: list[Job] = jobs.jobs()
        self._keys: dict[tuple[str, str], list[str]] = {}
        for place, keys in groupby(objects.list(""), key=_place):
            self._keys.setdefault(place, []).extend(keys)

    def found(self) -> Iterator[Garbage]:
        """Jobs first: they use what comes after."""
        yield from self._expired_jobs()
        yield from self._expired_runs()
        yield from self._checkpoints()
        yield from self._datasets()
        yield from self._uploads()
        yield from self._without_rows()

    def _expired_jobs(self) -> Iterator[Garbage]:
        expired = rules.expired_jobs(self._job_rows, now=self._now, days=self._settings.job_days)
        for job in expired:
            why = f"{job.state} {self._age(job.ended or job.created)} ago"
            remove = partial(removal.remove_job, self._objects, self._jobs, job.id)
            yield self._garbage("job", job.id, why, self._of("jobs", job.id), remove)
        self._job_rows = [job for job in self._job_rows if job not in expired]
        for job in self._job_rows:
            if job.state in ENDED and (keys := self._of("jobs", job.id, "scores/")):
                named = {chunk.scores for chunk in self._jobs.chunks(job.id)}
                yield from self._loose("scores", job.id, "no chunk names them", [k for k in keys if k not in named])

    def _expired_runs(self) -> Iterator[Garbage]:
        expired = rules.expired_runs(
            self._run_rows, self._trainings, self._versions, now=self._now, days=self._settings.run_days
        )
        for run in expired:
            why = "its removal was interrupted" if run_rules.discarded(run) else self._why(run)
            remove = partial(removal.remove_run, self._objects, self._runs, run.id)
            yield self._garbage("run", run.id, why, self._of("runs", run.id), remove)
        self._run_rows = [run for run in self._run_rows if run not in expired]
        for training in rules.expired_trainings(self._trainings, self._run_rows):
            remove = partial(self._runs.remove_training, training.id)
            yield Garbage("training", training.id, "its runs are gone", 0, remove)

    def _why(self, run: Run) -> str:
        since = f"ended {self._age(run.ended)}" if run.ended else f"made {self._age(run.created)}"
        return f"{run.state}, {since} ago; no ensemble version and no training needs it"

    def _checkpoints(self) -> Iterator[Garbage]:
        for run in rules.expired_checkpoints(
            self._run_rows, self._trainings, now=self._now, days=self._settings.run_days
        ):
            keys = self._of("runs", run.id, "checkpoint/")
            keys.sort(key=lambda key: not key.endswith("/latest.json"))  # first: it says that the others are whole
            yield from self._loose("checkpoints", run.id, f"the run is {run.state}", keys)

    def _datasets(self) -> Iterator[Garbage]:
        rows = {dataset.name for dataset in self._catalog.datasets()}
        ingests = {ingest.dataset: ingest for ingest in self._catalog.ingests()}
        complete = {name for kind, name in self._keys if kind == "datasets" and self._is_whole(name)}
        referred = {needed for name in complete for needed in removal.needed_datasets(self._objects, name)}
        splits = rules.splits_in_use(self._run_rows, self._versions)
        for name in sorted({*rows, *ingests, *(name for kind, name in self._keys if kind == "datasets")}):
            if name in complete and (name in rows or name in ingests):
                yield from self._of_whole(name, ingests.get(name), splits)
            elif name in complete:
                yield self._garbage("dataset", name, _UNKNOWN, self._of("datasets", name), None)
            elif name in referred or self._unfinished(ingests.get(name)):
                continue
            elif name not in rows and name not in ingests:
                yield from self._loose("objects", f"datasets/{name}/", "no row names it", self._of("datasets", name))
            elif not self._used(name):
                remove = partial(removal.remove_dataset, self._objects, self._catalog, self._runs, self._jobs, name)
                yield self._garbage("dataset", name, "its removal was interrupted", self._of("datasets", name), remove)

    def _of_whole(self, name: str, ingest: Ingest | None, splits: set[str]) -> Iterator[Garbage]:
        if not self._unfinished(ingest):
            yield from self._loose(
                "ingest files", name, "the ingest is complete", self._of("datasets", name, "ingest/")
            )
        kept = {layout.duplicate_table(name, split) for split in splits | {"all"}}
        for key in self._of("datasets", name, "duplicates/"):
            if key not in kept:
                yield from self._loose("duplicate table", key, "no run and no ensemble version splits so", [key])

    def _uploads(self) -> Iterator[Garbage]:
        for (kind, request), keys in self._keys.items():
            if kind == "uploads":
                created = layout.upload_created(keys[0]) or 0
                if self._now - created > self._settings.upload_days * rules.DAY:
                    yield from self._loose("upload", request, "its one-off request has died", keys)

    def _without_rows(self) -> Iterator[Garbage]:
        rows = {("runs", run.id) for run in self._runs.runs()} | {("jobs", job.id) for job in self._jobs.jobs()}
        versions = {layout.ensemble_version(v.name, v.version) for v in self._versions}
        weights = rules.initial_weights(self._run_rows)
        for (kind, name), keys in self._keys.items():
            if kind == "ensembles":
                for key in keys:
                    if key not in versions:
                        yield self._garbage("ensemble", key, _UNKNOWN, [key], None)
            elif kind == "runs" and (kind, name) not in rows and layout.run_file(name, "manifest.json") in keys:
                yield self._garbage("run", name, _UNKNOWN, keys, None)
            elif kind in ("runs", "jobs") and (kind, name) not in rows:
                yield from self._loose("objects", f"{kind}/{name}/", "no row names it", keys)
            elif kind not in _OWN and (loose := [key for key in keys if key not in weights]):
                yield self._garbage("unknown", f"{kind}/{name}", "nothing of Shelver's lies there", loose, None)

    def _is_whole(self, dataset: str) -> bool:
        return layout.manifest(dataset) in self._of("datasets", dataset)

    def _unfinished(self, ingest: Ingest | None) -> bool:
        return ingest is not None and ingest.state != "complete"

    def _used(self, dataset: str) -> bool:
        users = [row.dataset for row in self._versions] + [row.dataset for row in self._run_rows]
        return dataset in [*users, *(row.dataset for row in self._job_rows)]

    def _of(self, kind: str, name: str, under: str = "") -> list[str]:
        return [key for key in self._keys.get((kind, name), []) if key.startswith(f"{kind}/{name}/{under}")]

    def _loose(self, kind: str, name: str, why: str, keys: Sequence[str]) -> Iterator[Garbage]:
        if keys:
            yield self._garbage(kind, name, why, keys, partial(_delete, self._objects, keys))

    def _garbage(
        self, kind: str, name: str, why: str, keys: Sequence[str], remove: Callable[[], None] | None
    ) -> Garbage:
        return Garbage(kind, name, why, sum(_size(self._objects, key) for key in keys), remove)

    def _age(self, since: float) -> str:
        days = int((self._now - since) / rules.DAY)
        return "1 day" if days == 1 else f"{days:,} days"


def _place(key: str) -> tuple[str, str]:
    kind, _, rest = key.partition("/")
    return kind, rest.partition("/")[0]


def _size(objects: Objects, key: str) -> int:
    try:
        return objects.size(key)
    except NotFoundError:  # removed while we look
        return 0


def _delete(objects: Objects, keys: Sequence[str]) -> None:
    for key in keys:
        objects.delete(key)
