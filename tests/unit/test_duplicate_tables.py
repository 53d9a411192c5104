from pathlib import Path

import numpy as np
import pytest

from shared import duplicate_tables
from shared.adapters.directory import DirectoryObjects
from shared.domain.duplicates import DuplicateTable, build
from shared.domain.errors import ConflictError, NewerSchemaError


@pytest.fixture
def objects(tmp_path: Path) -> DirectoryObjects:
    return DirectoryObjects(tmp_path)


def table_of(products: int) -> DuplicateTable:
    generator = np.random.default_rng(1)
    first = np.arange(products + 1, dtype=np.int64) * 2
    md5 = generator.integers(0, 2**64, size=(40, 2), dtype=np.uint64)[generator.integers(0, 40, 2 * products)]
    return build(generator.integers(-1, 3, products).astype(np.int32), first, md5, 3)


def assert_equal(a: DuplicateTable, b: DuplicateTable) -> None:
    assert a.class_totals.tolist() == b.class_totals.tolist()
    for one, other in ((a.images, b.images), (a.products, b.products)):
        assert one.key.tolist() == other.key.tolist()
        assert one.start.tolist() == other.start.tolist()
        assert one.class_index.tolist() == other.class_index.tolist()
        assert one.count.tolist() == other.count.tolist()


@pytest.mark.parametrize("group_rows", [1, 7, 2**20])
@pytest.mark.parametrize("products", [0, 1, 60])
def test_a_table_comes_back_equal(
    products: int, group_rows: int, objects: DirectoryObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicate_tables, "GROUP_ROWS", group_rows)
    table = table_of(products)
    key = duplicate_tables.write(objects, "grocery", "all", table)
    assert key == "datasets/grocery/duplicates/all.parquet"
    assert_equal(duplicate_tables.read(objects, key, 3), table)


def test_equal_tables_give_equal_bytes(objects: DirectoryObjects) -> None:
    keys = [duplicate_tables.write(objects, "d", name, table_of(30)) for name in ("a", "b")]
    assert objects.read(keys[0]) == objects.read(keys[1])


def test_a_table_of_another_taxonomy_is_refused(objects: DirectoryObjects) -> None:
    key = duplicate_tables.write(objects, "d", "all", table_of(3))
    with pytest.raises(ConflictError, match="was built for 3 classes, not for 4"):
        duplicate_tables.read(objects, key, 4)


def test_a_newer_schema_is_refused(objects: DirectoryObjects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicate_tables, "SCHEMA", 2)
    key = duplicate_tables.write(objects, "d", "all", table_of(3))
    monkeypatch.undo()
    with pytest.raises(NewerSchemaError, match="has schema 2"):
        duplicate_tables.read(objects, key, 3)
