from pathlib import Path

import pytest

from services.dispatcher.planning import plan
from shared import layout
from shared.adapters.directory import DirectoryObjects
from shared.adapters.sqlite_jobs import SqliteJobs
from shared.domain.errors import FailedError
from shared.domain.records import Chunk, Job
from shared.packs import Manifest
from tests.scoring_stub import new_job, put_dataset
from workers.scoring.reading import ChunkReader


def planned(home: Path, objects: DirectoryObjects, manifest: Manifest) -> tuple[Job, list[Chunk]]:
    jobs = SqliteJobs(home / "jobs.sqlite")
    job = jobs.create(new_job(manifest, id=f"job of {manifest.dataset}"))
    plan(jobs, objects, job)
    return job, jobs.chunks(job.id)


def test_equal_content_in_other_packs_under_another_name_is_read_there(tmp_path: Path) -> None:
    objects = DirectoryObjects(tmp_path / "objects")
    reader = ChunkReader(objects)
    for name, packs in (("one", 1), ("two", 2)):
        manifest = put_dataset(objects, [1] * 12, name=name, packs=packs)
        job, chunks = planned(tmp_path, objects, manifest)
        read = [product for chunk in chunks for product in reader.read(job, chunk).index.product_id.tolist()]
        assert read == list(range(100, 112))


def test_a_pack_that_is_cut_off_is_nobody_elses_fault(tmp_path: Path) -> None:
    objects = DirectoryObjects(tmp_path / "objects")
    manifest = put_dataset(objects, [1] * 8)
    job, chunks = planned(tmp_path, objects, manifest)
    key = layout.pack("tiny", 0)
    objects.put(key, objects.read(key)[:-3])
    reader = ChunkReader(objects)
    assert len(reader.read(job, chunks[0]).index) == 4
    with pytest.raises(FailedError, match=f"{key} ends before offset"):
        reader.read(job, chunks[1])
