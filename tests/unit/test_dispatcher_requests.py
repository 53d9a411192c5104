from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from services.dispatcher import JobRequest, cancel, create, find_or_create, reclaim
from shared.adapters.sqlite_runs import SqliteRuns
from shared.domain import states
from shared.domain.errors import BadInputError, ConflictError, NotFoundError
from shared.domain.records import EnsembleVersion, JobOptions
from shared.ports import Catalog
from shared.wiring import Stores
from tests.job_scene import Scene

REQUEST = JobRequest(dataset="tiny", ensemble="small", chunk_images=8)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path, [1, 2] * 20)


@pytest.fixture
def stores(scene: Scene, tmp_path: Path) -> Stores:
    """The scene's stores without its job, and the ensemble `small` in version v1, current, and v2, without a table."""
    runs = SqliteRuns(tmp_path / "runs.sqlite")
    document = {"image_duplicates": "unique", "product_duplicates": "majority"}
    version = EnsembleVersion(
        name="small",
        version="v1",
        document=document,
        runs={},
        dataset="train",
        dataset_fingerprint="t",
        taxonomy="x",
        duplicate_table="datasets/train/duplicates/all.parquet",
    )
    runs.add_version(version)
    runs.add_version(replace(version, version="v2", duplicate_table=""))
    runs.set_current("small", "v1")
    scene.jobs.remove_job("job1")
    return Stores(cast(Any, scene.objects), cast(Catalog, None), runs, cast(Any, scene.jobs))


def test_a_job_has_everything_frozen_in(stores: Stores) -> None:
    job = create(stores, REQUEST, now=lambda: 5.0)
    assert stores.jobs.job(job.id) == job
    assert (job.state, job.version, job.products, job.images, job.created) == ("queued", "v1", 40, 60, 5.0)
    assert job.dataset_fingerprint == "f" * 16
    assert job.options == JobOptions(image_duplicates="unique", product_duplicates="majority", chunk_images=8)


def test_policies_come_from_the_request_or_the_ensemble(stores: Stores) -> None:
    asked = create(stores, replace(REQUEST, image_duplicates="none", product_duplicates="unique")).options
    assert (asked.image_duplicates, asked.product_duplicates) == ("none", "unique")
    without_table = create(stores, replace(REQUEST, ensemble="small@v2")).options
    assert (without_table.image_duplicates, without_table.product_duplicates) == ("none", "none")
    with pytest.raises(BadInputError, match="no duplicate table"):
        create(stores, replace(REQUEST, ensemble="small@v2", image_duplicates="unique"))
    with pytest.raises(BadInputError, match=r"no policy 'l1'.*none, unique, majority"):
        create(stores, replace(REQUEST, product_duplicates="l1"))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"dataset": "other"}, NotFoundError, "no dataset 'other'"),
        ({"ensemble": "other"}, NotFoundError, "'other'"),
        ({"ensemble": "small@v9"}, NotFoundError, "v9"),
        ({"chunk_images": 0}, BadInputError, "not positive"),
    ],
)
def test_what_is_not_there_or_not_sensible_is_refused(
    stores: Stores, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        create(stores, replace(REQUEST, **change))
    assert stores.jobs.jobs() == []


def test_without_a_key_every_job_is_new(stores: Stores) -> None:
    assert create(stores, REQUEST).id != create(stores, REQUEST).id


def test_a_key_names_one_job_per_tenant(stores: Stores) -> None:
    request = replace(REQUEST, idempotency_key="k")
    job = create(stores, request)
    assert create(stores, request) == job
    assert create(stores, replace(request, tenant="other")).id != job.id
    with pytest.raises(ConflictError, match="'k' belongs to another request"):
        create(stores, replace(request, chunk_images=9))


def test_a_job_of_equal_arguments_is_gone_on_with(scene: Scene, stores: Stores) -> None:
    job = find_or_create(stores, REQUEST)
    assert find_or_create(stores, REQUEST) == job
    assert find_or_create(stores, replace(REQUEST, skip_decided=False)).id != job.id
    planning = states.plan(job)
    assert stores.jobs.swap_job(job, planning)
    assert find_or_create(stores, REQUEST) == planning
    assert stores.jobs.swap_job(planning, running := states.start(planning))
    assert stores.jobs.swap_job(running, states.finish(running, failed=0, at=1.0))
    assert find_or_create(stores, REQUEST).id == job.id


@pytest.mark.parametrize("state", ["failed", "cancelled", "cancelling"])
def test_a_job_that_came_to_nothing_is_made_anew(stores: Stores, state: str) -> None:
    job = find_or_create(stores, REQUEST)
    assert stores.jobs.swap_job(job, replace(job, state=state, generation=1))
    assert find_or_create(stores, REQUEST).id != job.id


def test_only_what_has_not_ended_is_cancelled(scene: Scene, stores: Stores) -> None:
    job = create(stores, REQUEST)
    assert cancel(stores.jobs, job.id).state == "cancelling"
    scene.steps()
    assert cancel(stores.jobs, job.id).state == "cancelled"
    ended = create(stores, REQUEST)
    assert stores.jobs.swap_job(ended, replace(ended, state="succeeded", generation=1))
    with pytest.raises(ConflictError, match="is succeeded"):
        cancel(stores.jobs, ended.id)
    with pytest.raises(NotFoundError):
        cancel(stores.jobs, "x")


def test_what_a_dead_owner_held_is_taken_back_uncounted(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [1] * 40)
    scene.steps(2)
    stale = scene.claim(count=3)
    assert reclaim(scene.jobs) == 10
    assert all((c.state, c.losses, c.solo, c.worker) == ("pending", 0, False, "") for c in scene.chunks())
    assert not scene.finish(stale[0])
    assert scene.play().state == "succeeded"
    assert reclaim(scene.jobs) == 0
