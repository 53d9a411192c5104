from dataclasses import replace
from pathlib import Path

import pytest

from shared.adapters.mongo import Mongo
from shared.adapters.mongo_catalog import MongoCatalog
from shared.adapters.sqlite_catalog import SqliteCatalog
from shared.domain.errors import ConflictError, NewerSchemaError, NotFoundError
from shared.domain.records import Dataset, Ingest, ProductRow
from shared.ports import Catalog
from shared.settings import MongoSettings

INGEST = Ingest(
    dataset="d", source="dump.bson", source_identity="1", processes=2, pack_bytes=10, allow_bad=0, categories="c"
)
DATASET = Dataset(
    name="d",
    fingerprint="f",
    products=2,
    images=3,
    labelled=1,
    bytes=100,
    repeated=0,
    bad=0,
    taxonomy="t",
    created=12.5,
)


def row(product: int, dataset: str = "d", category: int | None = 10) -> ProductRow:
    return ProductRow(dataset=dataset, id=product, category_id=category, pack=1, offset=2, length=3, images=4)


@pytest.fixture(params=["sqlite", "mongo"])
def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> Catalog:
    if request.param == "mongo":
        return MongoCatalog(Mongo(request.getfixturevalue("mongo_url"), MongoSettings()))
    return SqliteCatalog(tmp_path / "shelver.sqlite")


def test_the_first_ingest_of_a_dataset_stays(catalog: Catalog) -> None:
    assert catalog.ingest("d") is None
    assert catalog.begin_ingest(INGEST) == INGEST
    assert catalog.begin_ingest(replace(INGEST, source="other")) == INGEST
    assert catalog.ingest("d") == INGEST
    other = replace(INGEST, dataset="e")
    assert catalog.begin_ingest(other) == other


def test_an_ingest_ends(catalog: Catalog) -> None:
    catalog.begin_ingest(INGEST)
    catalog.end_ingest("d", "failed", "out of disk")
    assert catalog.ingest("d") == replace(INGEST, state="failed", error="out of disk")
    catalog.end_ingest("d", "failed", "it is empty", bad_input=True)
    assert catalog.ingest("d") == replace(INGEST, state="failed", error="it is empty", bad_input=True)
    catalog.end_ingest("d", "complete", rate=2e8)
    assert catalog.ingest("d") == replace(INGEST, state="complete", rate=2e8)


def test_all_ingests_are_listed_until_their_datasets_are_removed(catalog: Catalog) -> None:
    for name in ("e", "d"):
        catalog.begin_ingest(replace(INGEST, dataset=name))
    catalog.end_ingest("d", "complete")
    assert [(one.dataset, one.state) for one in catalog.ingests()] == [("d", "complete"), ("e", "running")]
    catalog.remove_dataset("d")
    assert [one.dataset for one in catalog.ingests()] == ["e"]


def test_ending_an_ingest_that_is_not_there_changes_nothing(catalog: Catalog) -> None:
    catalog.end_ingest("d", "complete")
    assert catalog.ingest("d") is None


def test_a_dataset_is_added_once(catalog: Catalog) -> None:
    catalog.add_dataset(DATASET)
    catalog.add_dataset(replace(DATASET, created=99.0))
    assert catalog.dataset("d") == DATASET
    with pytest.raises(ConflictError, match="'d' with other content"):
        catalog.add_dataset(replace(DATASET, fingerprint="g"))
    assert catalog.dataset("d") == DATASET


def test_datasets_come_by_name(catalog: Catalog) -> None:
    for name in ("d", "b", "a", "c"):
        catalog.add_dataset(replace(DATASET, name=name))
    assert [dataset.name for dataset in catalog.datasets()] == ["a", "b", "c", "d"]


def test_what_is_not_there_is_not_found(catalog: Catalog) -> None:
    with pytest.raises(NotFoundError, match="'d'"):
        catalog.dataset("d")
    catalog.add_products([row(1)])
    for dataset, product in (("d", 2), ("e", 1)):
        with pytest.raises(NotFoundError, match=str(product)):
            catalog.product(dataset, product)


@pytest.mark.parametrize("product", [-(2**63), -1, 0, 2**31, 2**63 - 1])
def test_ids_have_64_bits(catalog: Catalog, product: int) -> None:
    expected = row(product, category=product)
    catalog.add_products([expected, row(5, "e", None)])
    assert catalog.product("d", product) == expected
    assert catalog.products("d") == [expected]
    assert catalog.product("e", 5).category_id is None


def test_a_product_row_that_is_there_stays(catalog: Catalog) -> None:
    catalog.add_products([row(1), row(2)])
    catalog.add_products(iter([replace(row(2), images=9), row(3)]))
    assert catalog.products("d") == [row(1), row(2), row(3)]
    assert catalog.count_products("d") == 3
    assert catalog.count_products("e") == 0


def test_pages_cover_all_products_in_order_of_id(catalog: Catalog) -> None:
    catalog.add_products(row(product) for product in (5, -3, 9, 1, 7))
    catalog.add_products([row(2, "e")])
    found: list[int] = []
    after = None
    while page := catalog.products("d", after=after, limit=2):
        found += [product.id for product in page]
        after = found[-1]
    assert found == [-3, 1, 5, 7, 9]


def test_many_rows_are_added_and_removed(catalog: Catalog) -> None:
    many = 10_001  # more than one transaction of either kind
    catalog.add_products(row(product) for product in range(many))
    catalog.add_products([row(1, "e")])
    assert catalog.count_products("d") == many
    catalog.remove_dataset("d")
    assert catalog.count_products("d") == 0
    assert catalog.count_products("e") == 1


def test_a_removed_dataset_leaves_nothing(catalog: Catalog) -> None:
    catalog.begin_ingest(INGEST)
    catalog.add_products([row(1)])
    catalog.add_dataset(DATASET)
    for _ in range(2):
        catalog.remove_dataset("d")
        assert catalog.datasets() == []
        assert catalog.ingest("d") is None
        assert catalog.products("d") == []
    catalog.add_dataset(replace(DATASET, fingerprint="g"))
    assert catalog.dataset("d").fingerprint == "g"


def test_rows_of_a_newer_schema_are_refused(catalog: Catalog) -> None:
    with pytest.raises(NewerSchemaError):
        catalog.begin_ingest(replace(INGEST, schema=99))
    catalog.add_products([replace(row(1), schema=99)])
    with pytest.raises(NewerSchemaError):
        catalog.ingest("d")
    with pytest.raises(NewerSchemaError):
        catalog.product("d", 1)
