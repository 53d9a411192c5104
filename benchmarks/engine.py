"""The scoring engine against the bare forward of its networks, and against decoding alone."""

import hashlib
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from benchmarks import data, networks
from benchmarks.rounds import ROUNDS, Comparison, Timed, compare, timed
from shared.domain import views
from shared.domain.ensemble import Input
from shared.packs import NO_CATEGORY, PackIndex
from workers.scoring.engine import ChunkInput, Engine
from workers.vision.decode import DecodeLimits, decode
from workers.vision.devices import DTYPES, cores, resolve_device
from workers.vision.preprocessing import normalise, resize, view

_VIEWS = ("plain", "hflip")
GPU_BATCH = 512  # as an engine chooses for a GPU, for which the stub stands
_NEAR = 1e-4  # probabilities that count as equal

Answers = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]
"""Per product: the class and its probability."""


def measure_network(
    _: Path, *, model: str = "resnet50", images: int = 0, batch_images: int | None = None, rounds: int = ROUNDS
) -> Comparison:
    """`images` 0: about three seconds of work for the device."""
    images = images or (64 if resolve_device("auto").type == "cpu" else 8192)
    network = networks.of_timm(model)
    engine = networks.engine(network, _VIEWS, networks.CLASSES, batch_images)
    chunk = chunk_of(data.pictures(images))
    try:
        prepared = _prepared(chunk, network.input, engine)
        return compare(
            "engine",
            lambda: _run(engine, chunk),
            lambda: _forward(network.module, prepared, engine, chunk),
            _same,
            must=0.97,
            aim=0.99,
            words=f"bare forward of {model}, plain and mirrored, {images} images of 180 x 180 px, {engine.device.type}",
            rounds=rounds,
        )
    finally:
        engine.close()


def measure_decoding(_: Path, *, images: int = 4000, chunks: int = 4, rounds: int = ROUNDS) -> Comparison:
    """Several chunks, as a job has: the end of one is the beginning of the next."""
    engine = networks.engine(networks.stub(), ["plain"], networks.STUB_CLASSES, GPU_BATCH)
    pictures = data.pictures(images)
    chunk = chunk_of(pictures)
    limits = DecodeLimits(smallest=data.EDGE)
    room = np.empty((data.EDGE, data.EDGE, 3), np.uint8)

    def decoded() -> Timed:
        done = timed(lambda: [decode(picture, limits, room).shape for picture in pictures])
        return Timed(done.seconds / cores(), images, done.cpu)

    def run() -> Timed:
        done = timed(lambda: list(engine.run(iter([chunk] * chunks))))
        failed = sum(bool(product.error) for result in done.answer for product in result.products)
        return replace(done.per(chunks), answer=sum(result.scored_images for result in done.answer) / chunks - failed)

    try:
        return compare(
            "engine, stub",
            run,
            decoded,
            lambda ours, theirs: bool(ours == theirs),
            must=0.7,
            words=f"threads x decoding in one, {images} images of 180 px per chunk, no network, batches of {GPU_BATCH}",
            rounds=rounds,
        )
    finally:
        engine.close()


def chunk_of(pictures: list[bytes]) -> ChunkInput:
    """Products with 1 to 4 of the pictures each."""
    generator = random.Random(1)
    first = [0]
    while first[-1] < len(pictures):
        first.append(min(first[-1] + data.images_of_product(generator), len(pictures)))
    products = len(first) - 1
    lengths = np.array([len(picture) for picture in pictures], dtype=np.int64)
    digests = b"".join(hashlib.md5(picture).digest() for picture in pictures)
    index = PackIndex(
        product_id=np.arange(products, dtype=np.int64),
        offset=np.zeros(products, np.int64),
        length=np.zeros(products, np.int64),
        category_id=np.full(products, NO_CATEGORY),
        first_image=np.array(first, dtype=np.int64),
        image_offset=np.cumsum(lengths) - lengths,
        image_length=lengths,
        image_md5=np.frombuffer(digests, dtype=">u8").reshape(-1, 2).astype(np.uint64),
    )
    return ChunkInput("chunk", index, b"".join(pictures), 0)


def _prepared(chunk: ChunkInput, given: Input, engine: Engine) -> list[list[Tensor]]:
    """What the network takes, on the device: each batch in each view, the last batch filled up with zeros."""
    limits = DecodeLimits(smallest=given.size)
    pixels = [torch.from_numpy(decode(picture, limits)) for picture in chunk.pictures(range(chunk.index.images))]
    batches = []
    for start in range(0, len(pixels), engine.batch_images):
        some = pixels[start : start + engine.batch_images]
        batch = torch.zeros((engine.batch_images, 3, given.size, given.size), device=engine.device)
        batch[: len(some)] = resize(some, given, engine.device)
        batches.append([normalise(view(batch, views.parse(name), given), given.mean, given.std) for name in _VIEWS])
    return batches


def _run(engine: Engine, chunk: ChunkInput) -> Timed:
    done = timed(lambda: list(engine.run(iter([chunk]))))
    (result,) = done.answer
    best = [product.predictions["all"] for product in result.products]
    return replace(done, answer=(np.array([b.class_index for b in best]), np.array([b.probability for b in best])))


@torch.inference_mode()
def _forward(module: nn.Module, batches: list[list[Tensor]], engine: Engine, chunk: ChunkInput) -> Timed:
    def forward() -> list[list[Tensor]]:
        with torch.autocast(engine.device.type, dtype=DTYPES[engine.precision], enabled=engine.precision != "float32"):
            found = [[module(batch) for batch in of_views] for of_views in batches]
        if engine.device.type == "cuda":
            torch.cuda.synchronize()
        return found

    done = timed(forward)
    of_images = torch.cat([torch.stack(of_views).double().softmax(2).mean(0) for of_views in done.answer])
    first = chunk.index.first_image
    sums = np.add.reduceat(of_images[: first[-1]].cpu().numpy(), first[:-1], axis=0)
    means = sums / np.diff(first)[:, None]
    return replace(done, answer=(means.argmax(1), means.max(1)))


def _same(ours: Answers, theirs: Answers) -> bool:
    return np.array_equal(ours[0], theirs[0]) and np.allclose(ours[1], theirs[1], rtol=0, atol=_NEAR)
