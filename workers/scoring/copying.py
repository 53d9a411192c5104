"""What a worker knows of a chunk before the engine sees it: digests, and outcomes copied from an earlier job."""

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from shared.domain.errors import FailedError, NotFoundError
from shared.domain.keys import image_digests
from shared.domain.records import Chunk, Job, Outcome
from shared.packs import PackIndex
from shared.ports import Jobs


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A chunk of n products: those of `rest` are for the engine, the others have their outcome in `copied`."""

    images: list[str]  # per product, the digest of its images' MD5s
    rest: npt.NDArray[np.bool_]  # bool[n]
    copied: list[Outcome]  # as the chunk's own
    seconds: dict[str, float] = field(default_factory=dict)  # per stage, outside the engine


def prepare(jobs: Jobs, job: Job, chunk: Chunk, index: PackIndex) -> Prepared:
    """Copy what the job's `since` answered for products of `index`, the chunk's, with the same id and images.

    Its errors are not copied. Raises FailedError when that job is gone.
    """
    images = image_digests(index.first_image, index.image_md5)
    rest = np.ones(len(index), dtype=np.bool_)
    copied: list[Outcome] = []
    if job.options.since:
        known = _answers(jobs, job, index.product_id.tolist())
        for place, key in enumerate(zip(index.product_id.tolist(), images, strict=True)):
            if (outcome := known.get(key)) is not None:
                rest[place] = False
                where = chunk.position + place
                copied.append(replace(outcome, job=job.id, position=where, chunk=chunk.id, since=job.options.since))
    return Prepared(images, rest, copied)


def _answers(jobs: Jobs, job: Job, products: list[int]) -> dict[tuple[int, str], Outcome]:
    """By product and digest of its images, without errors and without what was stored before there were digests."""
    since = job.options.since
    found = jobs.outcomes_of(since, products)
    try:
        jobs.job(since)  # only now: a job removed meanwhile is not taken for one that knew nothing
    except NotFoundError:
        words = f"job {since}, whose outcomes were to be copied, is gone; score again without --since"
        raise FailedError(words) from None
    return {(outcome.product, outcome.images): outcome for outcome in found if outcome.images and not outcome.error}
