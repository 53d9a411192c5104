"""Scoring jobs of a home, driven by this process."""

import time
from typing import Any

from services.cli.app import Session
from services.cli.following import follow_job, report_job
from services.cli.show import progress, remark
from services.dispatcher import Dispatcher
from shared import wiring
from shared.domain import states
from shared.domain.errors import FailedError
from shared.domain.records import Job
from shared.job_progress import Speed, observe
from shared.job_requests import JobRequest, find_or_create
from shared.job_requests import cancel as request_cancel

_GRACE_SECONDS = 4.0  # Ctrl-C ends everything within 5 seconds


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
