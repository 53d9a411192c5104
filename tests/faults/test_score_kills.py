"""`score` killed at 20 random moments, and interrupted, goes on to the results of an undisturbed run."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from shared.adapters.directory import DirectoryObjects
from shared.adapters.sqlite_jobs import SqliteJobs
from tests.scoring_stub import new_job, put_dataset

KILLS = 20
KILLS_COPYING = 10
PRODUCTS = [1 + n % 3 for n in range(300)]
FAULTY = frozenset({107, 250})


def prepare(home: Path) -> SqliteJobs:
    objects = DirectoryObjects(home / "objects")
    jobs = SqliteJobs(home / "shelver.sqlite")
    jobs.create(new_job(put_dataset(objects, PRODUCTS, packs=3, faulty=FAULTY), chunk_images=16))
    return jobs


def start(home: Path, seconds: float, job: str = "job1") -> "subprocess.Popen[bytes]":
    environment = dict(os.environ) | {"STUB_SECONDS": str(seconds)}
    return subprocess.Popen([sys.executable, "-m", "tests.stub_score", str(home), job], env=environment)


def results(jobs: SqliteJobs, job: str = "job1") -> list[tuple[int, int, str, str, object]]:
    return [(o.product, o.position, o.since, o.error, o.predictions) for o in jobs.outcomes(job, limit=1000)]


def wait_for_chunks(jobs: SqliteJobs, done: int) -> None:
    deadline = time.monotonic() + 60
    while jobs.count_chunks("job1").get("done", {}).get("chunks", 0) < done:
        assert time.monotonic() < deadline, "waited 60 s in vain"
        time.sleep(0.01)


def test_killed_at_random_moments_the_results_are_those_of_an_undisturbed_run(tmp_path: Path, seed: int) -> None:
    undisturbed = prepare(tmp_path / "undisturbed")
    with start(tmp_path / "undisturbed", 0) as process:
        assert process.wait() == 0
    moments = random.Random(seed)
    home = tmp_path / "killed"
    jobs = prepare(home)
    for _ in range(KILLS):
        with start(home, 0.02) as process:
            time.sleep(moments.uniform(0.1, 1.2))
            process.kill()
            assert process.wait() == -signal.SIGKILL
    with start(home, 0) as process:
        assert process.wait() == 0
    assert jobs.job("job1").state == "finished with errors"
    assert results(jobs) == results(undisturbed)
    assert [product for product, _, _, error, _ in results(jobs) if error] == sorted(FAULTY)
    chunks = jobs.chunks("job1")
    assert [chunk.id for chunk in chunks] == [chunk.id for chunk in undisturbed.chunks("job1")]
    assert all((chunk.state, chunk.losses, chunk.solo) == ("done", 0, False) for chunk in chunks)


def test_killed_while_it_copies_from_another_job_its_results_are_those_of_an_undisturbed_run(
    tmp_path: Path, seed: int
) -> None:
    changed = frozenset(range(100, 400, 3))
    stores = {name: prepare(tmp_path / name) for name in ("undisturbed", "killed")}
    for name, jobs in stores.items():
        with start(tmp_path / name, 0) as process:
            assert process.wait() == 0
        objects = DirectoryObjects(tmp_path / name / "objects")
        later = put_dataset(objects, [*PRODUCTS, 1, 1], packs=2, changed=changed, name="later", fingerprint="e" * 16)
        jobs.create(new_job(later, id="job2", since="job1", chunk_images=16))
    moments = random.Random(seed)
    for _ in range(KILLS_COPYING):
        with start(tmp_path / "killed", 0.1, "job2") as process:
            time.sleep(moments.uniform(0.2, 1.0))
            process.kill()
            assert process.wait() == -signal.SIGKILL
    for name in stores:
        with start(tmp_path / name, 0, "job2") as process:
            assert process.wait() == 0
    killed, undisturbed = stores["killed"], stores["undisturbed"]
    assert killed.job("job2").state == "succeeded"
    assert results(killed, "job2") == results(undisturbed, "job2")
    assert [product for product, _, since, _, _ in results(killed, "job2") if not since] == sorted(
        changed | FAULTY | {400, 401}
    )
    assert all((chunk.state, chunk.losses, chunk.solo) == ("done", 0, False) for chunk in killed.chunks("job2"))
    assert sum(chunk.copied for chunk in killed.chunks("job2")) == 300 - len(changed | FAULTY)


def test_interrupted_it_hands_back_and_goes_on(tmp_path: Path) -> None:
    jobs = prepare(tmp_path)
    with start(tmp_path, 0.05) as process:
        wait_for_chunks(jobs, 2)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    assert not jobs.chunks("job1", ("running",))
    assert jobs.job("job1").state == "running"
    with start(tmp_path, 0) as process:
        assert process.wait() == 0
    assert jobs.count_outcomes("job1") == len(PRODUCTS)
    assert all(chunk.losses == 0 for chunk in jobs.chunks("job1"))
