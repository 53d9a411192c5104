import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from shared.domain.duplicates import Decisions
from tests.engine_parts import TAXONOMY, chunk, random_picture
from workers.scoring.ahead import BatchShape, Bounds, DecodeAhead
from workers.scoring.chunks import Plan, Policies, plan
from workers.vision.decode import DecodeLimits, decode

NO_POLICIES = Policies("none", "none", skip_decided=True, own_source=False)
NOWHERE = BatchShape(1000, ())  # no batch that pictures are decoded into
PICTURE = random_picture(np.random.default_rng(1))  # 8 x 8, 192 bytes decoded


def plans(*sizes: int) -> list[Plan]:
    return [
        plan(chunk([[PICTURE]] * size, first_id=1 + i), None, NO_POLICIES, TAXONOMY, time.perf_counter)
        for i, size in enumerate(sizes)
    ]


@contextmanager
def ahead_of(
    given: Iterable[Plan], bounds: Bounds, *, helps: bool = False, batches: BatchShape = NOWHERE
) -> Iterator[DecodeAhead]:
    with (
        ThreadPoolExecutor(2) as pool,
        DecodeAhead(
            iter(given), pool, DecodeLimits(), bounds, time.perf_counter, threads=2, helps=helps, batches=batches
        ) as ahead,
    ):
        yield ahead


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
        (Bounds(5, 10**9, 8), 5),
        (Bounds(100, 192 * 3, 8), 3),
        (Bounds(100, 1, 8), 1),
        (Bounds(24, 10**9, 8), 23),  # in groups of three, and of two at the end of the first chunk
        (Bounds(25, 10**9, 8), 23),
        (Bounds(1000, 192 * 2 * 8 + 1, 8), 16),  # in groups of two, by their bytes
    ],
)
def test_pictures_waiting_stay_within_the_bounds(bounds, most):
    taken, waiting = [], []
    with ahead_of(plans(20, 30), bounds) as ahead:
        until(lambda: ahead.waiting == most)
        for _, groups in ahead:
            taken.append([])
            for group in groups:
                taken[-1] += places([group])
                waiting.append(ahead.waiting)

    assert taken == [list(range(20)), list(range(30))]
    assert max(waiting) <= max(1, min(bounds.pictures, bounds.bytes // 192))


def test_who_waits_for_pictures_decodes_too():
    threads = set()
    with ThreadPoolExecutor(1) as pool:
        busy = threading.Event()
        pool.submit(busy.wait)
        with DecodeAhead(
            iter(plans(20, 30)),
            pool,
            DecodeLimits(),
            Bounds(16, 10**9, 8),
            told(threads),
            threads=1,
            helps=True,
            batches=NOWHERE,
        ) as ahead:
            taken = [places(groups) for _, groups in ahead]
        busy.set()

    assert taken == [list(range(20)), list(range(30))]
    assert threads == {threading.current_thread()}


def told(threads):
    """A clock that notes whose it is."""
    return lambda: threads.add(threading.current_thread()) or time.perf_counter()


def test_what_decoding_raises_comes_to_who_takes_the_pictures(monkeypatch):
    def broken(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr("workers.scoring.groups.decode", broken)
    for helps in (False, True):
        with ahead_of(plans(3), Bounds(2, 10**9, 8), helps=helps) as ahead, pytest.raises(RuntimeError, match="broken"):
            [places(groups) for _, groups in ahead]


@pytest.mark.parametrize("helps", [False, True])
def test_what_the_pictures_themselves_raise_comes_to_who_takes_them(monkeypatch, helps):
    def broken(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr("workers.scoring.ahead.read_header", broken)
    with ahead_of(plans(3), Bounds(2, 10**9, 8), helps=helps) as ahead, pytest.raises(RuntimeError, match="broken"):
        [places(groups) for _, groups in ahead]


def test_what_the_plans_raise_comes_after_the_pictures_before_it():
    def given():
        yield from plans(3, 4)
        raise RuntimeError("broken")

    taken = []
    with ahead_of(given(), Bounds(2, 10**9, 8)) as ahead, pytest.raises(RuntimeError, match="broken"):
        taken += (places(groups) for _, groups in ahead)
    assert taken == [list(range(3)), list(range(4))]


def test_the_next_chunk_is_decoded_while_this_one_is_in_hand():
    with ahead_of(plans(1, 4, 4), Bounds(99, 10**9, 8)) as ahead:
        chunks = iter(ahead)
        _, groups = next(chunks)
        until(lambda: ahead.waiting == 5)
        assert places(groups) == [0]
        assert ahead.waiting == 4
        assert [len(places(groups)) for _, groups in chunks] == [4, 4]


def test_pictures_that_nobody_takes_are_passed_over():
    given = plans(3, 2)
    for helps in (False, True):
        with ahead_of(given, Bounds(2, 10**9, 8), helps=helps) as ahead:
            assert [found is wanted for (found, _), wanted in zip(ahead, given, strict=True)] == [True, True]


@pytest.mark.parametrize("helps", [False, True])
def test_memory_of_pictures_that_were_taken_is_used_again(helps):
    contents = [random_picture(np.random.default_rng(i)) for i in range(200)]
    expected = [decode(content, DecodeLimits()) for content in contents]
    given = plan(chunk([contents]), None, NO_POLICIES, TAXONOMY, time.perf_counter)
    memories, found = set(), {}
    with ahead_of([given], Bounds(16, 10**9, 8), helps=helps) as ahead:
        for _, groups in ahead:
            for group in groups:
                for of_block, pixels in group.blocks:
                    memories.add(pixels.data_ptr())
                    found |= zip(of_block.tolist(), pixels.clone().numpy(), strict=True)

    assert sorted(found) == list(range(200))
    assert all((found[place] == pixels).all() for place, pixels in enumerate(expected))
    assert len(memories) < 50  # of 100 groups


def test_pictures_of_a_size_that_batches_have_lie_in_their_batch_by_their_places():
    """Memory of a batch is used again once pictures of the one after the next are taken."""
    contents = [random_picture(np.random.default_rng(i)) for i in range(70)]
    contents[33] = b"no picture"
    expected = [decode(content, DecodeLimits()) if content != b"no picture" else None for content in contents]
    given = plan(chunk([contents]), None, NO_POLICIES, TAXONOMY, time.perf_counter)
    memories, seen = [], []
    with ahead_of([given], Bounds(16, 10**9, 8), helps=True, batches=BatchShape(10, (8,))) as ahead:
        for _, groups in ahead:
            for group in groups:
                assert group.lies_there == (33 not in range(group.start, group.stop))
                if group.start % 10 == 0:
                    memories.append(group.batch.data_ptr())
                assert group.batch.data_ptr() == memories[-1]
                seen += range(group.start, group.stop)
                if group.stop % 10 == 0:
                    for row, place in enumerate(range(group.stop - 10, group.stop)):
                        if place // 10 != 3:
                            assert (group.batch[row].numpy() == expected[place]).all()

    assert seen == list(range(70))
    assert len(set(memories)) < 7


def test_leaving_early_stops_the_thread():
    before = threading.active_count()
    with ahead_of(plans(50, 50), Bounds(2, 10**9, 8)) as ahead:
        next(iter(ahead))
    assert threading.active_count() == before


def test_without_a_table_everything_needs_the_network():
    (given,) = plans(3)

    assert given.network == [0, 1, 2]
    assert isinstance(given.decisions, Decisions)
    assert not given.decisions.overrides.known.any()
