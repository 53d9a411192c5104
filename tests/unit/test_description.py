import json
from pathlib import Path

import pytest
from PIL import Image

from services.reports.description import Description, DescriptionProgress, Findings, describe
from services.reports.description_page import render
from shared.domain.errors import BadInputError, NotFoundError
from tests.catalog_scene import PageCheck, Scene, document, encoded, jpeg, pixels

A, B, E = jpeg(1), jpeg(2), encoded(pixels(5).convert("L"))
C = encoded(pixels(3).convert("CMYK"))
D = encoded(pixels(4, (30, 20)), progressive=True)
CUT, JUNK = jpeg(6, (200, 100))[:2000], b"this is no picture"
CATALOG = {
    1: (10, [A, B]),
    2: (10, [A]),
    3: (20, [B, A]),  # as product 1, elsewhere
    4: (20, [C, C]),
    5: (30, [D]),
    6: (None, [E]),
    7: (10, [encoded(Image.new("RGB", (40, 40), "white"))]),
    8: (30, [CUT]),
    9: (30, [JUNK]),
    10: (30, [encoded(pixels(7), "PNG"), encoded(pixels(8), "WebP"), encoded(pixels(9), "GIF")]),
}


def described(scene: Scene, dataset: str = "d", **options: object) -> Findings:
    return describe(scene.objects, dataset, refuse_pixels=10**8, threads=2, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Scene:
    scene = Scene(tmp_path_factory.mktemp("described"))
    scene.ingest(CATALOG)
    return scene


@pytest.fixture(scope="module")
def found(scene) -> Findings:
    return described(scene)


@pytest.fixture
def d(found) -> Description:
    return found.description


def test_products_and_images_are_counted(d):
    assert (d.products, d.images, d.labelled, d.labelled_share) == (10, 15, 9, 0.9)
    assert d.images_per_product == ((1, 6), (2, 3), (3, 1))
    assert d.image_bytes == sum(len(image) for _, images in CATALOG.values() for image in images)
    assert (d.repeated_products, d.bad_documents, d.unrecognised_images) == (0, 0, 2), "GIF and junk"
    assert d.packs > 1


def test_categories_are_counted_by_path(d):
    c = d.categories
    assert c.counts == ((10, 3), (20, 2), (30, 4), (40, 0))
    assert (c.categories, c.without_products, c.least, c.median, c.most) == (4, 1, 2, 3.0, 4)
    assert c.gini == pytest.approx(8 / 54), "mean absolute difference of 2, 3, 4 over twice their mean"
    assert c.largest_tenth == pytest.approx(4 / 9)
    assert [(level.names, level.paths, level.with_products) for level in c.levels] == [(3, 3, 2), (2, 3, 2), (3, 4, 3)]
    assert [(one.category_id, one.products) for one in c.top] == [(30, 4), (10, 3), (20, 2)]
    assert [one.category_id for one in c.bottom] == [20, 10, 30]
    assert [one.category_id for one in c.empty] == [40]
    assert [(one.path, one.products) for one in c.levels[0].largest] == [(("Food",), 5), (("Home",), 4)]


def test_equal_images_are_counted(d):
    r = d.repeats
    assert (r.distinct_images, r.repeated_images, r.most_occurrences) == (11, 3, 3), "A thrice, B and C twice"
    assert (r.conflicting_images, r.products_with_conflicting_image) == (2, 3), "A and B, in products 1 to 3"
    assert r.products_with_image_twice == 1
    assert (r.distinct_keys, r.products_sharing_key) == (9, 2)
    assert (r.conflicting_keys, r.products_with_conflicting_key) == (1, 2)
    assert r.placeholders == 0


def test_pictures_are_counted_by_occurrence(d):
    p = d.pictures
    assert (p.looked_at, p.complete) == (11, True)
    assert {name: share.images for name, share in p.formats.items()} == {
        "JPEG": 11,
        "PNG": 1,
        "WebP": 1,
        "GIF": 1,
        "other": 1,
    }
    assert {name: share.images for name, share in p.jpeg.items()} == {"progressive": 1, "greyscale": 1, "CMYK": 2}
    assert (p.undecodable.images, p.damaged.images, p.blank.images) == (2, 1, 1)
    assert (p.undecodable_products, p.damaged_products, p.blank_products) == ((9, 10), (8,), (7,))
    assert (p.sizes[0].width, p.sizes[0].height, p.sizes[0].share.images) == (24, 16, 11)
    assert p.distinct_sizes == 4
    assert p.undecodable.low is None


def test_a_sample_says_so(scene):
    p = described(scene, limit=8).description.pictures
    assert (p.looked_at, p.distinct_images, p.complete) == (8, 11, False)
    share = p.formats["JPEG"]
    assert share.low <= share.share <= share.high
    assert share.n == 8


def test_a_description_is_one_json_document(d):
    plain = json.loads(json.dumps(d.plain(), allow_nan=False))
    assert plain["schema"] == 1
    assert plain["repeats"]["conflicting_images"] == 2


def test_progress_names_every_stage(scene):
    said: list[DescriptionProgress] = []
    described(scene, report=said.append)
    assert list(dict.fromkeys(one.stage for one in said)) == ["reads the indexes", "compares images", "looks at images"]
    assert said[-1].done == said[-1].total == 11


@pytest.mark.parametrize(("categories", "expected"), [((10, 20, 30), 1), ((10, 20), 0), ((None,), 1)])
def test_a_placeholder_stands_in_many_products_of_several_categories(tmp_path, categories, expected):
    scene = Scene(tmp_path)
    scene.ingest({n: (categories[n % len(categories)], [jpeg(0), jpeg(n)]) for n in range(1, 11)})
    r = described(scene).description.repeats
    assert (r.placeholders, r.products_with_placeholder, r.images_of_placeholders) == (expected, *[10 * expected] * 2)
    assert r.placeholder_categories_from == (3 if categories[0] else 0)


def test_against_a_training_dataset(tmp_path):
    scene = Scene(tmp_path)
    scene.ingest({1: (10, [A, B]), 2: (20, [C]), 3: (30, [D]), 4: (20, [D]), 5: (None, [E])}, "train")
    here = {
        1: (10, [B, A]),  # decided by its set of images; the id is there too
        20: (20, [A]),  # by its image, wrongly
        30: (30, [D]),  # D stands in two categories there
        40: (10, [C, jpeg(50)]),  # half of it is known
        50: (None, [C]),  # by its set of images
        60: (10, [E]),  # E has no category there
        70: (40, [A, jpeg(50)]),
    }
    scene.ingest(here, "test")
    a = described(scene, "test", against="train").description.against
    assert a is not None
    assert (a.train, a.train_products, a.same_id) == ("train", 4, 1)
    assert (a.sharing_image, a.sharing_image_share) == (6, pytest.approx(6 / 7))
    assert (a.decided_by_product, a.decided_by_images, a.decided_share) == (2, 1, pytest.approx(3 / 7))
    assert (a.decided_right, a.decided_judged) == (1, 2)
    assert (a.only_in_train, a.only_here) == (0, 1)
    assert [one.category_id for one in a.only_here_listed] == [40]
    back = described(scene, "train", against="test").description.against
    assert back is not None
    assert [one.category_id for one in back.only_in_train_listed] == [40]


def test_what_cannot_be_held_against(scene, tmp_path):
    with pytest.raises(BadInputError, match="--against d: it is the described dataset; name the dataset that was tr"):
        described(scene, against="d")
    other = Scene(tmp_path)
    other.ingest({1: (10, [A])}, "one")
    other.ingest({1: (10, [A])}, "same")
    other.ingest({1: (None, [B])}, "unlabelled", table=False)
    with pytest.raises(BadInputError, match="it has the same products"):
        described(other, "one", against="same")
    with pytest.raises(BadInputError, match="no product has a category"):
        described(other, "one", against="unlabelled")
    with pytest.raises(NotFoundError, match="there is no dataset 'nowhere'"):
        described(other, "nowhere")


def test_the_page_shows_figures_and_pictures(scene, found):
    page = render(scene.objects, found)
    check = PageCheck(page)
    assert check.pictures >= 10
    for words in (
        "Likely wrong labels",
        'Food / Fruit / <b>&"Pear',
        "Scoring does not read GIF, other",
        "Rare categories",
    ):
        assert words in check.text
    assert "2 products with equal images 1 Food / Fruit / Apple 3 Food / Fruit / <b>" in check.text
    assert "Products with an undecodable image (the first 2): 9, 10" in check.text
    assert check.tags.count("svg") >= 5
    assert str(Path(found.description.source)) in check.text
    assert render(scene.objects, found) == page


def test_what_was_left_out_at_ingest_is_told(tmp_path):
    scene = Scene(tmp_path)
    scene.ingest({1: (10, [A]), 2: (20, [B])}, further=document(2, (20, [B])) + document(3, (10, [])), allow_bad=1)
    found = described(scene)
    assert (found.description.products, found.description.repeated_products, found.description.bad_documents) == (
        2,
        1,
        1,
    )
    text = PageCheck(render(scene.objects, found)).text
    assert "Repeated products left out 1 Bad documents left out 1" in text
    assert found.description.bad[0].reason in text


def test_a_page_without_categories(tmp_path):
    scene = Scene(tmp_path)
    scene.ingest({n: (None, [jpeg(0), jpeg(n)]) for n in range(1, 12)}, "unlabelled", table=False)
    text = PageCheck(render(scene.objects, described(scene, "unlabelled"))).text
    assert "Some products" in text
    assert "One MD5 in 10 products or more" in text
    assert "Frequent categories" not in text
