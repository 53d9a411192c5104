import gzip
import json
from collections.abc import Callable
from hashlib import md5
from pathlib import Path
from typing import Any

import bson
import numpy as np
import pytest

from services.ingest import pack_walk, pack_writer
from shared import layout, packs
from shared.domain.errors import BadInputError, ConflictError, NotFoundError
from shared.packs import read_index, read_indexes, read_manifest
from shared.settings import IngestSettings, Settings

Products = Callable[..., list[dict[str, Any]]]


def documents_of(shop: Any, dataset: str = "d") -> list[dict[str, Any]]:
    """The products as the indexes show them."""
    found = []
    for ref, index in read_indexes(shop.objects, read_manifest(shop.objects, dataset)):
        content = shop.objects.read(layout.pack(dataset, ref.number))
        for row in range(len(index)):
            pictures = []
            for image in range(index.first_image[row], index.first_image[row + 1]):
                at = index.image_offset[image]
                pictures.append({"picture": content[at : at + index.image_length[image]]})
                assert index.image_md5[image].astype(">u8").tobytes() == md5(pictures[-1]["picture"]).digest()
            start = index.offset[row]
            whole = bson.decode(content[start : start + index.length[row]])
            assert whole["_id"] == index.product_id[row]
            found.append({"_id": index.product_id[row], "imgs": pictures, "category_id": index.category_id[row]})
    return found


def test_every_product_is_found_through_the_indexes(shop: Any, products: Products) -> None:
    documents = products(60)
    manifest = shop.ingest(shop.dump(documents))
    assert documents_of(shop) == documents
    assert manifest == read_manifest(shop.objects, "d")
    assert manifest.products == manifest.labelled == 60
    assert manifest.images == sum(len(document["imgs"]) for document in documents)
    assert len(manifest.packs) > 5
    assert [ref.number for ref in manifest.packs] == list(range(len(manifest.packs)))


def test_packs_close_at_fixed_offsets_and_are_the_dump(shop: Any, products: Products) -> None:
    source = shop.dump(products(60))
    manifest = shop.ingest(source)
    content = [shop.objects.read(layout.pack("d", ref.number)) for ref in manifest.packs]
    assert b"".join(content) == Path(source).read_bytes()
    starts = np.cumsum([0, *map(len, content)])
    for number in range(1, len(content)):
        assert starts[number] >= number * manifest.pack_bytes
        last = read_index(shop.objects, "d", manifest.packs[number - 1]).offset[-1]
        assert starts[number - 1] + last < number * manifest.pack_bytes


def test_rows_of_the_catalog_say_where_products_lie(shop: Any, products: Products) -> None:
    documents = products(30)
    manifest = shop.ingest(shop.dump(documents))
    rows = shop.catalog.products("d")
    assert [row.id for row in rows] == sorted(document["_id"] for document in documents)
    for row in rows:
        content = shop.objects.read(layout.pack("d", row.pack), row.offset, row.length)
        document = bson.decode(content)
        assert (document["_id"], document["category_id"], len(document["imgs"])) == (
            row.id,
            row.category_id,
            row.images,
        )
    dataset = shop.catalog.dataset("d")
    assert (dataset.fingerprint, dataset.products, dataset.bytes) == (manifest.fingerprint, 30, manifest.bytes)
    assert shop.catalog.ingest("d").state == "complete"
    assert shop.objects.read(layout.categories("d")) == shop.categories.read_bytes()


@pytest.mark.parametrize("way", [1, 2, 7, "gz", "-"])
def test_every_way_of_reading_gives_the_same(
    shop: Any, products: Products, way: Any, standard_input: Callable[[bytes], None]
) -> None:
    documents = products(60)
    source = shop.dump(documents)
    expected = shop.ingest(source, "expected")
    if way == "gz":
        Path(source + ".gz").write_bytes(gzip.compress(Path(source).read_bytes(), 1))
        manifest = shop.ingest(source + ".gz", "d")
    elif way == "-":
        standard_input(Path(source).read_bytes())
        manifest = shop.ingest("-", "d")
    else:
        manifest = shop.ingest(source, "d", processes=way)
    assert shop.contents("d") == shop.contents("expected")
    assert manifest.fingerprint == expected.fingerprint
    assert shop.progress[-1].documents == 60


def test_the_fingerprint_is_that_of_the_products_in_any_order(shop: Any, products: Products) -> None:
    documents = products(30)
    fingerprint = shop.ingest(shop.dump(documents)).fingerprint
    assert shop.ingest(shop.dump(documents[::-1], "reversed"), "reversed").fingerprint == fingerprint
    documents[3] = documents[3] | {"category_id": 40}
    assert shop.ingest(shop.dump(documents, "category"), "category").fingerprint != fingerprint
    documents = products(30)
    documents[3]["imgs"].append({"picture": b"\xff\xd8\xff one more"})
    assert shop.ingest(shop.dump(documents, "image"), "image").fingerprint != fingerprint


def test_a_product_longer_than_a_pack_leaves_an_empty_one(shop: Any, products: Products) -> None:
    documents = products(20)
    documents[7]["imgs"] = [{"picture": b"\xff\xd8\xff" + bytes(17_000)}]
    documents[-1]["imgs"] = documents[7]["imgs"]
    source = shop.dump(documents)
    manifest = shop.ingest(source)
    assert documents_of(shop) == documents
    assert any(ref.products == 0 for ref in manifest.packs)
    assert manifest.packs[-1].products > 0
    shop.ingest(source, "two", processes=2)
    assert shop.contents("two") == shop.contents("d")


def test_a_repeated_product_stays_in_the_bytes_and_out_of_the_index(shop: Any, products: Products) -> None:
    documents = products(40)
    again = [*documents[:20], documents[2], *documents[20:], documents[2], documents[39], documents[30]]
    source = shop.dump(again)
    manifest = shop.ingest(source)
    assert documents_of(shop) == documents
    assert (manifest.products, manifest.repeated, manifest.bad) == (40, 4, ())
    assert manifest.bytes == Path(source).stat().st_size
    assert shop.ingest(shop.dump(documents, "once"), "once").fingerprint == manifest.fingerprint
    assert shop.catalog.count_products("d") == 40


@pytest.mark.parametrize("change", ["category", "images"])
def test_a_product_repeated_with_other_content_is_an_error(shop: Any, products: Products, change: str) -> None:
    documents = products(40)
    other = dict(documents[2])
    if change == "category":
        other["category_id"] = 10 if other["category_id"] == 20 else 20
    else:
        other["imgs"] = other["imgs"] + other["imgs"][:1]
    source = shop.dump([*documents, other])
    offsets = np.cumsum([0] + [len(bson.encode(document)) for document in documents])
    with pytest.raises(BadInputError) as caught:
        shop.ingest(source)
    assert caught.value.position == f"offset {offsets[40]}"
    assert f"product {other['_id']} is at offset {offsets[2]} already" in caught.value.reason
    assert list(shop.objects.list("")) == []
    manifest = shop.ingest(source, allow_bad=1)
    assert documents_of(shop) == documents
    assert [bad.offset for bad in manifest.bad] == [offsets[40]]
    assert manifest.repeated == 0


def test_unlabelled_products_need_no_categories(shop: Any, products: Products) -> None:
    documents = [{"_id": d["_id"], "imgs": d["imgs"]} for d in products(20)]
    manifest = shop.ingest(shop.dump(documents), labelled=False)
    assert (manifest.labelled, manifest.taxonomy) == (0, "")
    assert not shop.objects.exists(layout.categories("d"))
    assert {row.category_id for row in shop.catalog.products("d")} == {None}


def test_bytes_that_are_no_image_are_kept_and_counted(shop: Any) -> None:
    pictures = [b"\xff\xd8\xff jpeg", b"\x89PNG\r\n\x1a\n...", b"RIFF1234WEBPVP8 ", b"RIFF1234WAVE", b"text", b"\0"]
    manifest = shop.ingest(
        shop.dump([{"_id": number, "imgs": [{"picture": p}]} for number, p in enumerate(pictures)]), labelled=False
    )
    assert (manifest.images, manifest.unrecognised) == (6, 3)


def test_a_complete_dataset_is_left_as_it_is(shop: Any, products: Products) -> None:
    source = shop.dump(products(20))
    manifest = shop.ingest(source)
    shop.objects.put(layout.ingest_pack("d", 0), b"a left-over of an ingest that died at its very end")
    before = shop.objects.size(layout.manifest("d"))
    shop.progress.clear()
    assert shop.ingest(source, processes=2) == manifest
    assert shop.progress == []
    assert shop.objects.size(layout.manifest("d")) == before
    assert not list(shop.objects.list(layout.ingest_prefix("d")))


def test_a_removal_that_was_interrupted_is_to_be_finished(shop: Any, products: Products) -> None:
    source = shop.dump(products(20))
    shop.ingest(source)
    shop.objects.delete(layout.manifest("d"))
    with pytest.raises(ConflictError, match="finish with `shelver rm dataset d`"):
        shop.ingest(source)


def test_other_arguments_for_a_dataset_that_is_there_are_refused(shop: Any, products: Products) -> None:
    source = shop.dump(products(20))
    manifest = shop.ingest(source)
    with pytest.raises(ConflictError, match=r"another source.*shelver rm dataset d"):
        shop.ingest(shop.dump(products(20), "other.bson"))
    with pytest.raises(ConflictError, match="--allow-bad"):
        shop.ingest(source, allow_bad=1)
    shop.categories.write_bytes(shop.categories.read_bytes() + b"50,Food,Fruit,Plum\n")
    with pytest.raises(ConflictError, match="another category file"):
        shop.ingest(source)
    Path(source).write_bytes(Path(source).read_bytes() + bson.encode(products(1, seed=9)[0]))
    with pytest.raises(ConflictError, match="changed since"):
        shop.ingest(source)
    assert read_manifest(shop.objects, "d") == manifest


def test_work_files_are_removed_and_read_by_nobody_else(shop: Any, products: Products) -> None:
    shop.ingest(shop.dump(products(20)))
    assert {key.rpartition(".")[2] for key in shop.contents()} == {"bson", "parquet", "csv"}


def test_every_object_and_account_carries_a_schema(shop: Any, products: Products) -> None:
    shop.ingest(shop.dump(products(3)))
    assert json.loads(shop.objects.read(layout.manifest("d")))["schema"] == 1
    assert pack_writer.PackAccount(number=0, start=0, end=0).plain()["schema"] == 1


def test_the_marker_for_no_category_is_that_of_the_indexes() -> None:
    assert packs.NO_CATEGORY == pack_walk.NO_CATEGORY


@pytest.mark.parametrize("name", ["", "../d", "a/b", ".d", "a b", "d" * 101])
def test_a_name_that_is_no_key_is_refused(shop: Any, products: Products, name: str) -> None:
    with pytest.raises(BadInputError, match="no name of a dataset"):
        shop.ingest(shop.dump(products(3)), name)


def test_there_is_no_manifest_without_an_ingest(shop: Any) -> None:
    with pytest.raises(NotFoundError, match="ingest it first"):
        read_manifest(shop.objects, "d")


def test_the_sample_catalog_is_read(shop: Any, grocery: Path) -> None:
    shop.categories = grocery / "category_names.csv"
    shop.settings = Settings(ingest=IngestSettings(pack_bytes=2**20))
    train = shop.ingest(str(grocery / "train.bson"), "train")
    assert (train.products, train.labelled, train.unrecognised) == (436, 436, 0)
    assert shop.ingest(str(grocery / "test.bson"), "test", labelled=False).products == 290
