"""Dumps of any number of small products: valid JPEGs of a few hundred bytes, each with bytes of its own, streamed."""

import random
import struct
from pathlib import Path

from benchmarks import data

_EDGE = 16  # pixels
_DISTINCT = 64  # pictures; a comment in each tells them apart
_STEP, _IDS = 2_654_435_761, 2**31  # odd: every id comes once, in an order that no index likes
_REPEATED = 10  # every so many-th product shows the pictures of the one before


def write(path: Path, products: int, seed: int = 1) -> int:
    """Write the dump; how many images it has."""
    generator = random.Random(seed)
    some = data.pictures(_DISTINCT, seed, _EDGE)
    categories = data.category_ids()
    images, last = 0, [b""]
    with path.open("wb", buffering=2**20) as file:
        for number in range(products):
            if number % _REPEATED:
                last = [
                    _marked(some[(number + image) % _DISTINCT], 8 * number + image)
                    for image in range(data.images_of_product(generator))
                ]
            elif not number:
                last = [some[0]]
            images += len(last)
            file.write(_document(number * _STEP % _IDS, generator.choice(categories), last))
    return images


def _marked(picture: bytes, mark: int) -> bytes:
    """With a comment behind the start of the image."""
    return picture[:2] + struct.pack(">HHQ", 0xFFFE, 10, mark) + picture[2:]


def _document(product: int, category: int, pictures: list[bytes]) -> bytes:
    """As BSON has it: {_id: int32, imgs: [{picture: binary}, ...], category_id: int32}."""
    items = b"".join(
        b"\x03%d\x00" % place + _framed(b"\x05picture\x00" + struct.pack("<iB", len(picture), 0) + picture)
        for place, picture in enumerate(pictures)
    )
    ends = struct.pack("<i", product), struct.pack("<i", category)
    return _framed(b"\x10_id\x00" + ends[0] + b"\x04imgs\x00" + _framed(items) + b"\x10category_id\x00" + ends[1])


def _framed(elements: bytes) -> bytes:
    return struct.pack("<i", len(elements) + 5) + elements + b"\x00"
