"""The walk of ingest over a dump, without its MD5s, against PyMongo's decoder: ids, categories, places of pictures.

Both get the dump in blocks as ingest reads them, each copied just before, so that both find it where the read of a file
leaves it: in the processor's caches. What the kernel takes to copy a file is the same for both and left out.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import bson

from benchmarks import data
from benchmarks.rounds import ROUNDS, Comparison, Timed, compare, timed
from services.ingest.bson_blocks import Products, follow, walk_all
from services.ingest.bson_elements import INT32
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
        lambda: _decode(dump),
        lambda ours, theirs: _same(ours, theirs, dump),
        must=4.0,
        aim=10.0,
        words=f"bson.decode_file_iter over the same bytes in memory, {len(dump) / 1e6:.0f} MB of products",
        rounds=rounds,
    )


def _blocks(dump: bytes) -> Iterator[bytes]:
    """Whole documents, as many as a block has room for, copied when asked for."""
    size = IngestSettings().block_bytes
    begin = end = 0
    while end < len(dump):
        after = end + INT32.unpack_from(dump, end)[0]
        if after - begin > size:
            yield dump[begin:end]
            begin = end
        end = after
    yield dump[begin:]


def _over(dump: bytes, work: Callable[[bytes], object]) -> Timed:
    """What the work takes for all blocks together; its answer for each."""
    done = [timed(lambda block=block: work(block)) for block in _blocks(dump)]
    return Timed(sum(one.seconds for one in done), [one.answer for one in done], sum(one.cpu for one in done))


def _walk(dump: bytes) -> Timed:
    done = _over(dump, lambda block: (len(block), list(_walked(memoryview(block)))))
    found = _Products()
    base = 0
    for length, several in done.answer:
        for products in several:
            found.ids += products.product_id.tolist()
            found.categories += products.category_id.tolist()
            found.images += products.images.tolist()
            found.lengths += products.image_length.tolist()
            found.offsets += (products.image_offset + base).tolist()
        base += length
    return replace(done, answer=found)


def _walked(block: memoryview) -> Iterator[Products]:
    """Products in a row; their offsets count from the block's begin."""
    places = follow(block, 0, len(block))
    while len(places) > 1:
        products, fault = walk_all(block, places)
        assert fault is None
        yield products
        places = follow(block, int(places[-1]), len(block))


def _decode(dump: bytes) -> Timed:
    found = _Products()

    def decode(block: bytes) -> None:
        for document in bson.decode_file_iter(io.BytesIO(block)):
            found.ids.append(document["_id"])
            found.categories.append(document["category_id"])
            found.images.append(len(document["imgs"]))
            found.lengths += [len(image["picture"]) for image in document["imgs"]]

    return replace(_over(dump, decode), answer=found)


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
