"""Scoring jobs: submitted, followed, cancelled, removed."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Response
from pydantic import Field

from services.gateway.admission import Admissions
from services.gateway.authentication import Caller, allowed
from services.gateway.context import Context
from services.gateway.models import Model
from services.gateway.problems import answers
from shared import job_requests, removal
from shared.domain import states
from shared.domain.errors import NotFoundError
from shared.domain.records import Job
from shared.job_progress import Progress, Speed, observe
from shared.job_requests import JobRequest
from shared.ports import Jobs

_FRESH_SECONDS = 1.0  # a progress is at most this old
_MOST_FOLLOWED = 1000  # jobs whose progress is remembered
JobId = Annotated[str, Path(pattern=r"^[0-9a-f]{1,64}$", examples=["0123456789abcdef"])]
ImagePolicy = Literal["none", "unique", "majority", "l1", "l2", "softmax"]
ProductPolicy = Literal["none", "unique", "majority"]


class JobOrder(Model):
    """What to score, and how."""

    dataset: str = Field(max_length=100, examples=["test"])
    ensemble: str = Field(max_length=200, description="NAME or NAME@VERSION", examples=["grocery-small"])
    image_duplicates: ImagePolicy | None = Field(None, description="null: as the ensemble file says")
    product_duplicates: ProductPolicy | None = Field(None, description="null: as the ensemble file says")
    skip_decided: bool = Field(True, description="Skip the networks where duplicates decide")
    chunk_images: int = Field(4096, ge=1, le=1_000_000, description="Images per chunk, about")
    keep_scores: bool = Field(False, description="Keep the top 64 probabilities per product")
    since: str = Field("", max_length=64, description="A job whose answers are copied for unchanged products")
    pool: str = Field("default", pattern=r"^[a-z0-9][a-z0-9-]{0,40}$", description="The pool of workers")
    reuse: bool = Field(False, description="Go on with the newest unfinished or successful job of equal arguments")


class JobView(Model):
    """A job and how far it is."""

    id: str
    state: str
    dataset: str
    ensemble: str
    version: str
    pool: str
    image_duplicates: str
    product_duplicates: str
    skip_decided: bool
    chunk_images: int
    keep_scores: bool
    since: str
    products: int
    images: int
    done: int = Field(description="Products with a prediction")
    failed: int = Field(description="Products with an error")
    decided: int = Field(description="Of those done: by duplicates, without a network")
    copied: int = Field(description="Of those done: from the job `since`")
    through: int = Field(description="Besides: products that workers are through with and whose chunk is not done yet")
    chunks: dict[str, int] = Field(description="Chunks by state")
    rate: float = Field(description="Products per second over the last half minute; 0 while unknown")
    seconds_left: float | None
    precision: str
    batch_images: int
    halvings: int
    error: str = Field(description="Why it failed; empty while it did not")
    message: str = Field(description="What a person should know; empty when all is as usual")
    created: float = Field(description="Seconds since the epoch")
    ended: float = Field(description="Seconds since the epoch; 0 while it has not ended")


class JobList(Model):
    """Jobs of the caller's tenant, newest first."""

    jobs: list[JobView]


class Followed:
    """Progress of jobs, at most a second old however often it is asked for. For several threads."""

    def __init__(self, jobs: Jobs, clock: Callable[[], float]) -> None:
        self._jobs = jobs
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[float, int, Progress]] = OrderedDict()
        self._speeds: dict[str, Speed] = {}

    def progress(self, job: Job) -> Progress:
        """How far the job is; `job` is its row as it is now."""
        with self._lock:
            now = self._clock()
            at, generation, known = self._known.get(job.id, (float("-inf"), -1, None))
            if known is not None and generation == job.generation and now - at < _FRESH_SECONDS:
                return known
            speed = self._speeds.setdefault(job.id, Speed())
            found = observe(self._jobs, job, speed, now)
            self._known[job.id] = (now, job.generation, found)
            self._known.move_to_end(job.id)
            while len(self._known) > _MOST_FOLLOWED:
                self._speeds.pop(self._known.popitem(last=False)[0])
            return found


def own(context: Context, caller: Caller, job: str) -> Job:
    """A job of the caller's tenant; another one's is as good as not there. Raises NotFoundError."""
    with suppress(NotFoundError):
        row = context.stores.jobs.job(job)
        if row.tenant == caller.tenant:
            return row
    raise NotFoundError(f"there is no job '{job}'")


def router(context: Context) -> APIRouter:
    """Routes under /v1/jobs, without those of predictions."""
    routes = APIRouter(prefix="/v1/jobs", tags=["jobs"])
    reads, submits = allowed(context, "read"), allowed(context, "submit")
    jobs, followed = context.stores.jobs, Followed(context.stores.jobs, context.clock)
    admissions = Admissions(context)

    def view(job: Job) -> JobView:
        return _view(job, followed.progress(job))

    @routes.post(
        "",
        status_code=HTTPStatus.CREATED,
        responses=answers(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS),
    )
    def submit(
        order: JobOrder,
        caller: Annotated[Caller, Depends(submits)],
        idempotency_key: Annotated[
            str, Header(max_length=200, description="The same key again is the same job; with another body, 409")
        ] = "",
    ) -> JobView:
        """Submit a job. It is queued at once and goes on whatever happens to the caller."""
        fields = order.model_dump(exclude={"reuse"})
        if fields["since"]:
            own(context, caller, fields["since"])
        request = JobRequest(**fields, tenant=caller.tenant, idempotency_key=idempotency_key)
        make = job_requests.find_or_create if order.reuse and not idempotency_key else job_requests.create
        return view(make(context.stores, request, now=context.now, admit=admissions.admit))

    @routes.get("", responses=answers())
    def list_jobs(
        caller: Annotated[Caller, Depends(reads)],
        state: Annotated[str | None, Query(max_length=40, description="Only those in this state")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> JobList:
        """Jobs, newest first."""
        rows = [row for row in jobs.jobs([state] if state else ()) if row.tenant == caller.tenant]
        return JobList(jobs=[view(row) for row in rows[:limit]])

    @routes.get("/{job}", responses=answers(HTTPStatus.NOT_FOUND))
    def one_job(job: JobId, caller: Annotated[Caller, Depends(reads)]) -> JobView:
        """A job and its progress, at most a second old."""
        return view(own(context, caller, job))

    @routes.post("/{job}/cancel", responses=answers(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT))
    def cancel(job: JobId, caller: Annotated[Caller, Depends(submits)]) -> JobView:
        """Stop a job. What it has answered stays."""
        own(context, caller, job)
        return view(job_requests.cancel(jobs, job))

    @routes.delete(
        "/{job}",
        status_code=HTTPStatus.NO_CONTENT,
        responses=answers(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    )
    def remove(job: JobId, caller: Annotated[Caller, Depends(submits)]) -> Response:
        """Remove a job that has ended, with its answers."""
        own(context, caller, job)
        removal.remove_job(context.stores.objects, jobs, job)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    return routes


def _view(job: Job, progress: Progress) -> JobView:
    options = ("image_duplicates", "product_duplicates", "skip_decided", "chunk_images", "keep_scores", "since")
    rows = ("id", "state", "dataset", "ensemble", "version", "pool", "products", "images", "precision", "batch_images")
    told = ("done", "failed", "decided", "copied", "through", "chunks", "rate", "seconds_left", "message")
    return JobView(
        **{name: getattr(job, name) for name in (*rows, "halvings", "error", "created", "ended")},
        **{name: getattr(job.options, name) for name in options},
        **{name: getattr(progress, name) for name in told if name != "chunks"},
        chunks=dict(progress.chunks),
    )


def ended(job: Job) -> bool:
    """Whether nothing of it changes any more."""
    return job.state in states.ENDED
