from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from services.ingest import relabel
from services.ingest.relabel import Changes
from shared import layout, removal
from shared.domain.errors import BadInputError, ConflictError, NotFoundError
from shared.packs import NO_CATEGORY, Manifest, read_indexes, read_manifest
from tests.mortal import dies

Products = Callable[..., list[dict[str, Any]]]
NOBODY: Any = SimpleNamespace(versions=list, runs=list, jobs=list)


@pytest.fixture
def documents(products: Products) -> list[dict[str, Any]]:
    """Thirty products in several packs, the last ten without a category."""
    some = products(30)
    for document in some[20:]:
        del document["category_id"]
    return some


def labels(shop: Any, rows: dict[Any, Any], name: str = "labels.csv") -> Path:
    path: Path = shop.home / name
    path.write_text("_id,category_id\n" + "".join(f"{product},{category}\n" for product, category in rows.items()))
    return path


def corrections(documents: list[dict[str, Any]]) -> dict[Any, Any]:
    """Two that change, two that are new, one that is removed and one that stays, not in the order of their ids."""
    other = {10: 20, 20: 30, 30: 40}
    changed = {one["_id"]: other[one["category_id"]] for one in documents[3:5]}
    added = {one["_id"]: 40 for one in documents[27:29]}
    return added | changed | {documents[7]["_id"]: "", documents[11]["_id"]: documents[11]["category_id"]}


def remove(shop: Any, name: str) -> None:
    removal.remove_dataset(shop.objects, shop.catalog, NOBODY, NOBODY, name)


def test_it_is_what_an_ingest_of_a_dump_with_these_labels_gives(shop: Any, documents: list[dict[str, Any]]) -> None:
    before = shop.ingest(shop.dump(documents))
    rows = corrections(documents)
    found = relabel.run(shop.stores, "d", labels(shop, rows), "new", now=lambda: 5.0)
    corrected = [
        {key: value for key, value in one.items() if key != "category_id"}
        | ({} if rows.get(one["_id"], one.get("category_id", "")) == "" else {"category_id": category_of(rows, one)})
        for one in documents
    ]
    expected = shop.ingest(shop.dump(corrected, "corrected.bson"), "expected")
    assert found.changes == Changes(changed=2, added=2, removed=1, equal=1)
    assert found.manifest == read_manifest(shop.objects, "new")
    assert found.manifest.fingerprint == expected.fingerprint != before.fingerprint
    assert (found.manifest.labelled, found.manifest.taxonomy) == (expected.labelled, expected.taxonomy)
    assert found.manifest.source == "dataset d, relabelled by labels.csv"
    assert shop.catalog.dataset("new").created == 5.0
    assert categories(shop, found.manifest) == categories(shop, expected)
    assert rows_of(shop, "new") == rows_of(shop, "expected")


def category_of(rows: dict[Any, Any], document: dict[str, Any]) -> int:
    return int(rows.get(document["_id"], document.get("category_id")))


def categories(shop: Any, manifest: Manifest) -> list[tuple[int, int]]:
    indexes = [index for _, index in read_indexes(shop.objects, manifest)]
    pairs = [zip(index.product_id.tolist(), index.category_id.tolist(), strict=True) for index in indexes]
    return [pair for some in pairs for pair in some]


def rows_of(shop: Any, dataset: str) -> list[tuple[int, int | None, int]]:
    return [(row.id, row.category_id, row.images) for row in shop.catalog.products(dataset)]


def test_no_picture_is_written_and_all_are_found_where_they_lie(shop: Any, documents: list[dict[str, Any]]) -> None:
    before = shop.ingest(shop.dump(documents))
    assert len(before.packs) > 3
    first = relabel.run(shop.stores, "d", labels(shop, corrections(documents)), "first").manifest
    second = relabel.run(shop.stores, "first", labels(shop, {documents[0]["_id"]: ""}), "second").manifest
    for manifest in (first, second):
        assert manifest.packs == before.packs  # of the dataset that was ingested, through any number of relabels
        keys = set(shop.objects.list(f"datasets/{manifest.dataset}/"))
        indexes = {layout.pack_index(manifest.dataset, ref.number) for ref in before.packs}
        assert keys == indexes | {layout.manifest(manifest.dataset), layout.categories(manifest.dataset)}
        assert shop.contents(manifest.dataset)["categories.csv"] == shop.contents("d")["categories.csv"]
        for (_, old), (_, new) in zip(
            read_indexes(shop.objects, before), read_indexes(shop.objects, manifest), strict=True
        ):
            for name in ("product_id", "offset", "length", "first_image", "image_offset", "image_length", "image_md5"):
                np.testing.assert_array_equal(getattr(new, name), getattr(old, name))
    assert dict(categories(shop, second))[documents[0]["_id"]] == NO_CATEGORY


@pytest.mark.parametrize("store", ["objects", "catalog"])
def test_one_that_dies_at_any_change_goes_on_to_the_same_end(
    shop: Any, documents: list[dict[str, Any]], store: str
) -> None:
    shop.ingest(shop.dump(documents))
    path = labels(shop, corrections(documents))
    expected = relabel.run(shop.stores, "d", path, "expected").manifest
    for lives in range(1, 100):
        name = f"d{lives}"
        if not dies(shop, store, lives, lambda name=name: relabel.run(shop.stores, "d", path, name)):  # type: ignore[misc]
            break
        again = relabel.run(shop.stores, "d", path, name)
        assert again.manifest == replace(expected, dataset=name)
        assert shop.contents(name) == shop.contents("expected")
        assert rows_of(shop, name) == rows_of(shop, "expected")
        assert shop.catalog.dataset(name).fingerprint == expected.fingerprint
    assert lives > (4 if store == "catalog" else 6)


def test_a_complete_one_is_left_alone(shop: Any, documents: list[dict[str, Any]]) -> None:
    shop.ingest(shop.dump(documents))
    rows = corrections(documents)
    first = relabel.run(shop.stores, "d", labels(shop, rows), "new", now=lambda: 5.0)
    again = relabel.run(shop.stores, "d", labels(shop, dict(reversed(rows.items())), "other.csv"), "new")
    assert (first.skipped, again.skipped) == (False, True)
    assert (again.manifest, again.changes) == (first.manifest, first.changes)
    assert shop.catalog.dataset("new").created == 5.0


@pytest.mark.parametrize("complete", [True, False])
def test_its_name_stands_for_these_labels(shop: Any, documents: list[dict[str, Any]], complete: bool) -> None:
    shop.ingest(shop.dump(documents))
    rows = corrections(documents)
    if complete:
        relabel.run(shop.stores, "d", labels(shop, rows), "new")
    else:
        assert dies(shop, "objects", 4, lambda: relabel.run(shop.stores, "d", labels(shop, rows), "new"))
    before = shop.contents("new")
    other = labels(shop, {documents[0]["_id"]: ""})
    with pytest.raises(ConflictError, match=r"with other labels; choose another name, or remove it .*rm dataset new`"):
        relabel.run(shop.stores, "d", other, "new")
    with pytest.raises(ConflictError, match=r"'d' is there already, from /.*dump\.bson"):
        relabel.run(shop.stores, "d", other, "d")
    with pytest.raises(ConflictError, match="from dataset d by relabel: now it is another source"):
        shop.ingest(shop.dump(documents), "new")
    assert shop.contents("new") == before


@pytest.mark.parametrize("complete", [True, False])
def test_the_packs_stay_as_long_as_a_relabel_needs_them(
    shop: Any, documents: list[dict[str, Any]], complete: bool
) -> None:
    shop.ingest(shop.dump(documents))
    path = labels(shop, corrections(documents))
    relabel.run(shop.stores, "d", path, "first")
    again = labels(shop, {documents[0]["_id"]: ""})

    def second() -> None:
        relabel.run(shop.stores, "first", again, "second")

    if complete:
        second()
        remove(shop, "first")  # nobody needs it: the packs are those of d
    else:
        assert dies(shop, "objects", 5, second)
        with pytest.raises(ConflictError, match=r"dataset 'first' is in use by dataset second \(a relabel\)"):
            remove(shop, "first")
    with pytest.raises(ConflictError, match=r"dataset 'd' is in use by dataset .*second \(a relabel\)"):
        remove(shop, "d")
    remove(shop, "second")
    if not complete:
        remove(shop, "first")
    remove(shop, "d")
    assert list(shop.objects.list("")) == []
    assert shop.catalog.ingests() == shop.catalog.datasets() == []


def test_a_removal_that_did_not_end_is_named(shop: Any, documents: list[dict[str, Any]]) -> None:
    shop.ingest(shop.dump(documents))
    path = labels(shop, corrections(documents))
    relabel.run(shop.stores, "d", path, "new")
    shop.objects.delete(layout.manifest("new"))
    with pytest.raises(ConflictError, match="removed, but not to the end; finish with `shelver rm dataset new`"):
        relabel.run(shop.stores, "d", path, "new")


REFUSED: list[tuple[str, str, str]] = [
    ("999999,10", "line 2", "product 999999 is not in the dataset 'd'"),
    ("{first},10\n{second},77", "line 3", "category 77 is not in the category table"),
    ("{first},10\n{second},20\n{first},20", "line 4", "product {first} has two categories"),
    ("{first},\n{second},20\n{first},20", "line 4", "product {first} has two categories"),
    ("{first}", "line 2", "must be whole numbers"),
    ("{first},ten", "line 2", "must be whole numbers"),
]


@pytest.mark.parametrize(("rows", "line", "reason"), REFUSED)
def test_labels_that_cannot_be_used_make_nothing(
    shop: Any, documents: list[dict[str, Any]], rows: str, line: str, reason: str
) -> None:
    shop.ingest(shop.dump(documents))
    names = {"first": documents[0]["_id"], "second": documents[1]["_id"]}
    path = shop.home / "labels.csv"
    path.write_text(f"_id,category_id\n{rows.format(**names)}\n")
    before = list(shop.objects.list(""))
    with pytest.raises(BadInputError) as refused:
        relabel.run(shop.stores, "d", path, "new")
    assert (refused.value.where, refused.value.position) == (str(path), line)
    assert reason.format(**names) in refused.value.reason
    assert list(shop.objects.list("")) == before
    assert shop.catalog.ingest("new") is None


def test_what_cannot_be_relabelled(shop: Any, documents: list[dict[str, Any]]) -> None:
    unlabelled = [{key: value for key, value in one.items() if key != "category_id"} for one in documents]
    shop.ingest(shop.dump(unlabelled, "plain.bson"), "plain", labelled=False)
    shop.ingest(shop.dump(documents))
    first = documents[0]
    equal, path = labels(shop, {first["_id"]: first["category_id"]}, "equal.csv"), labels(shop, {first["_id"]: ""})
    with pytest.raises(BadInputError, match=r"equal.csv: every label is what the dataset 'd' has already"):
        relabel.run(shop.stores, "d", equal, "new")
    with pytest.raises(BadInputError, match="dataset plain: it was ingested without a category table"):
        relabel.run(shop.stores, "plain", path, "new")
    with pytest.raises(BadInputError, match="'a/b' is no name of a dataset"):
        relabel.run(shop.stores, "d", path, "a/b")
    with pytest.raises(NotFoundError, match="there is no dataset 'none'"):
        relabel.run(shop.stores, "none", path, "new")
    assert shop.catalog.ingest("new") is None


def test_it_reports_every_product_twice(shop: Any, documents: list[dict[str, Any]]) -> None:
    shop.ingest(shop.dump(documents))
    said: list[tuple[int, int]] = []
    relabel.run(shop.stores, "d", labels(shop, corrections(documents)), "new", lambda *now: said.append(now))
    assert said[-1] == (60, 60)
    assert said == sorted(said)
