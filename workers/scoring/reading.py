"""A chunk's bytes and its slice of the pack's index, as the engine takes them."""

from shared import layout
from shared.domain.chunks import PackProducts, locate
from shared.domain.errors import FailedError
from shared.domain.records import Chunk, Job
from shared.packs import Manifest, PackIndex, read_index, read_manifest
from shared.ports import Objects
from workers.scoring.chunks import ChunkInput


class ChunkReader:
    """One range read per chunk. Consecutive chunks share a pack: the last manifest and index are kept."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._manifest: Manifest | None = None
        self._index: tuple[Manifest, int, PackIndex] | None = None

    def read(self, job: Job, chunk: Chunk) -> ChunkInput:
        """Raises NotFoundError and FailedError when the dataset is not what the job was made for."""
        manifest = self._manifest_of(job)
        ref = next(ref for ref in manifest.packs if ref.number == chunk.pack)
        if self._index is None or self._index[0] is not manifest or self._index[1] != ref.number:
            self._index = (manifest, ref.number, read_index(self._objects, job.dataset, ref))
        index = self._index[2]
        first = locate(chunk, PackProducts(ref.number, index.offset, index.length, index.first_image))
        key = layout.pack(ref.dataset, ref.number)
        content = self._objects.read(key, chunk.offset, chunk.length)
        if len(content) < chunk.length:  # else its last products would be blamed
            raise FailedError(f"{key} ends before offset {chunk.offset + chunk.length}; restore it, or ingest again")
        return ChunkInput(chunk.id, index.slice(first, first + chunk.products), content, chunk.offset)

    def _manifest_of(self, job: Job) -> Manifest:
        wanted = (job.dataset, job.dataset_fingerprint)  # equal content may lie in other packs under another name
        if self._manifest is None or (self._manifest.dataset, self._manifest.fingerprint) != wanted:
            self._manifest = read_manifest(self._objects, job.dataset)
        if self._manifest.fingerprint != job.dataset_fingerprint:
            raise FailedError(f"the dataset '{job.dataset}' is not the one that the job {job.id} was made for")
        return self._manifest
