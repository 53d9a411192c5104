import base64
import io

import numpy as np
import pytest
from PIL import Image

from services.reports.pictures import NOT_A_PICTURE, Thumbnails, format_of, thumbnail
from tests.catalog_scene import Scene, encoded, huge_png, jpeg, pixels


def decoded(uri: str) -> Image.Image:
    kind, content = uri.split(",", 1)
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "GIF"])
def test_formats_are_told_by_content_and_shown(kind):
    content = encoded(pixels(1, (400, 200)), kind)
    assert format_of(content) == kind
    assert decoded(thumbnail(content)).size == (160, 80)


def test_small_pictures_are_not_enlarged():
    assert decoded(thumbnail(jpeg(1, (24, 16)))).size == (24, 16)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xd8\xff", b"words", encoded(pixels(1), "BMP"), jpeg(1, (400, 400))[:900], huge_png(60_000)]
)
def test_what_is_no_picture_has_a_neutral_one(content):
    assert thumbnail(content) == NOT_A_PICTURE


def test_transparency_lies_over_white_and_deep_grey_keeps_its_levels():
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert min(decoded(thumbnail(encoded(clear, "PNG"))).convert("L").getextrema()) > 250
    grey = Image.fromarray(np.full((8, 8), 128 << 8, dtype=np.uint16))
    low, high = decoded(thumbnail(encoded(grey, "PNG"))).convert("L").getextrema()
    assert 126 <= low <= high <= 130


@pytest.fixture
def scene(tmp_path) -> Scene:
    return Scene(tmp_path, pack_bytes=3000)


def test_thumbnails_of_products_by_one_read_each(scene):
    manifest = scene.ingest({n: (10, [jpeg(n), jpeg(n + 100)]) for n in range(1, 13)})
    assert len(manifest.packs) > 2
    scene.objects.read_keys.clear()
    found = Thumbnails(scene.objects, manifest).of([12, 1, 999, 5, 5])
    assert {product: len(shown) for product, shown in found.items()} == {12: 1, 1: 1, 5: 1}
    assert found == {n: [thumbnail(jpeg(n))] for n in (12, 1, 5)}
    reads = scene.objects.read_keys
    assert sum(key.endswith(".bson") for key in reads) == 3
    assert sum(key.endswith(".parquet") for key in reads) == len(manifest.packs)


def test_several_images_of_a_product_in_their_order(scene):
    manifest = scene.ingest({1: (10, [jpeg(1), b"\xff\xd8 no picture", jpeg(3)]), 2: (10, [jpeg(4)])})
    found = Thumbnails(scene.objects, manifest, edge=8).of([1, 2], limit_each=2)
    assert found == {1: [thumbnail(jpeg(1), 8), NOT_A_PICTURE], 2: [thumbnail(jpeg(4), 8)]}
