"""What people ask of scoring jobs: make one or go on with one, cancel it, take back what a dead owner held."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import uuid4

from shared.domain import states
from shared.domain.digests import digest
from shared.domain.ensemble import ONE_CATEGORY_POLICIES
from shared.domain.errors import BadInputError, ConflictError, NotFoundError
from shared.domain.records import EnsembleVersion, Job, JobOptions
from shared.packs import read_manifest
from shared.ports import Clock, Jobs, Stores
from shared.swaps import update_job

IMAGE_POLICIES = ("none", "unique", "majority", "l1", "l2", "softmax")
PRODUCT_POLICIES = ("none", "unique", "majority")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A dataset to score by an ensemble, NAME or NAME@VERSION. None takes a duplicate policy from the ensemble.

    `since` is an ended job whose outcomes are copied for products with the same id and the same images.
    """

    dataset: str
    ensemble: str
    image_duplicates: str | None = None
    product_duplicates: str | None = None
    skip_decided: bool = True
    chunk_images: int = 4096
    keep_scores: bool = False
    since: str = ""
    pool: str = "default"
    tenant: str = "local"
    idempotency_key: str = ""


def create(
    stores: Stores, request: JobRequest, *, now: Clock = time.time, admit: Callable[[Job], None] = lambda _: None
) -> Job:
    """A new job, or the one made before under the same idempotency key.

    `admit` is called with a job that is about to be made, and may refuse it. Raises NotFoundError (dataset,
    ensemble), BadInputError, ConflictError for the same key with another body, and what `admit` raises.
    """
    wanted = _continuing(stores, _resolve(stores, request, now()))
    stored = _known(stores.jobs, wanted.id) if request.idempotency_key else None
    if stored is None:
        admit(wanted)
        stored = stores.jobs.create(wanted)
    if not _equal(stored, wanted):
        raise ConflictError(f"the idempotency key '{request.idempotency_key}' belongs to another request, {stored.id}")
    return stored


def find_or_create(
    stores: Stores, request: JobRequest, *, now: Clock = time.time, admit: Callable[[Job], None] = lambda _: None
) -> Job:
    """The newest unfinished or successful job of equal arguments, else a new one. Raises as `create`."""
    wanted = _resolve(stores, request, now())
    going_on = ("queued", "planning", "running", *states.ANSWERED)
    for job in stores.jobs.jobs(going_on):
        if _equal(job, wanted):
            return job
    wanted = _continuing(stores, wanted)
    admit(wanted)
    return stores.jobs.create(wanted)


def _known(jobs: Jobs, job: str) -> Job | None:
    try:
        return jobs.job(job)
    except NotFoundError:
        return None


def cancel(jobs: Jobs, job: str) -> Job:
    """Ask a job to stop; its row is `cancelled` after a dispatcher's next steps.

    Raises NotFoundError, and ConflictError for a job that has ended otherwise.
    """

    def change(row: Job) -> Job | None:
        return None if row.state in ("cancelling", "cancelled") else states.cancel(row)

    return update_job(jobs, job, change)


def reclaim(jobs: Jobs) -> int:
    """Take back, uncounted, every chunk on its way; returns how many.

    Only for the exclusive owner of the stores, at its start: whoever held the chunks died with the owner before.
    """
    taken = 0
    for job in jobs.jobs(("running", "cancelling")):
        for chunk in jobs.chunks(job.id, states.ACTIVE_CHUNKS):
            new = states.resend(chunk) if chunk.state == "sent" else states.hand_back(chunk)
            taken += jobs.swap_chunk(chunk, new)
    return taken


def _resolve(stores: Stores, request: JobRequest, created: float) -> Job:
    name, _, version = request.ensemble.partition("@")
    manifest = read_manifest(stores.objects, request.dataset)
    ensemble = stores.runs.version(name, version)
    key = request.idempotency_key
    return Job(
        id=digest([request.tenant, key]) if key else uuid4().hex[:16],
        dataset=request.dataset,
        dataset_fingerprint=manifest.fingerprint,
        ensemble=name,
        version=ensemble.version,
        options=_options(request, ensemble),
        products=manifest.products,
        images=manifest.images,
        tenant=request.tenant,
        pool=request.pool,
        created=created,
    )


def _continuing(stores: Stores, wanted: Job) -> Job:
    """The job; one that copies from another takes over its precision and batch shape, to have one of each (I11).

    Raises BadInputError where that job's outcomes would not be those of this one.
    """
    if not wanted.options.since:
        return wanted
    ensemble = stores.runs.version(wanted.ensemble, wanted.version)
    try:
        since = stores.jobs.job(wanted.options.since)
    except NotFoundError:
        since = None
    if since is None or since.tenant != wanted.tenant:
        raise _not_since(f"there is no job '{wanted.options.since}'", "see `shelver jobs`")
    if since.state in states.UNFINISHED:
        raise _not_since(f"job {since.id} is {since.state}", "run the same `shelver score` to its end first")
    if since.state not in states.ANSWERED:
        raise _not_since(
            f"job {since.id} is {since.state}: not every product has its outcome", "name one that succeeded"
        )
    if (since.ensemble, since.version) != (wanted.ensemble, wanted.version):
        reason = f"job {since.id} is of {since.ensemble}@{since.version}, not {wanted.ensemble}@{wanted.version}"
        raise _not_since(reason, f"use --ensemble {since.ensemble}@{since.version}, or leave --since out")
    if _duplicates(since.options) != _duplicates(wanted.options):
        reason = f"job {since.id} was scored with {_duplicates(since.options)}, not {_duplicates(wanted.options)}"
        raise _not_since(reason, "use the same, or leave --since out")
    if wanted.options.keep_scores:
        raise _not_since("kept scores are not copied", "leave out --keep-scores or --since")
    own, own_since = (job.dataset_fingerprint == ensemble.dataset_fingerprint for job in (wanted, since))
    if own != own_since:
        trained, other = (wanted, since) if own else (since, wanted)
        reason = f"'{trained.dataset}' is the training dataset, where no product counts as its own duplicate"
        raise _not_since(f"{reason}, and '{other.dataset}' is not", "leave --since out")
    return replace(wanted, precision=since.precision, batch_images=since.batch_images)


def _duplicates(options: JobOptions) -> str:
    skipping = "--skip-decided" if options.skip_decided else "--no-skip-decided"
    return f"--duplicates {options.image_duplicates},{options.product_duplicates} {skipping}"


def _not_since(reason: str, remedy: str) -> BadInputError:
    return BadInputError("--since", reason, remedy=remedy)


def _options(request: JobRequest, ensemble: EnsembleVersion) -> JobOptions:
    if request.chunk_images < 1:
        raise BadInputError("--chunk-images", f"{request.chunk_images} is not positive", remedy="the default is 4096")
    return JobOptions(
        image_duplicates=_policy(request.image_duplicates, ensemble, "image_duplicates", IMAGE_POLICIES),
        product_duplicates=_policy(request.product_duplicates, ensemble, "product_duplicates", PRODUCT_POLICIES),
        skip_decided=request.skip_decided,
        chunk_images=request.chunk_images,
        keep_scores=request.keep_scores,
        since=request.since,
    )


def _policy(asked: str | None, ensemble: EnsembleVersion, name: str, known: tuple[str, ...]) -> str:
    where = name.replace("_", " ")
    if asked is None:
        return str(ensemble.document[name]) if ensemble.duplicate_table else "none"
    if asked not in known:
        raise BadInputError(where, f"there is no policy '{asked}'", remedy=f"one of {', '.join(known)}")
    if ensemble.document["task"] == "multilabel" and asked in ONE_CATEGORY_POLICIES:
        raise BadInputError(where, f"{asked} is of one category per product", remedy="use unique, majority or l1")
    if asked != "none" and not ensemble.duplicate_table:
        raise BadInputError(where, f"the ensemble '{ensemble.name}' has no duplicate table", remedy="use none")
    return asked


def _equal(one: Job, other: Job) -> bool:
    asked = ("tenant", "pool", "dataset", "dataset_fingerprint", "ensemble", "version", "options")
    return all(getattr(one, name) == getattr(other, name) for name in asked)
