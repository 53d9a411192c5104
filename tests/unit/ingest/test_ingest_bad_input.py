import gzip
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bson
import pytest

from shared.domain.errors import BadInputError

Products = Callable[..., list[dict[str, Any]]]
GOOD = [bson.encode({"_id": n, "imgs": [{"picture": b"\xff\xd8\xff" + bytes(90)}]}) for n in range(40)]
AT = sum(map(len, GOOD[:20]))
"""Where a bad document stands, after 20 good ones."""


def with_length(length: int, document: bytes = GOOD[20]) -> bytes:
    return length.to_bytes(4, "little", signed=True) + document[4:]


def assert_nothing_stays(shop: Any) -> None:
    assert list(shop.objects.list("")) == []
    assert shop.catalog.ingest("d") is None
    assert shop.catalog.datasets() == []
    assert shop.catalog.count_products("d") == 0


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (with_length(-7), "its length field is negative (-7)"),
        (with_length(0), "its length field is zero"),
        (with_length(3), "its length field is too small (3, and the least is 5)"),
        (with_length(len(GOOD[20]) - 9), "the element 'imgs' runs past the end that its length field gives"),
        (with_length(len(GOOD[20]) + 9), "there is no element type"),
        (with_length(2**25), f"its length field is too large ({2**25}, and the most is {2**24 + 2**14})"),
        (with_length(2**24), f"its length field ({2**24}) runs past the end of the dump"),
        (random.Random(1).randbytes(700), "its length field is"),
        (bson.encode({"_id": "1", "imgs": [{"picture": b"1"}]}), "_id is a string, not an int32 or int64"),
        (bson.encode({"_id": 1, "imgs": []}), "it has no images"),
        (bson.encode({"_id": 1, "imgs": [{"picture": b""}]}), "image 0 is empty"),
        (bson.encode({"imgs": [{"picture": b"1"}]}), "_id is missing"),
        (bson.encode({"_id": 1, "imgs": [{"picture": b"1"}], "category_id": 77}), "category_id 77 is not in the"),
    ],
)
def test_a_bad_document_stops_the_ingest_or_is_left_out(shop: Any, bad: bytes, reason: str) -> None:
    source = shop.dump([*GOOD[:20], bad, *GOOD[21:]])
    with pytest.raises(BadInputError) as caught:
        shop.ingest(source)
    assert (caught.value.where, caught.value.position) == (source, f"offset {AT}")
    assert reason in caught.value.reason
    assert "--allow-bad N" in caught.value.remedy
    assert_nothing_stays(shop)
    manifest = shop.ingest(source, allow_bad=1)
    assert [entry.offset for entry in manifest.bad] == [AT]
    assert reason in manifest.bad[0].reason
    assert [row.id for row in shop.catalog.products("d")] == [n for n in range(40) if n != 20]
    assert b"".join(content for key, content in shop.contents().items() if key.endswith(".bson")) == b"".join(
        GOOD[:20] + GOOD[21:]
    )


@pytest.mark.parametrize(
    ("keep", "reason"),
    [
        (
            len(GOOD[39]) - 1,
            f"the last document is truncated: {len(GOOD[39]) - 1} of its {len(GOOD[39])} bytes are there",
        ),
        (30, "the last document is truncated: 30 of its"),
        (3, "the last document is truncated: 3 bytes are left"),
    ],
)
def test_a_truncated_last_document_is_told_from_a_wrong_length(shop: Any, keep: int, reason: str) -> None:
    source = shop.dump([*GOOD[:39], GOOD[39][:keep]])
    with pytest.raises(BadInputError) as caught:
        shop.ingest(source)
    assert caught.value.position == f"offset {sum(map(len, GOOD[:39]))}"
    assert reason in caught.value.reason
    assert shop.ingest(source, allow_bad=1).products == 39


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"product,category\n1,2\n" * 50, "this is a text file, not a BSON dump"),
        ("Äpfel und Birnen\n".encode() * 100, "this is a text file, not a BSON dump"),
        (b"abc", "this is a text file, not a BSON dump"),
        (gzip.compress(b"".join(GOOD)), "this is gzip data"),
    ],
)
@pytest.mark.parametrize("allow_bad", [0, 9])
def test_a_file_that_is_no_dump_is_named(shop: Any, content: bytes, reason: str, allow_bad: int) -> None:
    source = shop.dump([content])
    with pytest.raises(BadInputError) as caught:
        shop.ingest(source, allow_bad=allow_bad)
    assert (caught.value.where, caught.value.position) == (source, "offset 0")
    assert reason in caught.value.reason
    assert caught.value.remedy
    assert_nothing_stays(shop)


def test_a_dump_of_bad_documents_only_has_no_product(shop: Any) -> None:
    source = shop.dump([random.Random(3).randbytes(5000)])
    with pytest.raises(BadInputError, match="offset 0: no product is left: its length field"):
        shop.ingest(source, allow_bad=5)
    assert_nothing_stays(shop)


def test_empty_standard_input_is_named(shop: Any, standard_input: Callable[[bytes], None]) -> None:
    standard_input(b"")
    with pytest.raises(BadInputError, match="standard input, offset 0: it is empty"):
        shop.ingest("-")
    assert_nothing_stays(shop)


@pytest.mark.parametrize("cut", [-20, 40])
def test_a_damaged_gzip_file_is_named(shop: Any, cut: int) -> None:
    content = gzip.compress(random.Random(1).randbytes(9000))
    source = shop.dump([content[:cut]], "dump.bson.gz")
    with pytest.raises(BadInputError, match="gzip data is damaged"):
        shop.ingest(source, allow_bad=9)
    Path(source).write_bytes(b"not gzip at all")
    with pytest.raises(BadInputError, match="offset 0: this is not gzip data"):
        shop.ingest(source)
    assert_nothing_stays(shop)


def test_a_category_without_a_category_file_is_an_error(shop: Any, products: Products) -> None:
    with pytest.raises(BadInputError, match="no category file was given; pass the category table with --categories"):
        shop.ingest(shop.dump(products(5)), labelled=False)
    assert_nothing_stays(shop)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"category_id,category_level1\n1,a\n", "the header lacks"),
        (b"category_id,category_level1,category_level2,category_level3\n1,a,b,c\n1,a,b,d\n", "on line 2 already"),
        ("category_id,category_level1,category_level2,category_level3\n1,ä,b,c\n".encode("latin-1"), "not UTF-8"),
        (b"", "the file is empty"),
    ],
)
def test_a_bad_category_file_is_named(shop: Any, products: Products, content: bytes, reason: str) -> None:
    shop.categories.write_bytes(content)
    with pytest.raises(BadInputError, match=reason) as caught:
        shop.ingest(shop.dump(products(5)))
    assert caught.value.where == str(shop.categories)
    assert_nothing_stays(shop)


def test_what_is_not_there_is_named(shop: Any, products: Products) -> None:
    with pytest.raises(BadInputError, match="there is no such file or folder; give a"):
        shop.ingest(str(shop.home / "nothing.bson"))
    shop.categories.unlink()
    with pytest.raises(BadInputError, match="No such file or directory"):
        shop.ingest(shop.dump(products(5)))


@pytest.mark.parametrize(("option", "value"), [("allow_bad", -1), ("processes", 0)])
def test_an_option_out_of_range_is_refused(shop: Any, products: Products, option: str, value: int) -> None:
    with pytest.raises(BadInputError, match=f"--{option.replace('_', '-')}"):
        shop.ingest(shop.dump(products(5)), **{option: value})


@pytest.mark.parametrize(("processes", "allowed"), [(1, 0), (1, 1), (1, 3), (3, 0), (3, 2)])
def test_the_first_bad_document_too_many_is_the_one_named(shop: Any, allowed: int, processes: int) -> None:
    bad = bson.encode({"_id": 1, "imgs": []})
    parts = list(GOOD * 3)
    parts = [bson.encode({"_id": n, "imgs": [{"picture": b"\xff\xd8\xff" + bytes(90)}]}) for n in range(len(parts))]
    places = [30, 31, 77, 110]
    for place in places:
        parts[place] = bad
    with pytest.raises(BadInputError) as caught:
        shop.ingest(shop.dump(parts), processes=processes, allow_bad=allowed)
    assert caught.value.position == f"offset {sum(map(len, parts[: places[allowed]]))}"
    assert_nothing_stays(shop)


@pytest.mark.parametrize("processes", [2, 7])
def test_damage_anywhere_gives_the_same_for_every_number_of_processes(
    shop: Any, products: Products, seed: int, processes: int
) -> None:
    generator = random.Random(seed)
    content = bytearray(b"".join(bson.encode(document) for document in products(80, seed)))
    for _ in range(3):
        at = generator.randrange(len(content))
        size = generator.choice([1, 20, 3000, 12_000])
        content[at : at + size] = generator.randbytes(generator.choice([size, size // 2]))
    source = shop.dump([bytes(content)])
    expected = shop.ingest(source, "one", allow_bad=1000)
    manifest = shop.ingest(source, "d", allow_bad=1000, processes=processes)
    assert shop.contents("d") == shop.contents("one")
    assert (manifest.fingerprint, manifest.bad) == (expected.fingerprint, expected.bad)


def test_a_bucket_without_a_server_is_bad_input(shop: Any) -> None:
    with pytest.raises(BadInputError, match=r"s3://bucket: no S3 server is configured"):
        shop.ingest("s3://bucket/dump.bson")
    assert shop.catalog.ingest("d") is None
