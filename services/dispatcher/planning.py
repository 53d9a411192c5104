"""Making chunks: of a job, and of a chunk that is split. One compare-and-set, then inserts that any pass repeats."""

from collections.abc import Iterator

from shared.domain import chunks, states
from shared.domain.errors import FailedError, NotFoundError
from shared.domain.records import Chunk, Job
from shared.packs import PackIndex, PackRef, map_indexes, read_index, read_manifest
from shared.ports import Jobs, Objects


def plan(jobs: Jobs, objects: Objects, job: Job) -> None:
    """Take a queued job, or one whose planning was interrupted, to running. Losing a swap to another is fine.

    Raises FailedError when the dataset is not there any more or is another one.
    """
    if job.state == "queued":
        planning = states.plan(job)
        if not jobs.swap_job(job, planning):
            return
        job = planning
    jobs.add_chunks(chunks.plan(job.id, _packs(objects, job), job.options.chunk_images))
    jobs.swap_job(job, states.start(job))


def add_children(jobs: Jobs, objects: Objects, job: Job, parent: Chunk) -> None:
    """Insert the children of a split chunk; those that are there already stay as they are."""
    index = read_index(objects, job.dataset, _ref(objects, job, parent.pack))
    jobs.add_chunks(chunks.children(parent, _products(parent.pack, index)))


def product_at(objects: Objects, job: Job, chunk: Chunk) -> int:
    """The id of the chunk's first product."""
    index = read_index(objects, job.dataset, _ref(objects, job, chunk.pack))
    return int(index.product_id[chunks.locate(chunk, _products(chunk.pack, index))])


def _packs(objects: Objects, job: Job) -> Iterator[chunks.PackProducts]:
    try:
        manifest = read_manifest(objects, job.dataset)
    except NotFoundError as error:
        raise FailedError(str(error)) from error
    if manifest.fingerprint != job.dataset_fingerprint:
        raise FailedError(f"the dataset '{job.dataset}' is not the one that the job {job.id} was made for")
    yield from map_indexes(objects, manifest, lambda ref, index: _products(ref.number, index))


def _ref(objects: Objects, job: Job, number: int) -> PackRef:
    return next(ref for ref in read_manifest(objects, job.dataset).packs if ref.number == number)


def _products(number: int, index: PackIndex) -> chunks.PackProducts:
    return chunks.PackProducts(number, index.offset, index.length, index.first_image)
