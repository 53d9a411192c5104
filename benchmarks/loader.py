"""What an engine takes its pictures from, beside a device that costs no core, against decoding alone."""

import time
from itertools import repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks import data
from benchmarks.engine import GPU_BATCH, chunk_of
from benchmarks.networks import taxonomy_of
from benchmarks.rounds import ROUNDS, Comparison, Timed, compare, timed
from benchmarks.stub_network import CLASSES
from workers.scoring.chunks import ChunkInput, Policies, plan
from workers.scoring.decoders import Decoders
from workers.scoring.groups import Decoded
from workers.vision.decode import DecodeLimits, decode
from workers.vision.devices import cores

_LIMITS = DecodeLimits(smallest=data.EDGE)
_MIDDLE = data.EDGE // 2

Colours = npt.NDArray[np.uint8]
"""Of the middle of each picture: uint8[n, 3]."""


def measure(_: Path, *, images: int = 4000, chunks: int = 4, rounds: int = ROUNDS) -> Comparison:
    """Several chunks, as a job has: the end of one is the beginning of the next."""
    pictures = data.pictures(images)
    chunk = chunk_of(pictures)
    decoders = Decoders(cores(), _LIMITS, time.perf_counter, helps=False, sizes=())

    room = np.empty((data.EDGE, data.EDGE, 3), np.uint8)

    def alone() -> Timed:
        done = timed(lambda: np.array([decode(one, _LIMITS, room)[_MIDDLE, _MIDDLE].copy() for one in pictures]))
        return Timed(done.seconds / cores(), done.answer, done.cpu)

    try:
        return compare(
            "loader",
            lambda: _loaded(decoders, chunk, chunks),
            alone,
            lambda ours, theirs: bool(np.array_equal(ours, theirs)),
            must=0.8,
            aim=0.9,
            words=f"threads x decoding in one, {images} images of 180 px per chunk, batches of {GPU_BATCH}",
            rounds=rounds,
        )
    finally:
        decoders.close()


def _loaded(decoders: Decoders, chunk: ChunkInput, chunks: int) -> Timed:
    """What one of the chunks takes; the colours of the last."""
    policies = Policies("unique", "unique", skip_decided=True, own_source=False)
    classes = taxonomy_of(CLASSES)
    plans = (plan(one, None, policies, classes, time.perf_counter) for one in repeat(chunk, chunks))

    def load() -> Colours:
        with decoders.ahead(plans, GPU_BATCH) as ahead:
            for _, groups in ahead:
                colours = np.concatenate([_colours(group) for group in groups])
        return colours

    return timed(load).per(chunks)


def _colours(group: Decoded) -> Colours:
    """In the order of the chunk, where all pictures are of one size and none is damaged."""
    ((_, pictures),) = group.blocks
    return pictures[:, _MIDDLE, _MIDDLE].numpy().copy()
