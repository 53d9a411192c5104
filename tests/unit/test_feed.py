"""From the events of a child to the metrics of its parent."""

import os
from dataclasses import replace

from prometheus_client import CollectorRegistry

from shared.domain.records import Chunk
from shared.telemetry import WorkerMetrics
from tests.scoring_stub import VirtualClock
from workers.scoring import telling
from workers.scoring.chunks import ChunkResult, ProductResult
from workers.scoring.feed import Ear, Mouth

CHUNK = Chunk(
    id="c",
    job="j",
    pack=0,
    offset=0,
    length=1,
    position=0,
    products=4,
    images=6,
    done=3,
    failed=1,
    seconds={"fetch": 0.1, "forward": 2.0},
)
RESULT = ChunkResult(
    key="c",
    products=[
        ProductResult(1, source="model"),
        ProductResult(2, source="image duplicate"),
        ProductResult(3, source="product duplicate"),
        ProductResult(4, error="no picture"),
    ],
    decided=1,
    scored_images=6,
    seconds={},
    batch_images=4,
    precision="bf16",
    halvings=0,
    views=2,
    device_bytes=1000,
)
POLICIES = {"images": "unique", "products": "majority"}


class Pair:
    """A child's mouth and its parent's ear."""

    def __init__(self) -> None:
        self.clock, self.registry = VirtualClock(), CollectorRegistry()
        self.ear = Ear(WorkerMetrics(self.registry), "gpu", clock=self.clock)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"shelver_{name}", labels)


def test_a_done_chunk_is_counted() -> None:
    pair = Pair()
    pair.ear.hear(telling.done(CHUNK, RESULT, POLICIES))

    assert pair.value("products_total", pool="gpu") == 4
    assert pair.value("images_total", pool="gpu") == 6
    assert pair.value("views_total", pool="gpu") == 12
    assert pair.value("worker_chunks_total", pool="gpu", end="done") == 1
    assert pair.value("duplicate_decisions_total", policy="unique", source="image duplicate") == 1
    assert pair.value("duplicate_decisions_total", policy="majority", source="product duplicate") == 1
    assert pair.value("stage_seconds_sum", stage="forward") == 2.0
    assert pair.value("batch_fill") == 0.75
    assert pair.value("gpu_memory_bytes") == 1000


def test_a_chunk_without_the_network_fills_no_batch() -> None:
    pair = Pair()
    pair.ear.hear(telling.done(CHUNK, replace(RESULT, scored_images=0, batch_images=0), POLICIES))
    pair.ear.hear(telling.let_go("handed back"))
    assert pair.value("batch_fill") == 0
    assert pair.value("worker_chunks_total", pool="gpu", end="handed back") == 1


def test_a_child_is_warm_until_another_one_begins() -> None:
    pair = Pair()
    assert not pair.ear.warm
    pair.ear.hear(telling.loaded(3.0, 500))
    pair.ear.hear(telling.warm())
    assert (pair.ear.warm, pair.value("worker_warm"), pair.value("resident_bytes")) == (True, 1, 500)
    assert pair.value("model_load_seconds_count") == 1
    pair.clock.sleep(100)
    assert pair.ear.age() == 100
    pair.ear.hear({"event": "begun"})
    assert (pair.ear.warm, pair.ear.age()) == (False, 0)


def test_a_mouth_loses_rather_than_waits() -> None:
    reading, writing = os.pipe()
    clock = VirtualClock()
    mouth = Mouth(writing, clock=clock)
    for _ in range(5):
        mouth(telling.moved())  # once a second is enough
    assert os.read(reading, 4096).count(b"\n") == 1
    for _ in range(10_000):
        mouth(telling.warm())  # nobody reads: the pipe is full at some time
    mouth(telling.let_go("x" * 5000))
    os.close(reading)
    os.close(writing)
