from pathlib import Path

import numpy as np
import pytest

from services.dispatcher.planning import plan
from shared import layout
from shared.adapters.directory import DirectoryObjects
from shared.adapters.sqlite_jobs import SqliteJobs
from shared.domain.errors import FailedError
from shared.domain.records import Chunk, Job
from shared.packs import Manifest
from tests.scoring_stub import new_job, put_dataset
from workers.scoring.chunks import ChunkInput
from workers.scoring.reading import MOST_GAP, ChunkReader


def read_all(reader: ChunkReader, job: Job, chunk: Chunk) -> ChunkInput:
    return reader.read(job, chunk, np.ones(chunk.products, dtype=np.bool_))


def planned(
    home: Path, objects: DirectoryObjects, manifest: Manifest, *, chunk_images: int = 4
) -> tuple[Job, list[Chunk]]:
    jobs = SqliteJobs(home / "jobs.sqlite")
    job = jobs.create(new_job(manifest, id=f"job of {manifest.dataset}", chunk_images=chunk_images))
    plan(jobs, objects, job)
    return job, jobs.chunks(job.id)


def test_equal_content_in_other_packs_under_another_name_is_read_there(tmp_path: Path) -> None:
    objects = DirectoryObjects(tmp_path / "objects")
    reader = ChunkReader(objects)
    for name, packs in (("one", 1), ("two", 2)):
        manifest = put_dataset(objects, [1] * 12, name=name, packs=packs)
        job, chunks = planned(tmp_path, objects, manifest)
        read = [product for chunk in chunks for product in read_all(reader, job, chunk).index.product_id.tolist()]
        assert read == list(range(100, 112))


def test_a_pack_that_is_cut_off_is_nobody_elses_fault(tmp_path: Path) -> None:
    objects = DirectoryObjects(tmp_path / "objects")
    manifest = put_dataset(objects, [1] * 8)
    job, chunks = planned(tmp_path, objects, manifest)
    key = layout.pack("tiny", 0)
    objects.put(key, objects.read(key)[:-3])
    reader = ChunkReader(objects)
    assert len(read_all(reader, job, chunks[0]).index) == 4
    with pytest.raises(FailedError, match=f"{key} ends before offset"):
        read_all(reader, job, chunks[1])


class Counting(DirectoryObjects):
    """Notes the bytes of every read of a pack."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: list[int] = []

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        content = super().read(key, offset, length)
        if key.endswith(".bson"):
            self.reads.append(len(content))
        return content


@pytest.mark.parametrize(("gap", "reads"), [(0, 3), (MOST_GAP, 1)])
def test_bytes_of_unwanted_products_are_passed_over_where_there_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gap: int, reads: int
) -> None:
    monkeypatch.setattr("workers.scoring.reading.MOST_GAP", gap)
    objects = Counting(tmp_path / "objects")
    job, (chunk,) = planned(tmp_path, objects, put_dataset(objects, [1, 2, 1, 3, 1, 1, 2, 1]), chunk_images=100)
    wanted = np.array([0, 1, 0, 1, 1, 0, 0, 1], dtype=np.bool_)
    read = ChunkReader(objects).read(job, chunk, wanted)
    pictures = [
        [*map(bytes, read.pictures(range(read.index.first_image[row], read.index.first_image[row + 1])))]
        for row in range(len(read.index))
    ]
    counts = {101: 2, 103: 3, 104: 1, 107: 1}
    assert pictures == [[b"picture %d of %d|" % (n, p) for n in range(count)] for p, count in counts.items()]
    assert len(objects.reads) == reads
    wanted_bytes = sum(len(picture) for of_product in pictures for picture in of_product)
    assert (sum(objects.reads) == wanted_bytes) == (gap == 0)
