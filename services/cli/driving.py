"""What verbs do with the stores of a home, in this process: ingests, trainings, scoring jobs and their exports."""

import time
from collections.abc import Sequence
from json import loads as parse_json
from pathlib import Path
from typing import Any

from services import ingest as ingest_service
from services import launcher as launcher_service
from services.cli.files import whole
from services.cli.following import follow_job, report_ingest, report_job, training_reporter
from services.cli.session import Session
from services.cli.show import progress, remark
from services.dispatcher import Dispatcher
from services.ingest import IngestRequest
from shared import exports, layout, wiring
from shared.domain import states
from shared.domain.ensemble import Ensemble, from_plain
from shared.domain.errors import BadInputError, FailedError
from shared.domain.records import EnsembleVersion, Job
from shared.ingest_progress import IngestProgress
from shared.job_progress import Speed, observe
from shared.job_requests import JobRequest, find_or_create
from shared.job_requests import cancel as request_cancel
from shared.packs import Manifest, read_manifest, read_taxonomy

_GRACE_SECONDS = 4.0  # Ctrl-C ends everything within 5 seconds


def read_source(session: Session, request: IngestRequest) -> Manifest:
    """Ingest with a progress bar."""
    began = False
    with progress(f"ingest {request.dataset}") as update:

        def report(state: IngestProgress) -> None:
            nonlocal began
            began = True
            report_ingest(update, state)

        manifest = ingest_service.run(session.stores, session.settings, request, report)
    if not began:
        unread = "; standard input was not read" if request.source == "-" else ""
        remark(f"dataset {request.dataset} is complete already: skipped{unread}")
    return manifest


def train_ensemble(
    session: Session, ensemble: Ensemble, dataset: str, members: Sequence[str] | None = None
) -> EnsembleVersion | None:
    """Train with a progress line."""
    with progress(f"train {ensemble.name}") as update:
        report = training_reporter(update)
        return launcher_service.train(
            session.stores, wiring.launcher(session.settings), session.settings, ensemble, dataset, members, report
        )


def holdout_figures(session: Session, version: EnsembleVersion) -> dict[str, Any]:
    """Per member what its run measured on its holdout: per image and per product, all, seen and new ones."""
    files = {member: layout.run_file(run, "metrics.json") for member, run in version.runs.items()}
    return {member: parse_json(session.stores.objects.read(key))["holdout"] for member, key in files.items()}


def run_job(session: Session, request: JobRequest) -> Job:
    """Make or find the job and drive it to its end. The caller holds the home."""
    stores = session.stores
    job = find_or_create(stores, request)
    if job.state not in states.UNFINISHED:
        remark(f"job {job.id} has scored this already: {job.state}")
        return job
    session.reclaim()
    queue = wiring.queue(session.settings)
    dispatcher = Dispatcher(stores.jobs, stores.objects, queue, session.settings)
    try:
        with progress(f"score {request.dataset}") as update:
            return dispatcher.run([job.id], lambda state: report_job(update, state))[0]
    finally:
        queue.close(grace=_GRACE_SECONDS)


def cancel_job(session: Session, job: str) -> str:
    """Stop a job and, where nobody else drives it, end it here; its state then."""
    store = session.stores.jobs
    request_cancel(store, job)
    try:
        with session.exclusive():
            session.reclaim()
            queue = wiring.queue(session.settings)
            try:
                Dispatcher(store, session.stores.objects, queue, session.settings).run([job], lambda _: None)
            finally:
                queue.close(grace=_GRACE_SECONDS)
    except FailedError:
        pass  # whoever works in the home ends it
    return store.job(job).state


def watch_job(session: Session, job: str) -> None:
    """Follow a job that another process drives."""
    store, speed = session.stores.jobs, Speed()
    still = "if no `shelver score` runs, the same command goes on with the job"
    follow_job(f"job {job}", lambda: observe(store, store.job(job), speed, time.monotonic()), still)


def job_facts(session: Session, job: Job) -> dict[str, Any]:
    """One job as JSON values: how far it is and what it runs with."""
    state = observe(session.stores.jobs, job, Speed(), 0.0)
    return {
        "job": job.id,
        "state": job.state,
        "dataset": job.dataset,
        "ensemble": f"{job.ensemble}@{job.version}",
        "products": job.products,
        "done": state.done,
        "failed": state.failed,
        "decided": state.decided,
        "since": job.options.since,
        "copied": state.copied,
        "through": state.through,
        "chunks": dict(state.chunks),
        "precision": job.precision,
        "batch_images": job.batch_images,
        "halvings": job.halvings,
        "error": job.error,
    }


def export_job(
    session: Session, job: Job, output: Path, form: str, combination: str | None = None, fill: int | None = None
) -> int:
    """Write the file and return its number of rows; it appears whole or not at all."""
    if fill is None:
        check_ended(job)
    stores = session.stores
    version = stores.runs.version(job.ensemble, job.version)
    taxonomy = read_taxonomy(stores.objects, version.dataset)
    name = _known_combination(version, combination)
    if fill is not None and fill not in taxonomy.category_ids:
        raise BadInputError("--fill", f"category {fill} is not in the category table", remedy="name one of its ids")
    manifest = read_manifest(stores.objects, job.dataset)
    found = exports.answers(stores.objects, stores.jobs, manifest, job, name, fill)
    with whole(output) as file:
        return exports.write(found, name, taxonomy, form, file, version)


def check_ended(job: Job) -> None:
    """Raise BadInputError for a job that still runs."""
    if job.state in states.UNFINISHED:
        remedy = "run the same `shelver score` to its end first"
        raise BadInputError(f"job {job.id}", f"it is {job.state}: not every product has its answer", remedy=remedy)


def _known_combination(version: EnsembleVersion, asked: str | None) -> str:
    ensemble = from_plain(version.document)
    if asked is not None and asked not in ensemble.combinations:
        known = ", ".join(ensemble.combinations)
        raise BadInputError("--combination", f"'{asked}' is not in the ensemble", remedy=f"it has {known}")
    return asked or ensemble.default_combination
