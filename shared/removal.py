"""Removing datasets, runs and jobs: refused while anything else needs them; the row goes last, to be repeatable."""

from shared import layout
from shared.domain import runs as rules
from shared.domain import states
from shared.domain.errors import ConflictError, NotFoundError
from shared.ports import Catalog, Jobs, Objects, Runs


def remove_dataset(objects: Objects, catalog: Catalog, runs: Runs, jobs: Jobs, name: str) -> None:
    """Remove a dataset, or what an unfinished ingest left. Raises NotFoundError, ConflictError."""
    if catalog.ingest(name) is None and name not in {d.name for d in catalog.datasets()}:
        raise NotFoundError(f"there is no dataset '{name}'; see `shelver datasets`")
    users = [f"ensemble {v.name}@{v.version}" for v in runs.versions() if v.dataset == name]
    users += [f"run {run.id}" for run in runs.runs() if run.dataset == name]
    users += [f"job {job.id}" for job in jobs.jobs() if job.dataset == name]
    _refuse_used(f"dataset '{name}'", users)
    keys = list(objects.list(layout.dataset_prefix(name)))
    if layout.manifest(name) in keys:  # first, so that a dataset is never visible with parts missing
        objects.delete(layout.manifest(name))
    _delete_all(objects, keys)
    catalog.remove_dataset(name)


def remove_run(objects: Objects, runs: Runs, run: str) -> None:
    """Remove a run. Raises NotFoundError, ConflictError."""
    row = runs.run(run)
    users = [f"ensemble {v.name}@{v.version}" for v in runs.versions() if run in v.runs.values()]
    users += [f"run {other.id}" for other in runs.runs() if other.parent == run]
    _refuse_used(f"run {run}", users)
    if row.state == "running":
        raise ConflictError(f"run {run} is running; interrupt its `shelver train`, or let it end, first")
    if not runs.swap_run(row, rules.discard(row)):
        raise ConflictError(f"run {run} has just changed; try again")
    keys = list(objects.list(layout.run_prefix(run)))
    if layout.run_file(run, "manifest.json") in keys:
        objects.delete(layout.run_file(run, "manifest.json"))
    _delete_all(objects, keys)
    runs.remove_run(run)


def remove_job(objects: Objects, jobs: Jobs, job: str) -> None:
    """Remove a job that has ended, with its outcomes. Raises NotFoundError, ConflictError."""
    state = jobs.job(job).state
    if state in states.UNFINISHED:
        raise ConflictError(f"job {job} is {state}; `shelver cancel {job}` first")
    _delete_all(objects, list(objects.list(layout.job_prefix(job))))
    jobs.remove_job(job)


def _refuse_used(what: str, users: list[str]) -> None:
    if users:
        more = f" and {len(users) - 3} more" if len(users) > 3 else ""
        raise ConflictError(f"{what} is in use by {', '.join(users[:3])}{more}; remove that first")


def _delete_all(objects: Objects, keys: list[str]) -> None:
    for key in keys:
        objects.delete(key)
