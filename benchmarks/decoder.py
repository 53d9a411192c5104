"""Our decoder against Pillow, both to RGB arrays, with one thread per core as training and scoring decode."""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import data
from benchmarks.rounds import ROUNDS, Comparison, Timed, compare, timed
from workers.vision.decode import DecodeLimits, Pixels, decode
from workers.vision.devices import cores

_SLICE = 20  # pictures handed to a thread at a time
_TOLERANCE = (
    0.5  # mean absolute difference of a picture, in grey levels: another release of libjpeg may round otherwise
)


def measure(_: Path, *, pictures: int = 2000, rounds: int = ROUNDS) -> Comparison:
    contents = data.pictures(pictures)
    limits = DecodeLimits()
    with ThreadPoolExecutor(cores()) as pool:
        return compare(
            "decoder",
            lambda: _decode(pool, contents, lambda content: decode(content, limits)),
            lambda: _decode(pool, contents, _pillow),
            _same,
            must=2.0,
            words=f"Pillow to an RGB array, {pictures} JPEGs of 180 x 180 px, one thread per core",
            rounds=rounds,
        )


def _pillow(content: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def _decode(pool: ThreadPoolExecutor, contents: list[bytes], decoder: Callable[[bytes], Pixels]) -> Timed:
    def some(start: int) -> None:
        for content in contents[start : start + _SLICE]:
            decoder(content)

    def every() -> None:
        for _ in pool.map(some, range(0, len(contents), _SLICE)):
            pass

    done = timed(every)
    return replace(done, answer=[decoder(content) for content in contents[::10]])


def _same(ours: list[Pixels], theirs: list[Pixels]) -> bool:
    return all(
        a.shape == b.shape and np.abs(a.astype(np.int16) - b).mean() <= _TOLERANCE
        for a, b in zip(ours, theirs, strict=True)
    )
