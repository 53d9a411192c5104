"""Verbs about scoring jobs: score, jobs, cancel."""

import time
from typing import Annotated, Any

import typer

from services.cli.app import AsJson, Session, app
from services.cli.show import Update, as_json, duration, facts, progress, remark, stdout, table
from services.dispatcher import Dispatcher
from shared import wiring
from shared.domain import states
from shared.domain.errors import BadInputError, FailedError
from shared.domain.records import Job
from shared.job_progress import Progress, Speed, observe
from shared.job_requests import JobRequest, find_or_create, reclaim
from shared.job_requests import cancel as request_cancel

_GRACE_SECONDS = 4.0  # Ctrl-C ends everything within 5 seconds
_WATCH_SECONDS = 1.0
_STILL_SECONDS = 30.0  # a chunk may take this long on a slow machine


@app.command()
def score(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="The dataset to categorise.")],
    ensemble: Annotated[str, typer.Option(metavar="NAME", help="NAME or NAME@VERSION.")],
    duplicates: Annotated[
        str | None,
        typer.Option(metavar="I[,P]", help="Policies for images and products, such as unique,none."),
    ] = None,
    skip_decided: Annotated[
        bool,
        typer.Option("--skip-decided/--no-skip-decided", help="Skip the networks where duplicates decide."),
    ] = True,
    chunk_images: Annotated[int, typer.Option(min=1, metavar="N", help="Images per chunk, about.")] = 4096,
    keep_scores: Annotated[
        bool, typer.Option("--keep-scores", help="Keep the top 64 probabilities per product.")
    ] = False,
    since: Annotated[
        str, typer.Option(metavar="JOB", help="Copy its answers for products that have not changed.")
    ] = "",
    json: AsJson = False,
) -> None:
    """Categorise a dataset as a job; equal arguments go on with it.

    Example: shelver score test --ensemble grocery-small
    """
    session: Session = context.obj
    images, products = _policies(duplicates)
    request = JobRequest(
        dataset=dataset,
        ensemble=ensemble,
        image_duplicates=images,
        product_duplicates=products,
        skip_decided=skip_decided,
        chunk_images=chunk_images,
        keep_scores=keep_scores,
        since=since,
    )
    with session.exclusive():
        job = run_job(session, request)
    found = job_facts(session, job)
    if json:
        as_json(found)
    else:
        facts(found)
    ended_well(job)
    if since and not found["copied"]:
        remark(
            f"nothing was copied: job {since} has no product of the same id and images, or an earlier release made it"
        )


def ended_well(job: Job) -> Job:
    """The job, if every product has its outcome. Raises FailedError for one that failed or was cancelled."""
    if job.state not in states.ANSWERED:
        raise FailedError(f"job {job.id} is {job.state}" + (f": {job.error}" if job.error else ""))
    return job


def _policies(text: str | None) -> tuple[str | None, str | None]:
    if text is None:
        return None, None
    images, comma, products = text.partition(",")
    if not images or (comma and not products):
        raise BadInputError("--duplicates", f"'{text}' is not IMAGES[,PRODUCTS]", remedy="such as unique,none")
    return images, products or ("none" if images == "none" else None)


def run_job(session: Session, request: JobRequest) -> Job:
    """Make or find the job and drive it to its end. The caller holds the home."""
    stores = session.stores
    job = find_or_create(stores, request)
    if job.state not in states.UNFINISHED:
        remark(f"job {job.id} has scored this already: {job.state}")
        return job
    reclaim(stores.jobs)
    queue = wiring.queue(session.settings)
    dispatcher = Dispatcher(stores.jobs, stores.objects, queue, session.settings)
    try:
        with progress(f"score {request.dataset}") as update:
            return dispatcher.run([job.id], lambda state: _report(update, state))[0]
    finally:
        queue.close(grace=_GRACE_SECONDS)


def _report(update: Update, state: Progress) -> None:
    finished = f"{state.done + state.failed:,}/{state.products:,} products"
    words = f"{finished}, {state.rate:.0f}/s, {duration(state.seconds_left)} left"
    copied = f", {state.copied:,} copied" if state.copied else ""
    failed = f", {state.failed:,} failed" if state.failed else ""
    update(
        state.done + state.failed,
        state.products,
        f"{words}{copied}{failed}{', ' + state.message if state.message else ''}",
    )


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
        "chunks": dict(state.chunks),
        "precision": job.precision,
        "batch_images": job.batch_images,
        "halvings": job.halvings,
        "error": job.error,
    }


@app.command()
def jobs(
    context: typer.Context,
    job: Annotated[str | None, typer.Argument(help="Only this job.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it until it ends.")] = False,
    json: AsJson = False,
) -> None:
    """List the scoring jobs, or show one.

    Example: shelver jobs --json
    """
    session: Session = context.obj
    store = session.stores.jobs
    if job is None:
        if watch:
            raise BadInputError("--watch", "follows one job", remedy="name it: shelver jobs JOB --watch")
        rows = [{"id": row.id, **job_facts(session, row)} for row in store.jobs()]
        if any(row["state"] == "running" for row in rows):
            session.remark_if_idle("score")
        if json:
            as_json(rows)
        else:
            columns = ["id", "state", "dataset", "ensemble", "products", "done", "failed"]
            table(columns, [[row[c] for c in columns] for row in rows], empty="no jobs yet; `shelver score` makes one")
        return
    if watch:
        _watch(session, job)
    row = store.job(job)
    if row.state == "running":
        session.remark_if_idle("score")
    found = job_facts(session, row)
    if json:
        as_json({"id": row.id, **found})
    else:
        facts(found)
        for outcome in store.outcomes(job, limit=10, errors_only=True):
            stdout.print(f"  product {outcome.product}: {outcome.error}", markup=False)


def _watch(session: Session, job: str) -> None:
    store = session.stores.jobs
    speed = Speed()
    moved, last = time.monotonic(), (-1, -1)
    with progress(f"job {job}") as update:
        while (row := store.job(job)).state in states.UNFINISHED:
            now = time.monotonic()
            state = observe(store, row, speed, now)
            _report(update, state)
            if last != (state.done, state.failed):
                moved, last = now, (state.done, state.failed)
            elif now - moved >= _STILL_SECONDS:
                moved = float("inf")  # said once
                remark(
                    "nothing has moved for a while; if no `shelver score` runs, the same command goes on with the job"
                )
            time.sleep(_WATCH_SECONDS)


@app.command()
def cancel(context: typer.Context, job: Annotated[str, typer.Argument(help="A job that has not ended.")]) -> None:
    """Stop a job; what it has answered so far stays.

    Example: shelver cancel 0123456789abcdef
    """
    session: Session = context.obj
    store = session.stores.jobs
    request_cancel(store, job)
    try:
        with session.exclusive():  # nobody drives the job: end it here
            reclaim(store)
            queue = wiring.queue(session.settings)
            try:
                Dispatcher(store, session.stores.objects, queue, session.settings).run([job], lambda _: None)
            finally:
                queue.close(grace=_GRACE_SECONDS)
    except FailedError:
        stdout.print(f"job {job} is being cancelled by the process that runs it", markup=False)
        return
    stdout.print(f"job {job} is {store.job(job).state}", markup=False)
