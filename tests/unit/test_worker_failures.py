import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pytest

from shared import layout
from shared.domain import states
from shared.domain.records import SCHEMA, Chunk
from tests.job_scene import Scene, Watching, message
from tests.scoring_stub import StubEngine
from workers.scoring.chunks import ChunkInput, ChunkResult
from workers.scoring.engines import CannotRunError
from workers.scoring.worker import EngineFailedError


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Ten chunks of four products, all sent in messages of four."""
    scene = Scene(tmp_path, [1] * 40)
    scene.steps(2)
    return scene


def test_an_engine_that_does_not_load_is_given_up_with_its_words(scene: Scene) -> None:
    def load() -> StubEngine:
        raise OSError("no such weights")

    with pytest.raises(EngineFailedError, match="no such weights"):
        scene.new_worker(load).handle(message(*scene.chunks("sent")[:3]))
    (chunk,) = scene.chunks("running")
    assert (chunk.lost, chunk.ready, chunk.error) == (True, False, "no such weights")
    scene.steps()
    assert (scene.job.unready_losses, scene.job.error, scene.counts()) == (1, "no such weights", {"sent": 10})


def test_an_engine_that_fails_gives_up_everything_it_held(scene: Scene) -> None:
    def fail(_: int) -> None:
        raise RuntimeError("device-side assert")

    class Eager(StubEngine):
        def run(self, chunks: Iterator[ChunkInput], /) -> Iterator[ChunkResult]:
            return super().run(iter(list(islice(chunks, 3))))

    with pytest.raises(EngineFailedError):
        scene.new_worker(lambda: Eager(on_product=fail)).handle(message(*scene.chunks("sent")[:3]))
    assert [(c.lost, c.ready, c.error) for c in scene.chunks("running")] == [(True, True, "device-side assert")] * 3
    scene.steps()
    assert [c.solo for c in scene.chunks()] == [True] * 3 + [False] * 7
    assert [c.losses for c in scene.chunks()] == [0] * 10


def test_a_dataset_that_is_damaged_is_nobody_s_chunk_s_fault(scene: Scene) -> None:
    scene.objects.delete(layout.pack("tiny", 0))
    assert scene.play().state == "failed"
    assert "00000.bson" in scene.job.error
    assert scene.answers() == {}


@pytest.mark.parametrize("raises", [True, False])
def test_a_worker_that_cannot_run_the_precision_hands_back(scene: Scene, raises: bool) -> None:
    assert scene.jobs.swap_job(scene.job, states.resolve_precision(scene.job, precision="fp16", batch_images=8))

    def load() -> StubEngine:
        if raises:
            raise CannotRunError("this device has no fp16, the job was begun in fp16")
        return StubEngine()

    worker = scene.new_worker(load)
    worker._stopped.wait = lambda _: False  # type: ignore[method-assign]
    worker.handle(message(scene.chunks("sent")[0]))
    (chunk,) = scene.chunks("pending")
    assert (chunk.losses, chunk.solo, scene.job.unready_losses) == (0, False, 0)
    assert "begun in fp16" in chunk.error


def test_what_was_lost_is_dropped_silently(scene: Scene) -> None:
    first, second = scene.chunks("sent")[:2]

    def lose_first(_: int) -> None:
        running = scene.jobs.chunk(first.id)
        if running.state == "running":
            assert scene.jobs.swap_chunk(running, states.lose_solo(running, done=0, error="expired"))
            worker.claims.beat()

    worker = scene.new_worker(lambda: Watching(lose_first))
    worker.handle(message(first, second))
    assert (scene.jobs.chunk(first.id).state, scene.jobs.chunk(second.id).state) == ("pending", "done")
    assert 100 not in scene.answers()


def test_what_was_computed_before_an_engine_failed_is_stored(scene: Scene) -> None:
    def fail(number: int) -> None:
        if number == 1:
            raise RuntimeError("device-side assert")

    with ThreadPoolExecutor(1) as beside, pytest.raises(EngineFailedError):
        scene.new_worker(lambda: Watching(fail), beside=beside).handle(message(*scene.chunks("sent")[:3]))
    assert scene.counts() == {"done": 1, "running": 1, "sent": 8}
    assert [chunk.lost for chunk in scene.chunks("running")] == [True]


def test_a_newer_chunk_among_those_sent_is_left_to_a_newer_worker(scene: Scene) -> None:
    first, second, *_ = scene.chunks("sent")
    scene.set_chunk(second, schema=SCHEMA + 1)
    scene.new_worker().handle(message(first))
    assert scene.jobs.chunk(first.id).state == "done"


def test_a_lost_compare_and_set_leaves_one_outcome(scene: Scene) -> None:
    (first, *_) = scene.chunks("sent")
    swap = scene.jobs.swap_chunk

    def lose_at_the_end(old: Chunk, new: Chunk) -> bool:
        if new.state == "done" and old.id == first.id and old.worker == "w1":
            scene.jobs.swap_chunk = swap
            assert swap(old, states.lose_solo(old, done=0, error="expired"))
        stored: bool = swap(old, new)
        return stored

    scene.jobs.swap_chunk = lose_at_the_end
    scene.new_worker().handle(message(first))
    assert scene.jobs.chunk(first.id).state == "pending"
    assert scene.play().state == "succeeded"
    assert len(scene.answers()) == 40


def test_a_store_that_is_away_while_reading_is_waited_for_a_little_then_handed_back(scene: Scene) -> None:
    def go_away(number: int) -> None:
        scene.objects.away = number == 0

    worker = scene.new_worker(lambda: Watching(go_away))
    worker._stopped.wait = lambda _: False  # type: ignore[method-assign]
    worker._next_sent = lambda: ("", [])  # type: ignore[method-assign]
    worker.handle(message(*scene.chunks("sent")[:3]))
    assert scene.counts() == {"done": 1, "pending": 1, "sent": 8}
    assert [(c.losses, c.solo) for c in scene.chunks()] == [(0, False)] * 10


def test_a_store_that_is_away_while_writing_loses_nothing_computed(scene: Scene) -> None:
    waits: list[float] = []

    def wait(seconds: float | None = None) -> bool:
        waits.append(seconds or 0)
        scene.jobs.away = sum(waits) < 60
        return False

    def go_away(number: int) -> None:
        if number == 0:
            scene.jobs.away = True

    engine = Watching(go_away)
    worker = scene.new_worker(lambda: engine)
    worker._stopped.wait = wait  # type: ignore[method-assign]
    worker.handle(message(*scene.chunks("sent")[:3]))
    assert sum(waits) >= 60
    assert scene.counts() == {"done": 10}
    assert len(engine.scored) == 40


def test_stopping_hands_back_and_takes_nothing_more(scene: Scene) -> None:
    reached, stopped = threading.Event(), threading.Event()

    def block(_: int) -> None:
        reached.set()
        assert stopped.wait(30)

    worker = scene.new_worker(lambda: StubEngine(on_product=block))
    running = threading.Thread(target=worker.handle, args=(message(*scene.chunks("sent")[:3]),))
    running.start()
    assert reached.wait(30)
    worker.stop()
    stopped.set()
    running.join(30)
    assert not running.is_alive()
    assert scene.counts() == {"pending": 1, "sent": 9}
    assert scene.chunks("pending")[0].losses == 0
    assert scene.answers() == {}
