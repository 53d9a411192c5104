import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from shared.domain.duplicates import Decisions
from tests.engine_parts import TAXONOMY, chunk, random_picture
from workers.scoring.ahead import Bounds, DecodeAhead
from workers.scoring.chunks import Plan, Policies, plan
from workers.vision.decode import DecodeLimits, decode

NO_POLICIES = Policies("none", "none", skip_decided=True, own_source=False)
PICTURE = random_picture(np.random.default_rng(1))  # 8 x 8, 192 bytes decoded


class CountedPool(ThreadPoolExecutor):
    """Knows how many pictures were ever handed out and not taken at one time."""

    def __init__(self) -> None:
        super().__init__(2)
        self.lock = threading.Lock()
        self.waiting = 0
        self.most = 0

    def submit(self, function, /, group):
        pictures = len(group.contents)
        with self.lock:
            self.waiting += pictures
            self.most = max(self.most, self.waiting)
        inner = super().submit(function, group)
        pool = self

        class Taken(Future):
            def result(self, timeout=None):
                with pool.lock:
                    pool.waiting -= pictures
                return inner.result(timeout)

        return Taken()


def plans(*sizes: int) -> list[Plan]:
    return [
        plan(chunk([[PICTURE]] * size, first_id=1 + i), None, NO_POLICIES, TAXONOMY, time.perf_counter)
        for i, size in enumerate(sizes)
    ]


def places(groups) -> list[int]:
    """Of all pictures, in their order within each block."""
    return [int(place) for group in groups for of_block, _ in group.blocks for place in of_block]


def until(condition, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("bounds", "most"),
    [
        (Bounds(5, 10**9), 5),
        (Bounds(100, 192 * 3), 3),
        (Bounds(100, 1), 1),
        (Bounds(24, 10**9), 23),  # in groups of three, and of two at the end of the first chunk
        (Bounds(25, 10**9), 23),
        (Bounds(1000, 192 * 2 * 8 + 1), 16),  # in groups of two, by their bytes
    ],
)
def test_pictures_waiting_stay_within_the_bounds(bounds, most):
    with CountedPool() as pool, DecodeAhead(iter(plans(20, 30)), pool, DecodeLimits(), bounds, time.perf_counter) as a:
        until(lambda: pool.waiting == most)
        assert pool.most == most
        taken = [places(groups) for _, groups in a]

    assert taken == [list(range(20)), list(range(30))]
    assert pool.most <= max(1, min(bounds.pictures, bounds.bytes // 192))


def test_the_next_chunk_is_decoded_while_this_one_is_in_hand():
    with (
        CountedPool() as pool,
        DecodeAhead(iter(plans(1, 4, 4)), pool, DecodeLimits(), Bounds(99, 10**9), time.perf_counter) as ahead,
    ):
        chunks = iter(ahead)
        _, groups = next(chunks)
        until(lambda: pool.waiting == 5)
        assert places(groups) == [0]
        assert pool.most == 5
        assert [len(places(groups)) for _, groups in chunks] == [4, 4]


def test_pictures_that_nobody_takes_are_passed_over():
    with ThreadPoolExecutor(1) as pool:
        given = plans(3, 2)
        with DecodeAhead(iter(given), pool, DecodeLimits(), Bounds(2, 10**9), time.perf_counter) as ahead:
            assert [found is wanted for (found, _), wanted in zip(ahead, given, strict=True)] == [True, True]


def test_memory_of_pictures_that_were_taken_is_used_again():
    contents = [random_picture(np.random.default_rng(i)) for i in range(200)]
    expected = [decode(content, DecodeLimits()) for content in contents]
    given = plan(chunk([contents]), None, NO_POLICIES, TAXONOMY, time.perf_counter)
    memories, found = set(), {}
    with (
        ThreadPoolExecutor(2) as pool,
        DecodeAhead(iter([given]), pool, DecodeLimits(), Bounds(16, 10**9), time.perf_counter) as ahead,
    ):
        for _, groups in ahead:
            for group in groups:
                for of_block, pixels in group.blocks:
                    memories.add(pixels.data_ptr())
                    found |= zip(of_block.tolist(), pixels.clone().numpy(), strict=True)

    assert sorted(found) == list(range(200))
    assert all((found[place] == pixels).all() for place, pixels in enumerate(expected))
    assert len(memories) < 50  # of 100 groups


def test_leaving_early_stops_the_thread():
    before = threading.active_count()
    with ThreadPoolExecutor(1) as pool:
        with DecodeAhead(iter(plans(50, 50)), pool, DecodeLimits(), Bounds(2, 10**9), time.perf_counter) as ahead:
            next(iter(ahead))
        assert threading.active_count() <= before + 1


def test_without_a_table_everything_needs_the_network():
    (given,) = plans(3)

    assert given.network == [0, 1, 2]
    assert isinstance(given.decisions, Decisions)
    assert not given.decisions.overrides.known.any()
