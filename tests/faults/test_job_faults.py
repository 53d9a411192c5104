"""A real child process around a stub engine, under every fault it can have: the job ends as it should."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.dispatcher import Dispatcher
from shared.adapters.child import ChildQueue
from shared.adapters.directory import DirectoryObjects
from shared.adapters.sqlite_jobs import SqliteJobs
from shared.domain.errors import FailedError
from shared.domain.records import Job
from shared.job_progress import Progress
from shared.job_requests import cancel
from tests.scoring_stub import Flaky, new_job, put_dataset
from tests.stub_score import child_queue, settings
from tests.stub_worker import UNLOADABLE

PRODUCTS = [1 + n % 2 for n in range(80)]
PATIENCE = 60.0
UNBLAMED = 4  # a product is blamed for 5 deaths of its worker at the earliest


class Home:
    """`job1` over 80 products in chunks of 12 images."""

    def __init__(self, path: Path, poison: frozenset[int] = frozenset(), **job: Any) -> None:
        self.path = path
        self.objects = Flaky(DirectoryObjects(path / "objects"))
        self.jobs = Flaky(SqliteJobs(path / "shelver.sqlite"))
        manifest = put_dataset(self.objects, PRODUCTS, packs=2, poison=poison)
        self.jobs.create(new_job(manifest, chunk_images=12, **job))

    def run(self, queue: ChildQueue, each: Callable[[], None] = lambda: None) -> Job:
        """Run the job to its end; `each` is called between the dispatcher's steps."""
        deadline = time.monotonic() + PATIENCE

        def sleep(seconds: float) -> None:
            assert time.monotonic() < deadline, f"no end within {PATIENCE} s"
            each()
            time.sleep(min(seconds, 0.02))

        dispatcher = Dispatcher(self.jobs, self.objects, queue, settings(self.path))
        try:
            (job,) = dispatcher.run(["job1"], lambda _: None, sleep=sleep)
        finally:
            queue.close(grace=2)
        return job

    def done(self) -> int:
        chunks: int = self.jobs.count_chunks("job1").get("done", {}).get("chunks", 0)
        return chunks

    def errors(self) -> dict[int, str]:
        return {o.product: o.error for o in self.jobs.outcomes("job1", limit=1000) if o.error}


def kill(queue: ChildQueue) -> None:
    child = queue._child
    if child is not None and child.alive:
        os.kill(child.process.pid, signal.SIGKILL)


def test_a_product_that_crashes_its_worker_is_quarantined_and_the_rest_is_done(tmp_path: Path) -> None:
    home = Home(tmp_path, poison=frozenset({113}))
    assert home.run(child_queue(tmp_path)).state == "finished with errors"
    assert list(home.errors()) == [113]
    assert "quarantined" in home.errors()[113]
    assert home.jobs.count_outcomes("job1") == len(PRODUCTS)


def test_workers_killed_at_random_moments_change_nothing(tmp_path: Path, seed: int) -> None:
    home, queue = Home(tmp_path), child_queue(tmp_path, STUB_SECONDS="0.005")
    moments = random.Random(seed)
    killed_at: list[int] = []

    def maybe_kill() -> None:
        done = home.done()
        if len(killed_at) < UNBLAMED and done > max(killed_at, default=-1) and moments.random() < 0.3:
            killed_at.append(done)
            kill(queue)

    job = home.run(queue, maybe_kill)
    assert killed_at
    assert (job.state, home.errors()) == ("succeeded", {})
    assert home.jobs.count_outcomes("job1") == len(PRODUCTS)


def test_a_model_that_never_loads_fails_the_job_with_its_words(tmp_path: Path) -> None:
    home = Home(tmp_path, ensemble=UNLOADABLE)
    job = home.run(child_queue(tmp_path))
    assert (job.state, job.error) == ("failed", "the weights are not there")
    assert home.jobs.count_outcomes("job1") == 0
    assert all((c.losses, c.solo) == (0, False) for c in home.jobs.chunks("job1"))


def test_a_worker_that_cannot_start_is_told_in_one_line(tmp_path: Path) -> None:
    home, queue = Home(tmp_path), child_queue(tmp_path, SHELVER_NO_SUCH="1")
    with pytest.raises(FailedError, match=r"does not start: .*SHELVER_NO_SUCH"):
        home.run(queue)
    assert home.jobs.job("job1").state == "running"
    assert home.run(child_queue(tmp_path)).state == "succeeded"


def test_a_store_that_is_away_for_a_while_counts_against_nothing(tmp_path: Path) -> None:
    home, queue = Home(tmp_path), child_queue(tmp_path, STUB_SECONDS="0.005")
    looks = 0

    def come_and_go() -> None:
        nonlocal looks
        looks += 1
        home.jobs.away = looks % 10 >= 5

    assert home.run(queue, come_and_go).state == "succeeded"
    home.jobs.away = False
    assert all((c.state, c.losses, c.solo) == ("done", 0, False) for c in home.jobs.chunks("job1"))


def test_a_running_job_is_cancelled(tmp_path: Path) -> None:
    home, queue = Home(tmp_path), child_queue(tmp_path, STUB_SECONDS="0.02")

    def cancel_once_it_runs() -> None:
        if home.done() and home.jobs.job("job1").state == "running":
            cancel(home.jobs, "job1")

    assert home.run(queue, cancel_once_it_runs).state == "cancelled"
    assert set(home.jobs.count_chunks("job1")) == {"done", "cancelled"}
    assert home.jobs.count_outcomes("job1") < len(PRODUCTS)


def test_progress_is_reported_to_the_end(tmp_path: Path) -> None:
    home, reports = Home(tmp_path), list[Progress]()
    queue = child_queue(tmp_path)
    try:
        Dispatcher(home.jobs, home.objects, queue, settings(tmp_path)).run(["job1"], reports.append)
    finally:
        queue.close(grace=2)
    assert (reports[-1].done, reports[-1].products, reports[-1].state) == (80, 80, "succeeded")
