"""A chunk's slice of the pack's index, and the bytes of those of its products that the engine gets."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from shared.domain.chunks import PackProducts, locate
from shared.domain.errors import FailedError
from shared.domain.records import Chunk, Job
from shared.packs import Manifest, PackIndex, PackRef, read_index, read_manifest, read_products
from shared.ports import Objects
from workers.scoring.chunks import ChunkInput

MOST_GAP = 2**20
"""Bytes that nobody wants and that are still read: more of them take longer than asking again."""


class ChunkReader:
    """One range read per chunk, or one per stretch of it. The last manifest and index are kept for the next chunk."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._manifest: Manifest | None = None
        self._index: tuple[Manifest, int, PackIndex] | None = None

    def index(self, job: Job, chunk: Chunk) -> PackIndex:
        """The chunk's products. Raises NotFoundError and FailedError when the dataset is not the job's."""
        manifest, ref = self._pack_of(job, chunk)
        if self._index is None or self._index[0] is not manifest or self._index[1] != ref.number:
            self._index = (manifest, ref.number, read_index(self._objects, job.dataset, ref))
        index = self._index[2]
        first = locate(chunk, PackProducts(ref.number, index.offset, index.length, index.first_image))
        return index.slice(first, first + chunk.products)

    def read(self, job: Job, chunk: Chunk, wanted: npt.NDArray[np.bool_]) -> ChunkInput:
        """The chunk's products where `wanted` (bool[n]) holds, at least one. Raises as `index`."""
        index = self.index(job, chunk).take(wanted)
        _, ref = self._pack_of(job, chunk)
        end = index.offset + index.length
        gap = index.offset[1:] - end[:-1]
        cut = np.flatnonzero(gap > MOST_GAP)
        stretches = zip(index.offset[np.append(0, cut + 1)].tolist(), end[np.append(cut, -1)].tolist(), strict=True)
        content = b"".join([read_products(self._objects, ref, *stretch) for stretch in stretches])
        missing = np.append(0, np.cumsum(np.where(gap > MOST_GAP, gap, 0)))
        images = index.image_offset - np.repeat(missing, np.diff(index.first_image))
        moved = replace(index, offset=index.offset - missing, image_offset=images)
        return ChunkInput(chunk.id, moved, content, int(index.offset[0]))

    def _pack_of(self, job: Job, chunk: Chunk) -> tuple[Manifest, PackRef]:
        manifest = self._manifest_of(job)
        return manifest, next(ref for ref in manifest.packs if ref.number == chunk.pack)

    def _manifest_of(self, job: Job) -> Manifest:
        wanted = (job.dataset, job.dataset_fingerprint)  # equal content may lie in other packs under another name
        if self._manifest is None or (self._manifest.dataset, self._manifest.fingerprint) != wanted:
            self._manifest = read_manifest(self._objects, job.dataset)
        if self._manifest.fingerprint != job.dataset_fingerprint:
            raise FailedError(f"the dataset '{job.dataset}' is not the one that the job {job.id} was made for")
        return self._manifest
