"""Removing what a home holds: refused while anything else needs it; the row goes last, to be repeatable.

The caller holds the home alone, so nobody drives a training or a job meanwhile.
"""

import json

from shared import layout
from shared.domain import runs as rules
from shared.domain import states
from shared.domain.errors import BadInputError, ConflictError, FailedError, NotFoundError
from shared.packs import read_manifest
from shared.ports import Catalog, Jobs, Launcher, Objects, Runs
from shared.training_requests import cancel_runs


def remove_dataset(objects: Objects, catalog: Catalog, runs: Runs, jobs: Jobs, name: str) -> None:
    """Remove a dataset, or what an unfinished ingest left.

    Raises NotFoundError, ConflictError, and as `needed_datasets`.
    """
    if catalog.ingest(name) is None and name not in {d.name for d in catalog.datasets()}:
        raise NotFoundError(f"there is no dataset '{name}'; see `shelver datasets`")
    _refuse_used(f"dataset '{name}'", dataset_users(objects, catalog, runs, jobs, name))
    keys = list(objects.list(layout.dataset_prefix(name)))
    if layout.manifest(name) in keys:  # first, so that a dataset is never visible with parts missing
        objects.delete(layout.manifest(name))
    _delete_all(objects, keys)
    catalog.remove_dataset(name)


def dataset_users(objects: Objects, catalog: Catalog, runs: Runs, jobs: Jobs, name: str) -> list[str]:
    """What needs a dataset, each in words. Raises as `needed_datasets`."""
    users = [f"ensemble {v.name}@{v.version}" for v in runs.versions() if v.dataset == name]
    users += [f"run {run.id}" for run in runs.runs() if run.dataset == name]
    users += [f"job {job.id}" for job in jobs.jobs() if job.dataset == name]
    return users + [f"dataset {other} (a relabel)" for other in _relabels(objects, catalog, name)]


def needed_datasets(objects: Objects, name: str) -> set[str]:
    """The datasets whose packs a dataset refers to, or will once its relabel is complete.

    Raises FailedError where a damaged file hides that, and NewerSchemaError.
    """
    found: set[str] = set()
    try:
        if objects.exists(layout.manifest(name)):
            found |= {ref.dataset for ref in read_manifest(objects, name).packs}
        if objects.exists(layout.relabelling(name)):
            found |= set(json.loads(objects.read(layout.relabelling(name)))["needs"])
    except (FailedError, ValueError, KeyError, TypeError) as error:
        words = f"it is not known which packs the dataset '{name}' uses: {error}"
        raise FailedError(f"{words}; see `shelver doctor`") from error
    return found


def remove_run(objects: Objects, runs: Runs, run: str) -> None:
    """Remove a run. Raises NotFoundError, ConflictError."""
    row = runs.run(run)
    users = [f"ensemble {v.name}@{v.version}" for v in runs.versions() if run in v.runs.values()]
    users += [f"run {other.id}" for other in runs.runs() if other.parent == run]
    _refuse_used(f"run {run}", users)
    if row.state == "running":
        raise ConflictError(f"run {run} is running; let its `shelver train` end, or `shelver rm training ID` first")
    if not runs.swap_run(row, rules.discard(row)):
        raise ConflictError(f"run {run} has just changed; try again")
    keys = list(objects.list(layout.run_prefix(run)))
    if layout.run_file(run, "manifest.json") in keys:
        objects.delete(layout.run_file(run, "manifest.json"))
    _delete_all(objects, keys)
    runs.remove_run(run)


def remove_version(objects: Objects, runs: Runs, jobs: Jobs, ensemble: str) -> None:
    """Remove an ensemble version, NAME@VERSION; its runs stay. Raises BadInputError, NotFoundError, ConflictError."""
    name, _, version = ensemble.partition("@")
    if not version:
        remedy = "name one as NAME@VERSION; `shelver ensembles` lists them"
        raise BadInputError(f"ensemble '{ensemble}'", "versions are removed one by one", remedy=remedy)
    runs.version(name, version)
    _refuse_used(
        f"ensemble {ensemble}", [f"job {j.id}" for j in jobs.jobs() if (j.ensemble, j.version) == (name, version)]
    )
    others = [other.version for other in runs.versions(name) if other.version != version]
    if others and runs.current(name) == version:
        remedy = "`shelver train` the file of another one, which only moves `current`, or remove the others first"
        raise ConflictError(f"ensemble {ensemble} is current and {name} has {len(others)} more; {remedy}")
    objects.delete(layout.ensemble_version(name, version))
    runs.remove_version(name, version)


def remove_training(runs: Runs, launcher: Launcher, training: str) -> None:
    """Remove a training's row; what it has not finished is cancelled unless another one wants it, and its runs stay.

    Raises NotFoundError.
    """
    for run in cancel_runs(runs, runs.training(training)):
        launcher.delete(rules.process_name(run))
    runs.remove_training(training)


def remove_job(objects: Objects, jobs: Jobs, job: str) -> None:
    """Remove a job that has ended, with its outcomes. Raises NotFoundError, ConflictError."""
    state = jobs.job(job).state
    if state in states.UNFINISHED:
        raise ConflictError(f"job {job} is {state}; `shelver cancel {job}` first")
    for other in jobs.jobs(states.UNFINISHED):
        if other.options.since == job:
            raise ConflictError(
                f"job {other.id} copies from job {job}; let it end, or `shelver cancel {other.id}`, first"
            )
    _delete_all(objects, list(objects.list(layout.job_prefix(job))))
    jobs.remove_job(job)


def _relabels(objects: Objects, catalog: Catalog, name: str) -> list[str]:
    """Other datasets, also unfinished ones, that need the packs of `name`."""
    others = {ingest.dataset for ingest in catalog.ingests()} | {dataset.name for dataset in catalog.datasets()}
    return [other for other in sorted(others - {name}) if name in needed_datasets(objects, other)]


def _refuse_used(what: str, users: list[str]) -> None:
    if users:
        more = f" and {len(users) - 3} more" if len(users) > 3 else ""
        raise ConflictError(f"{what} is in use by {', '.join(users[:3])}{more}; remove that first")


def _delete_all(objects: Objects, keys: list[str]) -> None:
    for key in keys:
        objects.delete(key)
