"""The Jobs port: one suite over every adapter."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from shared.adapters.mongo import Mongo
from shared.adapters.mongo_jobs import MongoJobs
from shared.adapters.sqlite_jobs import SqliteJobs
from shared.domain import states
from shared.domain.errors import NotFoundError
from shared.domain.records import Chunk, Job, JobOptions, Outcome
from shared.ports import Jobs
from shared.settings import MongoSettings

OPTIONS = JobOptions(image_duplicates="unique", product_duplicates="none", chunk_images=64)
CLIENTS, ROWS = 8, 200
AT_ONCE = 20


@pytest.fixture(params=["sqlite", "mongo"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Jobs]:
    """Makes clients of one and the same empty store."""
    if request.param == "mongo":
        url = request.getfixturevalue("mongo_url")
        return lambda: MongoJobs(Mongo(url, MongoSettings()))
    return lambda: SqliteJobs(tmp_path / "jobs.sqlite")


@pytest.fixture
def jobs(client: Callable[[], Jobs]) -> Jobs:
    return client()


def job(name: str = "j", **more: object) -> Job:
    fields = {"dataset": "d", "dataset_fingerprint": "f", "ensemble": "e", "version": "v", "options": OPTIONS}
    return Job(**{"id": name, "products": 10, "images": 12} | fields | more)


def chunk(number: int, of_job: str = "j", **more: object) -> Chunk:
    fields = {"pack": 0, "offset": 100 * number, "length": 100, "position": 2 * number, "products": 2, "images": 3}
    return Chunk(**{"id": f"{of_job}-{number}", "job": of_job} | fields | more)


def outcome(product: int, position: int, error: str = "") -> Outcome:
    return Outcome(job="j", product=product, position=position, chunk="c", error=error, predictions={"all": {"p": 0.5}})


def test_a_job_is_created_once(jobs: Jobs) -> None:
    assert jobs.create(job(created=1.5)) == job(created=1.5)
    assert jobs.create(job(created=9.0, products=99)) == job(created=1.5)
    assert jobs.job("j") == job(created=1.5)
    with pytest.raises(NotFoundError, match="no job 'x'"):
        jobs.job("x")


def test_jobs_are_listed_newest_first_and_by_state(jobs: Jobs) -> None:
    for name in ("b", "a", "c"):
        jobs.create(job(name))
    assert jobs.swap_job(job("a"), states.plan(job("a")))
    assert [j.id for j in jobs.jobs()] == ["c", "a", "b"]
    assert [j.id for j in jobs.jobs(("planning",))] == ["a"]
    assert [j.id for j in jobs.jobs(("queued", "planning"))] == ["c", "a", "b"]
    assert jobs.jobs(("failed",)) == []


def test_a_job_is_swapped_by_state_and_generation(jobs: Jobs) -> None:
    old = jobs.create(job())
    new = states.plan(old)
    assert not jobs.swap_job(replace(old, generation=3), new)
    assert not jobs.swap_job(replace(old, state="running"), new)
    assert jobs.job("j") == old
    assert jobs.swap_job(old, new)
    assert not jobs.swap_job(old, new)
    assert jobs.job("j") == new
    assert not jobs.swap_job(job("x"), states.plan(job("x")))


def test_chunks_are_inserted_once_and_listed_by_position(jobs: Jobs) -> None:
    jobs.add_chunks([chunk(2), chunk(0), chunk(1)])
    sent = states.send(chunk(0))
    assert jobs.swap_chunk(chunk(0), sent)
    jobs.add_chunks([chunk(0), chunk(3)])
    jobs.add_chunks([chunk(0, "other")])
    assert jobs.chunks("j") == [sent, chunk(1), chunk(2), chunk(3)]
    assert jobs.chunks("j", ("pending",), limit=2) == [chunk(1), chunk(2)]
    assert jobs.chunks("j", ("sent", "done")) == [sent]
    assert jobs.chunk("j-3") == chunk(3)
    with pytest.raises(NotFoundError, match="no chunk 'x'"):
        jobs.chunk("x")


def test_every_field_of_a_chunk_survives(jobs: Jobs) -> None:
    whole = chunk(
        1, state="done", generation=4, worker="w", parent="p", solo=True, lost=True, losses=2, done_before=3,
        cuts=(2, 3), done=1, failed=1, decided=1, copied=1, scored_images=2, precision="bf16", batch_images=8,
        seconds={"decode": 0.5}, scores="jobs/j/scores/x.npz", error="ü", ready=True, beat=6,
    )  # fmt: skip
    jobs.add_chunks([whole])
    assert jobs.chunk("j-1") == whole


def test_beats_belong_to_a_running_generation_and_survive_swaps(jobs: Jobs) -> None:
    jobs.add_chunks([chunk(0)])
    assert not jobs.beat("j-0", 0, ready=False)
    sent = states.send(chunk(0))
    running = states.claim(sent, worker="w", ready=False)
    assert jobs.swap_chunk(chunk(0), sent)
    assert jobs.swap_chunk(sent, running)
    assert jobs.beat("j-0", running.generation, ready=False)
    assert jobs.beat("j-0", running.generation, ready=True)
    assert not jobs.beat("j-0", running.generation - 1, ready=True)
    assert jobs.chunk("j-0") == replace(running, beat=2, ready=True)
    back = states.hand_back(running)
    assert jobs.swap_chunk(running, back)
    assert jobs.chunk("j-0") == replace(back, beat=2)
    assert not jobs.beat("j-0", back.generation, ready=True)
    assert not jobs.beat("x", 0, ready=True)


def test_what_a_worker_is_through_with_is_told_by_its_beats_and_forgotten_by_steps(jobs: Jobs) -> None:
    sent = chunk(0, state="sent")
    jobs.add_chunks([sent])
    running = states.claim(sent, worker="w", ready=True)
    assert jobs.swap_chunk(sent, running)
    assert jobs.beat("j-0", running.generation, ready=True, through=2)
    assert (jobs.chunk("j-0").through, jobs.chunks("j", ("running",))[0].through) == (2, 2)
    assert jobs.beat("j-0", running.generation, ready=True, through=1)
    assert jobs.chunk("j-0").through == 1
    back = states.hand_back(jobs.chunk("j-0"))
    assert jobs.swap_chunk(running, back)
    assert (back.through, jobs.chunk("j-0")) == (0, replace(back, beat=2))
    assert jobs.count_chunks("j")["pending"]["done"] == 0
    assert jobs.swap_chunk(back, replace(states.send(back), through=1))
    assert jobs.chunk("j-0").through == 1  # the rules forget, and a store keeps what it is given


def test_a_beat_does_not_disturb_a_swap(jobs: Jobs) -> None:
    sent = chunk(0, state="sent")
    jobs.add_chunks([sent])
    running = states.claim(sent, worker="w", ready=True)
    assert jobs.swap_chunk(sent, running)
    assert jobs.beat("j-0", running.generation, ready=True)
    done = states.finish_chunk(
        running, done=2, failed=0, decided=0, scored_images=3, precision="float32", batch_images=8, seconds={}
    )
    assert jobs.swap_chunk(running, done)
    assert jobs.chunk("j-0") == replace(done, beat=1)


def test_chunks_are_counted_by_state(jobs: Jobs) -> None:
    some = {"done": 5, "failed": 4, "decided": 2, "copied": 3}
    jobs.add_chunks([chunk(n) for n in range(3)])
    jobs.add_chunks([chunk(3, state="done", **some, scored_images=2), chunk(9, "other", copied=7)])
    zeros = dict.fromkeys([*some, "scored_images"], 0)
    assert jobs.count_chunks("j") == {
        "pending": {"chunks": 3, "products": 6, "images": 9} | zeros,
        "done": {"chunks": 1, "products": 2, "images": 3, "scored_images": 2} | some,
    }
    assert jobs.count_chunks("x") == {}


def test_outcomes_are_inserted_once_and_paged_by_position(jobs: Jobs) -> None:
    jobs.add_outcomes([outcome(7, 1), outcome(5, 2, "no picture"), outcome(-(2**63), 0)])
    jobs.add_outcomes([outcome(5, 2), outcome(2**62, 3, "spoiled")])
    assert jobs.count_outcomes("j") == 4
    assert [o.position for o in jobs.outcomes("j", limit=2)] == [0, 1]
    assert [o.position for o in jobs.outcomes("j", after=1, limit=9)] == [2, 3]
    assert [o.error for o in jobs.outcomes("j", errors_only=True)] == ["no picture", "spoiled"]
    assert jobs.outcomes("j", after=2, errors_only=True) == [outcome(2**62, 3, "spoiled")]
    assert jobs.outcomes("x") == []


def test_outcomes_of_products_are_found_however_many_are_asked_for(jobs: Jobs) -> None:
    stored = [replace(outcome(3 * n - 2000, n), images=f"{n:032x}", since="i") for n in range(1500)]
    jobs.add_outcomes([*stored, replace(outcome(1, 1), job="other")])
    asked = [2**62, *(o.product for o in reversed(stored[1:])), -(2**63), 2]
    assert jobs.outcomes_of("j", asked) == stored[1:]
    assert jobs.outcomes_of("j", [1]) == [stored[667]]
    assert jobs.outcomes_of("j", []) == []
    assert jobs.outcomes_of("x", asked) == []


def test_a_removed_job_leaves_nothing(jobs: Jobs) -> None:
    jobs.create(job())
    jobs.create(job("other"))
    jobs.add_chunks([chunk(0), chunk(0, "other")])
    jobs.add_outcomes([outcome(1, 1)])
    jobs.remove_job("j")
    jobs.remove_job("j")
    assert (jobs.jobs(), jobs.chunks("j"), jobs.count_outcomes("j")) == ([job("other")], [], 0)
    assert jobs.chunks("other") == [chunk(0, "other")]


def test_many_clients_win_every_row_exactly_once(client: Callable[[], Jobs]) -> None:
    begin = threading.Barrier(CLIENTS)

    def claim_all(number: int, rows: list[Chunk]) -> list[str]:
        mine = client()
        begin.wait()
        claimed = [(row, states.claim(row, worker=f"w{number}", ready=True)) for row in rows]
        return [old.id for old, new in claimed if mine.swap_chunk(old, new)]

    for first in range(0, ROWS, AT_ONCE):  # few at a time: the tests' document server reads all rows at each swap
        rows = [chunk(n, state="sent") for n in range(first, first + AT_ONCE)]
        client().add_chunks(rows)
        with ThreadPoolExecutor(CLIENTS) as pool:
            won = list(pool.map(claim_all, range(CLIENTS), [rows] * CLIENTS))
        assert sorted(id_ for ids in won for id_ in ids) == sorted(row.id for row in rows)
        holders = {row.id: row.worker for row in client().chunks("j", ("running",))}
        assert all(holders[id_] == f"w{number}" for number, ids in enumerate(won) for id_ in ids)
        client().remove_job("j")


def test_many_clients_insert_the_same_outcomes(client: Callable[[], Jobs]) -> None:
    begin = threading.Barrier(CLIENTS)

    def insert(number: int) -> None:
        mine = client()
        begin.wait()
        mine.add_outcomes([outcome(n, n, error=f"by {number}") for n in range(ROWS)])

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(insert, range(CLIENTS)))
    stored = client().outcomes("j", limit=ROWS + 1)
    assert [o.product for o in stored] == list(range(ROWS))
