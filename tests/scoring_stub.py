"""Scoring without networks: a dataset of random bytes, an engine that answers by product id, a queue in memory."""

import hashlib
import json
import os
import signal
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shared import layout
from shared.domain.errors import StoreUnavailableError
from shared.domain.records import Job, JobOptions, Prediction
from shared.packs import Manifest, PackIndex, PackRef, index_to_parquet
from shared.ports import Objects
from workers.scoring.chunks import ChunkInput, ChunkResult, ProductResult

POISON, FAULTY, CHANGED = b"poison", b"faulty", b"changed"
"""What a picture holds that kills its worker, that is a product's own error, and that is another than it was."""


def put_dataset(
    objects: Objects,
    counts: Sequence[int],
    *,
    packs: int = 1,
    poison: frozenset[int] = frozenset(),
    faulty: frozenset[int] = frozenset(),
    changed: frozenset[int] = frozenset(),
    first_id: int = 100,
    name: str = "tiny",
    fingerprint: str = "f" * 16,
) -> Manifest:
    """Product p has id `first_id` + p and `counts[p]` images; `poison`, `faulty` and `changed` are ids.

    Equal ids and counts give equal pictures, but those of `changed`.
    """
    marks = dict.fromkeys(poison, POISON) | dict.fromkeys(faulty, FAULTY) | dict.fromkeys(changed, CHANGED)
    refs, first = [], 0
    for number, share in enumerate(np.array_split(np.array(counts), packs)):
        ids = range(first_id + first, first_id + first + len(share))
        pictures = [
            b"%s %d of %d|" % (marks.get(product, b"picture"), image, product)
            for product, images in zip(ids, share, strict=True)
            for image in range(images)
        ]
        md5s = b"".join(hashlib.md5(picture, usedforsecurity=False).digest() for picture in pictures)
        lengths = np.array([len(p) for p in pictures], dtype=np.int64)
        image_first = np.concatenate([[0], np.cumsum(share)]).astype(np.int64)
        ends = np.concatenate([[0], np.cumsum(lengths)])
        index = PackIndex(
            product_id=np.array(ids, dtype=np.int64),
            offset=ends[image_first[:-1]],
            length=np.diff(ends[image_first]),
            category_id=np.array(ids, dtype=np.int64) % 3,
            first_image=image_first,
            image_offset=ends[:-1],
            image_length=lengths,
            image_md5=np.frombuffer(md5s, dtype=">u8").reshape(-1, 2).astype(np.uint64),
        )
        content = b"".join(pictures)
        objects.put(layout.pack(name, number), content)
        objects.put(layout.pack_index(name, number), index_to_parquet(index))
        refs.append(PackRef(number=number, dataset=name, bytes=len(content), products=len(share), images=len(pictures)))
        first += len(share)
    manifest = Manifest(
        dataset=name,
        fingerprint=fingerprint,
        source="test",
        products=len(counts),
        images=int(sum(counts)),
        labelled=0,
        bytes=sum(ref.bytes for ref in refs),
        repeated=0,
        taxonomy="",
        pack_bytes=1,
        packs=tuple(refs),
    )
    objects.put(layout.manifest(name), manifest_json(manifest))
    return manifest


def manifest_json(manifest: Manifest) -> bytes:
    return json.dumps(manifest.plain()).encode()


def new_job(manifest: Manifest, *, chunk_images: int = 4, since: str = "", **more: Any) -> Job:
    options = JobOptions(image_duplicates="none", product_duplicates="none", chunk_images=chunk_images, since=since)
    return Job(
        **{
            "id": "job1",
            "dataset": manifest.dataset,
            "dataset_fingerprint": manifest.fingerprint,
            "ensemble": "small",
            "version": "v1",
            "options": options,
            "products": manifest.products,
            "images": manifest.images,
        }
        | more
    )


class WorkerKilledError(BaseException):
    """Stands for the death of a worker's process."""


def kill_process(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_simulated(_: int) -> None:
    raise WorkerKilledError


@dataclass
class StubEngine:
    """Answers class id % 3. `on_poison` is called with the id of a product whose picture is poison."""

    precision: str = "float32"
    batch_images: int = 8
    on_poison: Callable[[int], None] = kill_simulated
    on_product: Callable[[int], None] = lambda _: None
    on_batch: Callable[[], None] = lambda: None
    bytes: int = 1
    scored: list[int] = field(default_factory=list)
    closed: bool = False
    _at: str = ""  # the chunk, and what was scored before it
    _before: int = 0

    def run(self, chunks: Iterator[ChunkInput], /) -> Generator[ChunkResult, None, None]:
        for chunk in chunks:
            self._at, self._before = chunk.key, len(self.scored)
            yield ChunkResult(
                key=chunk.key,
                products=[self._product(chunk, row) for row in range(len(chunk.index))],
                decided=0,
                scored_images=chunk.index.images,
                seconds={"forward": 0.5},
                batch_images=self.batch_images,
                precision=self.precision,
                halvings=0,
            )

    def through(self, key: str) -> int:
        return len(self.scored) - self._before if key == self._at else 0

    def close(self) -> None:
        self.closed = True

    def _product(self, chunk: ChunkInput, row: int) -> ProductResult:
        product = int(chunk.index.product_id[row])
        self.on_product(product)
        images = range(chunk.index.first_image[row], chunk.index.first_image[row + 1])
        pictures = [*map(bytes, chunk.pictures(images))]
        assert all(b" of %d|" % product in picture for picture in pictures)
        if any(picture.startswith(POISON) for picture in pictures):
            self.on_poison(product)
        self.scored.append(product)
        if any(picture.startswith(FAULTY) for picture in pictures):
            return ProductResult(product, error="no picture can be read")
        other = any(picture.startswith(CHANGED) for picture in pictures)
        return ProductResult(product, predictions={"all": prediction((product + other) % 3)})


def prediction(class_index: int) -> Prediction:
    nodes = tuple((class_index, 0.9) for _ in range(3))
    return Prediction(class_index, class_index, 0.9, ((class_index, 0.9),), nodes, 0.8, 0.1)


class AtOnce(Executor):
    """Does what it is given before anything else happens."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **more: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*args, **more))
        except Exception as error:
            future.set_exception(error)
        return future


class MemoryQueue:
    """Messages in a list; `dead` are the workers known to be."""

    def __init__(self) -> None:
        self.messages: list[Mapping[str, Any]] = []
        self.dead: set[str] = set()
        self.away = False

    def send(self, message: Mapping[str, Any]) -> None:
        self.check()
        self.messages.append(message)

    def ask(self, question: Mapping[str, Any], *, timeout: float) -> Mapping[str, Any]:
        raise AssertionError("nobody asks")

    def check(self) -> None:
        if self.away:
            raise StoreUnavailableError("the queue is away")

    def waiting(self, pool: str) -> int:
        self.check()
        return sum(message.get("pool", pool) == pool for message in self.messages)

    def lost_workers(self) -> frozenset[str]:
        return frozenset(self.dead)

    def close(self, *, grace: float) -> None:
        self.messages.clear()


class VirtualClock:
    """A clock that only `sleep` moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Flaky:
    """A store that is away while `away`: every method raises StoreUnavailableError."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.away = False

    def __getattr__(self, name: str) -> Any:
        if self.away:
            raise StoreUnavailableError("the store is away")
        return getattr(self._store, name)
