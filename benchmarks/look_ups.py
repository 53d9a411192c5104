"""Looking for duplicates in the table of a large catalog against scoring on a GPU, or on a stub that takes as long."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import data, networks
from benchmarks.engine import GPU_BATCH, chunk_of
from benchmarks.rounds import ROUNDS, Comparison, Timed, compare, timed
from benchmarks.stub_service import BATCH_SECONDS
from shared.domain import duplicates
from shared.domain.duplicates import DuplicateTable
from workers.scoring.chunks import ChunkInput
from workers.scoring.engine import Engine
from workers.vision.devices import resolve_device

_ALLOWED = 0.005  # of the time of scoring


def measure(_: Path, *, images: int = 4096, known: int = 8_000_000, rounds: int = ROUNDS) -> Comparison:
    """`known` different images are in the table, half of the chunk's among them: each in two categories, so that none
    decides and all go through the network."""
    chunk = chunk_of(data.pictures(images))
    if resolve_device("auto").type == "cuda":
        network, classes, batch_images = networks.of_timm("resnet50"), networks.CLASSES, None
        words = "resnet50, plain"
    else:
        network, classes, batch_images = networks.stub(BATCH_SECONDS), networks.STUB_CLASSES, GPU_BATCH
        words = f"a stub that takes {BATCH_SECONDS} s for {GPU_BATCH}"
    alone = networks.engine(network, ["plain"], classes, batch_images)
    looking = networks.engine(network, ["plain"], classes, batch_images, _table(chunk, known, classes))
    try:
        return compare(
            "look-ups",
            lambda: _score(looking, chunk, looks=True),
            lambda: _score(alone, chunk, looks=False),
            lambda ours, theirs: bool(ours == theirs),
            must=1 / _ALLOWED,
            words=f"scoring a chunk of {images} images, {words}; ours its look-ups among {known} images",
            rounds=rounds,
        )
    finally:
        alone.close()
        looking.close()


def _table(chunk: ChunkInput, known: int, classes: int) -> DuplicateTable:
    """Products of one image each."""
    there = chunk.index.image_md5[::2]
    others = np.random.default_rng(1).integers(0, 2**64, (known - len(there), 2), dtype=np.uint64)
    keys = np.concatenate([there, there, others])
    class_index = np.arange(len(keys), dtype=np.int32) % classes
    class_index[: len(there)], class_index[len(there) : 2 * len(there)] = 0, 1
    return duplicates.build(class_index, np.arange(len(keys) + 1), keys, classes)


def _score(engine: Engine, chunk: ChunkInput, *, looks: bool) -> Timed:
    """The time of the look-ups alone, or of everything."""
    done = timed(lambda: list(engine.run(iter([chunk]))))
    (result,) = done.answer
    return Timed(result.seconds["look-up"], result.products) if looks else replace(done, answer=result.products)
