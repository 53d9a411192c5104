"""Pictures and dumps to measure with, made from the sample photographs, in sizes and proportions like those of the
catalog that the published systems were made for (Cdiscount 2017).

Everything is made from a seed, so that two machines measure with the same bytes.
"""

import io
import random
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import bson
from PIL import Image

SAMPLE = Path(__file__).parent.parent / "examples" / "grocery"
EDGE = 180  # pixels
_QUALITY = 42  # gives 4.7 KB on average
_IMAGES_OF_PRODUCTS = {1: 4_369_441, 2: 1_128_588, 3: 542_792, 4: 1_029_075}  # of its training part


def pictures(count: int, seed: int = 1, edge: int = EDGE) -> list[bytes]:
    """`count` different square JPEGs, by default of 4.7 KB on average: random details of the sample photographs."""
    generator = random.Random(seed)
    originals = list(_originals())
    return [_detail(generator.choice(originals), edge, generator) for _ in range(count)]


def write_dump(path: Path, size: int, seed: int = 1, distinct: int = 1000) -> None:
    """A dump of about `size` bytes: products with 1 to 4 images, int32 ids and categories.

    Pictures repeat after `distinct`: what is measured with dumps does not depend on that.
    """
    written = 0
    with path.open("wb") as file:
        for product in _products(seed, distinct, 4):
            if written >= size:
                return
            written += file.write(product)


def write_singles(path: Path, images: int, seed: int = 1, distinct: int = 1000, edge: int = EDGE) -> None:
    """As `write_dump`, `images` products with one image each, of `edge` pixels a side."""
    with path.open("wb") as file:
        for product in islice(_products(seed, distinct, 1, edge), images):
            file.write(product)


def _products(seed: int, distinct: int, most_images: int, edge: int = EDGE) -> Iterator[bytes]:
    """Documents without end."""
    generator = random.Random(seed)
    some = pictures(distinct, seed, edge)
    categories = category_ids()
    for product in count():
        images = generator.choices(some, k=min(images_of_product(generator), most_images))
        document = {
            "_id": product,
            "imgs": [{"picture": image} for image in images],
            "category_id": generator.choice(categories),
        }
        yield bson.encode(document)


def images_of_product(generator: random.Random) -> int:
    """1 to 4, in the proportions of the catalog."""
    return generator.choices(list(_IMAGES_OF_PRODUCTS), list(_IMAGES_OF_PRODUCTS.values()))[0]


def category_ids() -> list[int]:
    """The ids of the sample's category file."""
    lines = (SAMPLE / "category_names.csv").read_text().splitlines()[1:]
    return [int(line.partition(",")[0]) for line in lines]


def _originals() -> Iterator[Image.Image]:
    with (SAMPLE / "test.bson").open("rb") as file:
        for document in bson.decode_file_iter(file):
            for image in document["imgs"]:
                yield Image.open(io.BytesIO(image["picture"])).convert("RGB")


def _detail(original: Image.Image, edge: int, generator: random.Random) -> bytes:
    side = generator.uniform(0.6, 1.0) * min(original.size)
    left, top = generator.uniform(0, original.width - side), generator.uniform(0, original.height - side)
    box = (left, top, left + side, top + side)
    file = io.BytesIO()
    original.resize((edge, edge), Image.Resampling.BILINEAR, box).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
