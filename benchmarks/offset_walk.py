"""The walk of ingest over a dump, without its MD5s, against PyMongo's decoder: ids, categories, places of pictures.

Both read the dump from memory: what the kernel takes to copy a file is the same for both, and more than the walk takes.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import bson

from benchmarks import data
from benchmarks.rounds import ROUNDS, Comparison, Timed, compare, timed
from services.ingest.bson_blocks import Products, follow, walk_all
from shared.settings import IngestSettings


@dataclass
class _Products:
    ids: list[int] = field(default_factory=list)
    categories: list[int] = field(default_factory=list)
    images: list[int] = field(default_factory=list)  # per product
    lengths: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)  # in the dump; a decoder knows none


def measure(folder: Path, *, size: int = 128 * 2**20, rounds: int = ROUNDS) -> Comparison:
    path = folder / "walk.bson"
    data.write_dump(path, size)
    dump = path.read_bytes()
    path.unlink()
    return compare(
        "offset walk",
        lambda: _walk(dump),
        lambda: timed(lambda: _decode(dump)),
        lambda ours, theirs: _same(ours, theirs, dump),
        must=4.0,
        aim=10.0,
        words=f"bson.decode_file_iter over the same bytes in memory, {len(dump) / 1e6:.0f} MB of products",
        rounds=rounds,
    )


def _walk(dump: bytes) -> Timed:
    done = timed(lambda: list(_blocks(dump)))
    found = _Products()
    for base, products in done.answer:
        found.ids += products.product_id.tolist()
        found.categories += products.category_id.tolist()
        found.images += products.images.tolist()
        found.lengths += products.image_length.tolist()
        found.offsets += (products.image_offset + base).tolist()
    return replace(done, answer=found)


def _blocks(dump: bytes) -> Iterator[tuple[int, Products]]:
    """Products in a row, and where in the dump their offsets count from."""
    size = IngestSettings().block_bytes
    base = 0
    while base < len(dump):
        data = memoryview(dump)[base : base + size]  # as a window shows it
        places = follow(data, 0, len(data))
        while len(places) > 1:
            products, fault = walk_all(data, places)
            assert fault is None
            yield base, products
            places = follow(data, int(places[-1]), len(data))
        base += int(places[-1])


def _decode(dump: bytes) -> _Products:
    found = _Products()
    for document in bson.decode_file_iter(io.BytesIO(dump)):
        found.ids.append(document["_id"])
        found.categories.append(document["category_id"])
        found.images.append(len(document["imgs"]))
        found.lengths += [len(image["picture"]) for image in document["imgs"]]
    return found


def _same(ours: _Products, theirs: _Products, dump: bytes) -> bool:
    """Also whether the pictures lie where our side says."""
    if (ours.ids, ours.categories, ours.images, ours.lengths) != (
        theirs.ids, theirs.categories, theirs.images, theirs.lengths,
    ):  # fmt: skip
        return False
    places = zip(ours.offsets, ours.lengths, strict=True)
    for document in bson.decode_file_iter(io.BytesIO(dump)):
        for image in document["imgs"]:
            offset, length = next(places)
            if dump[offset : offset + length] != image["picture"]:
                return False
    return True
