import json
from pathlib import Path

import numpy as np
import pytest

from shared import layout, packs
from shared.adapters.directory import DirectoryObjects
from shared.domain.errors import FailedError, NewerSchemaError, NotFoundError
from shared.packs import PackIndex, PackRef, index_from_parquet, index_to_parquet
from tests.scoring_stub import put_dataset

NONE = np.zeros(0, dtype=np.int64)
EMPTY = PackIndex(NONE, NONE, NONE, NONE, np.zeros(1, np.int64), NONE, NONE, np.zeros((0, 2), dtype=np.uint64))


def test_the_index_of_a_pack_without_products_comes_back() -> None:
    index = index_from_parquet(index_to_parquet(EMPTY))
    assert (len(index), index.images) == (0, 0)
    assert index.first_image.tolist() == [0]
    assert index.image_md5.shape == (0, 2)


def test_an_index_of_a_newer_schema_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = index_to_parquet(EMPTY)
    monkeypatch.setattr(packs, "SCHEMA", 0)
    with pytest.raises(NewerSchemaError, match="pack index of schema 1: this Shelver reads up to 0"):
        index_from_parquet(content)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", json.dumps({"packs": [{}]}).encode()])
def test_a_damaged_manifest_is_named(tmp_path: Path, content: bytes) -> None:
    objects = DirectoryObjects(tmp_path)
    objects.put(layout.manifest("d"), content)
    with pytest.raises(FailedError, match=r"^datasets/d/manifest.json is damaged .*restore it"):
        packs.read_manifest(objects, "d")


@pytest.mark.parametrize("name", ["d", "../d", ""])
def test_a_dataset_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFoundError, match=f"there is no dataset '{name}'; ingest it first"):
        packs.read_manifest(DirectoryObjects(tmp_path), name)


@pytest.mark.parametrize("kept", [0, 100, -1])
def test_a_damaged_index_is_named(tmp_path: Path, kept: int) -> None:
    objects, ref = DirectoryObjects(tmp_path), PackRef(number=0, dataset="d", bytes=5, products=0, images=0)
    objects.put(layout.pack_index("d", 0), index_to_parquet(EMPTY)[:kept])
    with pytest.raises(FailedError, match=r"^datasets/d/packs/00000.parquet is damaged"):
        packs.read_index(objects, "d", ref)


def test_product_ids_are_those_of_the_indexes(tmp_path: Path) -> None:
    objects = DirectoryObjects(tmp_path)
    manifest = put_dataset(objects, [1, 2, 3] * 5, packs=4)
    found = [ids.tolist() for ids in packs.read_product_ids(objects, manifest)]
    assert found == [index.product_id.tolist() for _, index in packs.read_indexes(objects, manifest)]
    assert [(len(ids), ids[0]) for ids in found] == [(4, 100), (4, 104), (4, 108), (3, 112)]


def test_a_pack_that_is_cut_is_named(tmp_path: Path) -> None:
    objects, ref = DirectoryObjects(tmp_path), PackRef(number=0, dataset="d", bytes=5, products=0, images=0)
    objects.put(layout.pack("d", 0), b"12345")
    assert packs.read_products(objects, ref, 1, 5) == b"2345"
    with pytest.raises(FailedError, match=r"^datasets/d/packs/00000.bson ends before offset 6; restore it"):
        packs.read_products(objects, ref, 1, 6)
