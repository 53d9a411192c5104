import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared import layout
from shared.domain import states
from shared.domain.records import SCHEMA
from shared.job_requests import cancel
from shared.settings import ScoringSettings, Settings
from tests.job_scene import Scene, Watching, message
from tests.scoring_stub import StubEngine, new_job
from workers.scoring.chunks import ChunkInput, ChunkResult


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Ten chunks of four products, all sent in messages of four."""
    scene = Scene(tmp_path, [1] * 40)
    scene.steps(2)
    return scene


def test_a_message_is_scored_chunk_by_chunk(scene: Scene) -> None:
    first, second, *_ = scene.chunks("sent")
    claimed: list[dict[str, int]] = []
    scene.new_worker(lambda: Watching(lambda _: claimed.append(scene.counts()))).handle(message(first, second))
    assert claimed[:2] == [{"sent": 9, "running": 1}, {"sent": 8, "running": 1, "done": 1}]
    done = scene.jobs.chunk(first.id)
    assert (done.state, done.done, done.failed, done.scored_images) == ("done", 4, 0, 4)
    assert (done.precision, done.batch_images, done.worker) == ("float32", 8, "w1")
    assert set(done.seconds) == {"fetch", "forward", "write"}
    outcome = scene.jobs.outcomes("job1", limit=1)[0]
    assert (outcome.product, outcome.position, outcome.chunk, outcome.source) == (100, 0, first.id, "model")
    assert outcome.predictions["all"]["category_id"] == 100 % 3


def test_after_a_message_it_goes_on_with_sent_chunks_from_the_rows(scene: Scene) -> None:
    scene.new_worker().handle(message(scene.chunks("sent")[5]))
    assert scene.counts() == {"done": 10}


def test_a_pipeline_goes_on_with_sent_chunks_of_its_job_until_a_solo_one(scene: Scene) -> None:
    first, *others = scene.chunks("sent")
    scene.set_chunk(others[-1], solo=True)
    pipelines: list[list[int]] = []

    class Counting(StubEngine):
        def run(self, chunks: Iterator[ChunkInput], /) -> Iterator[ChunkResult]:
            pipelines.append([])
            for result in super().run(chunks):
                pipelines[-1].append(len(result.products))
                yield result

    scene.new_worker(Counting).handle(message(first))
    assert pipelines == [[4] * 9, [4]]


def test_results_are_stored_while_the_engine_goes_on(scene: Scene) -> None:
    stored: list[bool] = []  # before each result whether the one before is
    going_on = threading.Event()

    class Storing(ThreadPoolExecutor):
        def submit(self, *work: Any, **more: Any) -> Future[Any]:
            return super().submit(lambda: (going_on.wait(), work[0](*work[1:], **more)))

    def watch(number: int) -> None:
        if number:
            stored.append(bool(scene.chunks("done")[number - 1 :]))
            going_on.set()

    chunks = scene.chunks("sent")[:2]
    with Storing(1) as beside:
        worker = scene.new_worker(lambda: Watching(watch), beside=beside)
        worker._more_of = lambda job: []  # type: ignore[method-assign]
        worker._run("job1", [chunk.id for chunk in chunks])
        assert stored == [False]
        assert [chunk.id for chunk in scene.chunks("done")] == [chunk.id for chunk in chunks]


def test_it_goes_on_only_with_ensembles_in_memory_and_not_for_ever(scene: Scene) -> None:
    scene.jobs.create(new_job(scene.manifest, id="job2", ensemble="other"))
    scene.steps(2)
    assert scene.jobs.count_chunks("job2")["sent"]["chunks"] > 0
    worker = scene.new_worker(lambda: Watching(lambda _: scene.clock.sleep(250)))
    worker.handle(message(scene.chunks("sent")[0]))
    assert scene.counts()["done"] == 1 + 4
    worker.handle(message(scene.chunks("sent")[0]))
    assert scene.counts() == {"done": 10}
    assert "done" not in scene.jobs.count_chunks("job2")


def test_a_message_whose_chunks_are_claimed_or_gone_is_dropped(scene: Scene) -> None:
    (running,) = scene.claim("other")
    loads: list[int] = []
    worker = scene.new_worker(lambda: (loads.append(1), StubEngine())[1])
    worker.handle(message(running, replace(running, id="gone")))
    worker.handle({"schema": SCHEMA, "job": "gone", "chunks": [running.id]})
    worker.handle(message(scene.chunks("sent")[0]) | {"schema": SCHEMA + 1})
    newer = scene.set_chunk(scene.chunks("sent")[0], schema=SCHEMA + 1)
    worker.handle(message(newer))
    assert scene.jobs.chunk(running.id) == running
    assert loads == []


def test_the_claim_comes_before_the_engine_and_readiness_is_stored_at_once(scene: Scene) -> None:
    seen: list[tuple[str, bool]] = []

    def look(_: int = 0) -> None:
        seen.extend((chunk.state, chunk.ready) for chunk in scene.chunks("running"))

    def load() -> StubEngine:
        look()
        return Watching(look)

    scene.new_worker(load).handle(message(*scene.chunks("sent")[:2]))
    assert seen[:3] == [("running", False), ("running", True), ("running", True)]


def test_beats_say_how_many_products_the_engine_is_through_with(scene: Scene) -> None:
    chunk = scene.chunks("sent")[0]
    told: list[int] = []

    def beat(_: int) -> None:
        worker.claims.beat()
        told.append(scene.jobs.chunk(chunk.id).through)

    worker = scene.new_worker(lambda: StubEngine(on_product=beat))
    worker.handle(message(chunk))
    assert told[:4] == [0, 1, 2, 3]
    assert scene.jobs.chunk(chunk.id).through == 0
    assert worker.claims.through(chunk.id) == 0, "the engine may be let go of"


def test_what_is_stored_is_through_while_the_engine_is_at_the_next_chunk(scene: Scene) -> None:
    first, second = scene.chunks("sent")[:2]
    told: list[tuple[int, int]] = []

    def look(product: int) -> None:
        if product >= 104:
            worker.claims.beat()
            rows = [scene.jobs.chunk(chunk.id) for chunk in (first, second)]
            told.append((rows[0].through, rows[1].through))
            stored.set()

    stored = threading.Event()
    with ThreadPoolExecutor(1) as beside:
        beside.submit(stored.wait)  # what is to be stored waits for it
        worker = scene.new_worker(lambda: StubEngine(on_product=look), beside=beside)
        worker.handle(message(first, second))
    assert told[0] == (4, 0)


def test_solo_chunks_run_alone(scene: Scene) -> None:
    before, alone, after, last = scene.chunks("sent")[:4]
    scene.set_chunk(alone, solo=True)
    pulled: list[set[str]] = []

    class Eager(StubEngine):
        def run(self, chunks: Iterator[ChunkInput], /) -> Iterator[ChunkResult]:
            together = list(chunks)
            pulled.append({chunk.key for chunk in together})
            return super().run(iter(together))

    scene.new_worker(Eager).handle(message(before, alone, after, last))
    assert pulled[:2] == [{before.id}, {alone.id}]
    assert pulled[2] >= {after.id, last.id}


def test_the_first_engine_decides_and_others_follow(scene: Scene) -> None:
    scene.new_worker(lambda: StubEngine(precision="bf16", batch_images=16)).handle(message(scene.chunks("sent")[0]))
    assert (scene.job.precision, scene.job.batch_images) == ("bf16", 16)
    later = Scene.new_worker(scene, lambda: StubEngine(precision="bf16", batch_images=64))
    scene.jobs.create(new_job(scene.manifest, id="job2", precision="bf16", batch_images=4))
    scene.steps(2)
    chunk = scene.jobs.chunks("job2", ("sent",))[0]
    later.handle(message(chunk) | {"job": "job2"})
    assert (scene.jobs.chunk(chunk.id).state, scene.jobs.chunk(chunk.id).batch_images) == ("done", 4)


def test_two_engines_that_are_ready_at_once_agree(scene: Scene) -> None:
    def load_second() -> StubEngine:
        row = scene.job
        if not row.precision:
            assert scene.jobs.swap_job(row, states.resolve_precision(row, precision="float32", batch_images=2))
        return StubEngine()

    scene.new_worker(load_second).handle(message(scene.chunks("sent")[0]))
    assert {chunk.batch_images for chunk in scene.chunks("done")} == {2}


def test_a_halved_batch_shape_is_recorded_and_followed(scene: Scene) -> None:
    class Small(StubEngine):
        def run(self, chunks: Iterator[ChunkInput], /) -> Iterator[ChunkResult]:
            for number, result in enumerate(super().run(chunks)):
                if number == 1:
                    self.batch_images = 4
                    worker._halved(4)
                yield replace(result, batch_images=self.batch_images)

    worker = scene.new_worker(Small)
    chunks = scene.chunks("sent")[:4]
    worker.handle(message(*chunks))
    assert (scene.job.batch_images, scene.job.halvings) == (4, 1)
    assert [scene.jobs.chunk(c.id).batch_images for c in chunks] == [8, 4, 4, 4]


def test_cancel_is_seen_before_a_chunk_starts_and_before_it_writes(scene: Scene) -> None:
    def cancel_second(number: int) -> None:
        if number == 1:
            cancel(scene.jobs, "job1")

    scene.new_worker(lambda: Watching(cancel_second)).handle(message(*scene.chunks("sent")[:4]))
    assert scene.counts() == {"done": 1, "cancelled": 1, "sent": 8}
    assert len(scene.answers()) == 4


def test_kept_scores_are_named_by_the_chunk(scene: Scene) -> None:
    class Keeping(StubEngine):
        def run(self, chunks: Iterator[ChunkInput], /) -> Iterator[ChunkResult]:
            for result in super().run(chunks):
                yield replace(result, scores={"rest": np.zeros((4, 1), dtype=np.float32)})

    scene.new_worker(Keeping).handle(message(scene.chunks("sent")[0]))
    (chunk, *_) = scene.chunks("done")
    assert chunk.scores == layout.chunk_scores("job1", chunk.id, chunk.generation - 1)
    assert np.load(BytesIO(scene.objects.read(chunk.scores)))["rest"].shape == (4, 1)


def test_the_last_used_engines_stay_in_memory(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [1] * 4, settings=Settings(scoring=ScoringSettings(resident_bytes=2)))
    for number in (2, 3):
        scene.jobs.create(new_job(scene.manifest, id=f"job{number}", ensemble=f"e{number}"))
    scene.steps(2)
    made: list[StubEngine] = []
    worker = scene.new_worker(lambda: made.append(StubEngine()) or made[-1])
    for number in (1, 2, 1, 3):
        worker.engines.of(f"job{number}")
    assert [engine.closed for engine in made] == [False, True, False]
    assert worker.engines.of("job1") is made[0]
    worker.engines.clear()
    assert all(engine.closed for engine in made)
