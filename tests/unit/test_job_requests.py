from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from shared import layout
from shared.adapters.sqlite_runs import SqliteRuns
from shared.domain import states
from shared.domain.errors import BadInputError, ConflictError, NotFoundError
from shared.domain.records import EnsembleVersion, Job, JobOptions
from shared.job_requests import JobRequest, cancel, create, find_or_create, reclaim
from shared.packs import read_manifest
from shared.ports import Stores
from tests.job_scene import Scene
from tests.scoring_stub import manifest_json

REQUEST = JobRequest(dataset="tiny", ensemble="small", chunk_images=8)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path, [1, 2] * 20)


@pytest.fixture
def stores(scene: Scene, tmp_path: Path) -> Stores:
    """The scene's stores without its job, and the ensemble `small` in version v1, current, and v2, without a table."""
    runs = SqliteRuns(tmp_path / "runs.sqlite")
    document = {"image_duplicates": "unique", "product_duplicates": "majority", "task": "multiclass"}
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
    return Stores(cast(Any, scene.objects), *[cast(Any, one) for one in (None, runs, scene.jobs, None, None)])


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


def ended(stores: Stores, **more: Any) -> Job:
    """A job of `REQUEST` that has succeeded, in bf16."""
    job = create(stores, REQUEST)
    fields = {"state": "succeeded", "generation": 1, "precision": "bf16", "batch_images": 16}
    new = replace(job, **fields | more)
    assert stores.jobs.swap_job(job, new)
    return new


@pytest.mark.parametrize("state", ["succeeded", "finished with errors"])
def test_a_job_that_copies_runs_as_the_one_that_it_copies_from(stores: Stores, state: str) -> None:
    since = ended(stores, state=state)
    job = find_or_create(stores, replace(REQUEST, since=since.id, chunk_images=5))
    assert (job.id != since.id, job.options.since, job.state) == (True, since.id, "queued")
    assert (job.precision, job.batch_images) == ("bf16", 16)
    assert find_or_create(stores, replace(REQUEST, since=since.id, chunk_images=5)) == job
    assert find_or_create(stores, REQUEST).id == since.id


@pytest.mark.parametrize(
    ("since", "asked", "words"),
    [
        ({"state": "running"}, {}, "is running; run the same `shelver score` to its end first"),
        ({"state": "failed"}, {}, "is failed: not every product has its outcome; name one that succeeded"),
        ({"state": "cancelled"}, {}, "is cancelled: not every product has its outcome"),
        ({"version": "v2"}, {}, "is of small@v2, not small@v1; use --ensemble small@v2, or leave --since out"),
        ({"ensemble": "big"}, {}, "is of big@v1, not small@v1"),
        ({}, {"image_duplicates": "l1"}, "--duplicates unique,majority --skip-decided, not --duplicates l1,majority "),
        ({}, {"product_duplicates": "none"}, "not --duplicates unique,none --skip-decided; use the same"),
        ({}, {"skip_decided": False}, "--skip-decided, not --duplicates unique,majority --no-skip-decided"),
        ({}, {"keep_scores": True}, "kept scores are not copied; leave out --keep-scores or --since"),
        ({"tenant": "other"}, {}, "there is no job"),
        (
            {"dataset": "train", "dataset_fingerprint": "t"},
            {},
            "'train' is the training dataset, where no product counts as its own duplicate, and 'tiny' is not",
        ),
    ],
)
def test_outcomes_that_would_be_others_here_are_not_copied(
    stores: Stores, since: dict[str, Any], asked: dict[str, Any], words: str
) -> None:
    old = ended(stores, **since)
    with pytest.raises(BadInputError) as refusal:
        find_or_create(stores, replace(REQUEST, since=old.id, **asked))
    assert str(refusal.value).startswith("--since: ")
    assert words in str(refusal.value)
    assert stores.jobs.jobs() == [old]


def test_the_training_dataset_copies_only_from_itself(stores: Stores) -> None:
    manifest = replace(read_manifest(stores.objects, "tiny"), fingerprint="t")
    stores.objects.put(layout.manifest("tiny"), manifest_json(manifest))
    with pytest.raises(BadInputError, match=r"'tiny' is the training dataset.* and 'other' is not"):
        create(stores, replace(REQUEST, since=ended(stores, dataset="other", dataset_fingerprint="o").id))
    assert create(stores, replace(REQUEST, since=ended(stores).id)).options.since


def test_a_job_that_is_not_there_is_not_copied_from(stores: Stores) -> None:
    with pytest.raises(BadInputError, match="--since: there is no job 'x'; see `shelver jobs`"):
        create(stores, replace(REQUEST, since="x"))


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


def test_what_is_scored_already_is_found_also_without_the_job_it_copied_from(stores: Stores) -> None:
    since = ended(stores)
    job = create(stores, replace(REQUEST, since=since.id))
    stores.jobs.remove_job(since.id)
    assert find_or_create(stores, replace(REQUEST, since=since.id)).id == job.id
