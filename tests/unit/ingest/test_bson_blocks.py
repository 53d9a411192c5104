import random
from typing import Any

import bson
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.bson_blocks import Int64, Products, follow, walk_all
from services.ingest.bson_elements import MAX_DOCUMENT, DamagedError, check_length
from services.ingest.bson_walk import RefusedError, walk

FAR = 2**62
Row = tuple[int, int | None, list[int], list[int]]

integers = st.integers(-(2**31), 2**31 - 1) | st.integers(-(2**63), 2**63 - 1).map(bson.Int64)
images = st.fixed_dictionaries({"picture": st.binary(min_size=1, max_size=40)})
usual = st.fixed_dictionaries({"_id": integers, "imgs": st.lists(images, min_size=1, max_size=12)}) | (
    st.fixed_dictionaries(
        {"_id": integers, "imgs": st.lists(images, min_size=1, max_size=4), "category_id": integers | st.none()}
    )
)
unusual = st.fixed_dictionaries({"category_id": integers, "_id": integers, "imgs": st.lists(images, max_size=2)})
dumps = st.lists(usual | usual | unusual, min_size=1, max_size=12).map(lambda some: list(map(bson.encode, some)))


def rows(products: Products) -> list[Row]:
    first = np.cumsum([0, *products.images])
    return [
        (
            int(products.product_id[i]),
            int(products.category_id[i]) if products.labelled[i] else None,
            products.image_offset[first[i] : first[i + 1]].tolist(),
            products.image_length[first[i] : first[i + 1]].tolist(),
        )
        for i in range(len(products))
    ]


def one_by_one(data: bytes, places: Int64) -> tuple[list[Row], str]:
    """What `walk` alone says, up to the first bad document."""
    found: list[Row] = []
    for begin, end in zip(places[:-1].tolist(), places[1:].tolist(), strict=True):
        try:
            found.append(walk(data, begin, end))
        except (DamagedError, RefusedError) as error:
            return found, f"{type(error).__name__}: {error}"
    return found, ""


def together(data: bytes, places: Int64) -> tuple[list[Row], str]:
    products, fault = walk_all(memoryview(data), places)
    return rows(products), f"{type(fault).__name__}: {fault}" if fault else ""


@given(dumps, st.binary(max_size=60))
@settings(max_examples=100)
def test_documents_together_are_what_each_is_alone(documents: list[bytes], before: bytes) -> None:
    data = before + b"".join(documents)
    places = follow(memoryview(data), len(before), FAR)
    assert places.tolist() == np.cumsum([len(before), *map(len, documents)]).tolist()
    assert together(data, places) == one_by_one(data, places)


@given(dumps, st.data())
@settings(max_examples=300)
def test_after_damage_too(documents: list[bytes], draw: st.DataObject) -> None:
    places = np.cumsum([0, *map(len, documents)]).astype(np.int64)
    damaged = bytearray(b"".join(documents))
    for _ in range(draw.draw(st.integers(1, 3))):
        damaged[draw.draw(st.integers(0, len(damaged) - 1))] = draw.draw(st.integers(0, 255))
    data = bytes(damaged)
    for begin, end in zip(places[:-1].tolist(), places[1:].tolist(), strict=True):
        # the length field itself is what a place is known by
        data = data[:begin] + (end - begin).to_bytes(4, "little") + data[begin + 4 :]
    assert together(data, places) == one_by_one(data, places)


@given(dumps, st.data())
@settings(max_examples=150)
def test_after_bytes_were_cut_out_or_put_in_too(documents: list[bytes], draw: st.DataObject) -> None:
    content = b"".join(documents)
    at = draw.draw(st.integers(0, len(content)))
    data = content[:at] + draw.draw(st.binary(max_size=10)) + content[at + draw.draw(st.integers(0, 10)) :]
    places = follow(memoryview(data), 0, FAR)
    assert places[-1] <= len(data)
    for begin, end in zip(places[:-1].tolist(), places[1:].tolist(), strict=True):
        assert int.from_bytes(data[begin : begin + 4], "little", signed=True) == end - begin
    assert together(data, places) == one_by_one(data, places)


def test_every_byte_of_the_usual_layout_is_looked_at(seed: int) -> None:
    """Each byte but those of values and pictures, changed: exactly `walk` decides."""
    generator = random.Random(seed)
    shapes: list[dict[str, Any]] = [
        {"_id": 7, "imgs": [{"picture": b"abc"}, {"picture": b"d"}], "category_id": 10},
        {"_id": bson.Int64(2**40), "imgs": [{"picture": b"abc"}], "category_id": bson.Int64(2**40)},
        {"_id": 7, "imgs": [{"picture": b"abcdef"}] * 3},
    ]
    changed = 0
    for shape in shapes:
        good = bson.encode(shape)
        for at in range(4, len(good)):
            for value in {0, 1, 0x10, 0x12, good[at] ^ 0x80, generator.randrange(256)} - {good[at]}:
                data = good + good[:at] + bytes([value]) + good[at + 1 :] + good
                places = np.arange(4, dtype=np.int64) * len(good)
                assert together(data, places) == one_by_one(data, places)
                changed += together(data, places)[1] != ""
    assert changed > 100


def test_what_the_arrays_cannot_hold_is_walked_alone() -> None:
    many: dict[str, Any] = {"_id": 1, "imgs": [{"picture": b"%d" % i} for i in range(25)], "category_id": 10}
    mixed = [many, {"title": "pear"} | many, {"_id": 2, "imgs": [{"picture": b"x"}]}, many]
    data = b"".join(map(bson.encode, mixed))
    places = follow(memoryview(data), 0, FAR)
    assert [(row[0], row[1], [data[at : at + size] for at, size in zip(*row[2:], strict=True)]) for row in
            together(data, places)[0]] == [
        (document["_id"], document.get("category_id"), [image["picture"] for image in document["imgs"]])
        for document in mixed
    ]  # fmt: skip


@pytest.mark.parametrize("length", [-1, 0, 4, MAX_DOCUMENT + 1])
def test_following_stops_at_a_length_that_no_document_has(length: int) -> None:
    good = bson.encode({"a": 1})
    data = good * 2 + length.to_bytes(4, "little", signed=True) + bytes(100)
    assert follow(memoryview(data), 0, FAR).tolist() == [0, len(good), 2 * len(good)]
    with pytest.raises(DamagedError):
        check_length(length)


def test_following_stops_at_the_limit_at_a_cut_document_and_after_many() -> None:
    good = bson.encode({"a": 1})
    size = len(good)
    assert follow(memoryview(good * 3), 0, size + 1).tolist() == [0, size, 2 * size]
    assert follow(memoryview(good * 3), size, 2 * size).tolist() == [size, 2 * size]
    for cut in range(1, size):
        assert follow(memoryview((good * 2)[:-cut]), 0, FAR).tolist() == [0, size]
    assert follow(memoryview(good[:3]), 0, FAR).tolist() == [0]
    assert 100 < len(follow(memoryview(good * 100_000), 0, FAR)) < 10_000
