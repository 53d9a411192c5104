from collections.abc import Callable
from typing import Any

import pytest

from services.ingest import relabel
from services.reports import contents, distribution, overlap
from shared import layout
from shared.domain.errors import BadInputError
from shared.domain.label_sets import set_id
from shared.packs import NO_CATEGORY, read_indexes, read_label_sets

Products = Callable[..., list[dict[str, Any]]]
SETS: list[Any] = [[30, 10, 10], [10, 30], [20], [], None]


@pytest.fixture
def documents(products: Products) -> list[dict[str, Any]]:
    """Sixty products in several packs, every fifth without a label."""
    some = products(60)
    for place, document in enumerate(some):
        del document["category_id"]
        if (labels := SETS[place % len(SETS)]) is not None:
            document["category_ids"] = labels
    return some


def test_a_set_stands_where_a_category_would(shop: Any, shops: Any, documents: list[dict[str, Any]]) -> None:
    manifest = shop.ingest(shop.dump(documents), processes=2)
    assert (manifest.products, manifest.labelled, manifest.label_sets) == (60, 48, 3)
    assert read_label_sets(shop.objects, manifest) == {set_id(one): one for one in [(10, 30), (20,), ()]}
    found = {
        product: number
        for _, index in read_indexes(shop.objects, manifest)
        for product, number in zip(index.product_id.tolist(), index.category_id.tolist(), strict=True)
    }
    for document in documents:
        labels = document.get("category_ids")
        expected = NO_CATEGORY if labels is None else set_id(tuple(sorted(set(labels))))
        assert found[document["_id"]] == expected
        stored = shop.catalog.product("d", document["_id"]).category_id
        assert stored == (None if labels is None else expected)
    other = shops("other")
    assert other.ingest(other.dump(documents), processes=1).fingerprint == manifest.fingerprint
    assert other.contents() == shop.contents()


def test_one_category_per_product_leaves_no_trace_of_sets(shop: Any, products: Products) -> None:
    manifest = shop.ingest(shop.dump(products(5)))
    assert manifest.label_sets == 0
    assert not shop.objects.exists(layout.label_sets("d"))


def test_a_label_that_is_not_in_the_table_is_named(shop: Any, documents: list[dict[str, Any]]) -> None:
    documents[7]["category_ids"] = [10, 77, 99]
    with pytest.raises(BadInputError, match="category_ids 77, 99 is not in the category file"):
        shop.ingest(shop.dump(documents))
    with pytest.raises(BadInputError, match="it has category_ids 10, 30, and no category file was given"):
        shop.ingest(shop.dump(documents), "e", labelled=False)


def test_a_dump_has_either_one_category_per_product_or_sets(shop: Any, documents: list[dict[str, Any]]) -> None:
    del documents[8]["category_ids"]
    documents[8]["category_id"] = 10
    with pytest.raises(BadInputError, match=f"product {documents[8]['_id']} has category_id, and others have"):
        shop.ingest(shop.dump(documents))


def test_a_description_counts_every_label(shop: Any, documents: list[dict[str, Any]]) -> None:
    manifest = shop.ingest(shop.dump(documents))
    found = contents.read(shop.objects, manifest, lambda *_: None)
    described = distribution.describe_categories(found)
    assert described is not None
    assert described.counts == ((10, 24), (20, 12), (30, 24), (40, 0))
    assert described.levels[0].largest[0].products == 36  # of Food: apples and pears
    part = shop.ingest(shop.dump(documents[10:20], "part.bson"), "part")
    against = overlap.describe_overlap(
        shop.objects, contents.read(shop.objects, part, lambda *_: None), manifest, lambda *_: None
    )
    assert (against.train_products, against.decided_by_product) == (48, 8)
    assert (against.decided_right, against.decided_judged, against.only_in_train) == (8, 8, 0)


def test_a_relabel_is_what_an_ingest_gives(shop: Any, documents: list[dict[str, Any]]) -> None:
    shop.ingest(shop.dump(documents))
    table = shop.home / "labels.csv"
    lines = [(0, "20 10"), (1, ""), (2, "20"), (4, "40")]
    text = "".join(f"{documents[place]['_id']},{labels}\n" for place, labels in lines)
    table.write_text("_id,category_ids\n" + text)
    found = relabel.run(shop.stores, "d", table, "new")
    assert found.changes == relabel.Changes(changed=1, added=1, removed=1, equal=1)
    documents[0]["category_ids"], documents[4]["category_ids"] = [10, 20], [40]
    del documents[1]["category_ids"]
    expected = shop.ingest(shop.dump(documents, "corrected.bson"), "expected")
    assert found.manifest.fingerprint == expected.fingerprint
    sets = read_label_sets(shop.objects, expected)
    assert read_label_sets(shop.objects, found.manifest) == sets
    assert (10, 20) in sets.values()
    table.write_text(f"_id,category_ids\n{documents[0]['_id']},10 77\n")
    with pytest.raises(BadInputError, match="line 2: a category of its line is not in the table"):
        relabel.run(shop.stores, "d", table, "newer")
