"""Turns by device time: shares become equal whatever the jobs' chunks cost, and nobody waits for ever."""

from collections import deque
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from services.dispatcher.sending import take_turns
from services.dispatcher.turns import Turns
from shared.domain.records import Chunk

IMAGES = 100


def chunk(job: str, number: int, images: int = IMAGES) -> Chunk:
    place = number * images
    return Chunk(
        id=f"{job}-{number}",
        job=job,
        pack=0,
        offset=place,
        length=images,
        position=place,
        products=images,
        images=images,
        state="sent",
    )


class Pool:
    """Jobs of chunks that cost so many device seconds each; one device does them as they are sent."""

    def __init__(self, costs: dict[str, float]) -> None:
        self.costs = costs
        self.turns = Turns()
        self.sent: deque[Chunk] = deque()
        self.spent = dict.fromkeys(costs, 0.0)
        self.number = 0

    def step(self, window: int) -> str:
        self.turns.keep(list(self.costs))
        self.number += 1
        pending = {job: deque([[chunk(job, self.number * 100 + i)] for i in range(window)]) for job in self.costs}
        for _, group in take_turns(pending, window - len(self.sent), self.turns):
            self.sent.extend(group)
        done = self.sent.popleft()
        cost = self.costs[done.job]
        self.spent[done.job] += cost
        self.turns.settle(replace(done, state="done", seconds={"forward": cost}, scored_images=done.images))
        return done.job


@given(st.dictionaries(st.sampled_from("abcde"), st.floats(0.1, 10), min_size=2), st.integers(1, 16))
def test_device_time_is_shared_equally(costs: dict[str, float], window: int) -> None:
    pool = Pool(costs)
    dearest = max(costs.values())
    while max(pool.spent.values()) < 20 * dearest:
        pool.step(window)

    # what is on the way while costs are not known yet is all that may be uneven
    assert max(pool.spent.values()) - min(pool.spent.values()) <= 2 * window * dearest


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True), st.integers(1, 8))
def test_jobs_that_cost_nothing_take_turns(jobs: list[str], window: int) -> None:
    pool = Pool(dict.fromkeys(jobs, 0.0))
    served = [pool.step(window) for _ in range(10 * len(jobs))]
    for job in jobs:
        assert served.count(job) >= 5


def test_a_new_job_begins_with_as_much_as_the_least() -> None:
    pool = Pool({"old": 1.0})
    for _ in range(100):
        pool.step(2)
    pool.costs["new"] = 1.0
    pool.spent["new"] = 0.0
    for _ in range(100):
        pool.step(2)

    assert 40 <= pool.spent["new"] <= 60  # neither all the past is made up for, nor is it behind


def test_what_was_taken_back_costs_nothing() -> None:
    turns = Turns()
    turns.keep(["a", "b"])
    turns.charge("a", [chunk("a", 1)])
    assert turns.next(["a", "b"]) == "b"
    turns.charge("b", [chunk("b", 1, images=200)])
    assert turns.next(["a", "b"]) == "a"
    turns.settle(replace(chunk("b", 1, images=200), state="pending"))
    assert turns.next(["a", "b"]) == "b"
    assert turns.on_the_way() == ["a-1"]
