import random
from typing import Any

import bson
import pytest
from bson.code import Code
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.bson_elements import MAX_DOCUMENT, DamagedError, check_document, check_length
from services.ingest.bson_walk import RefusedError, Walked, walk

PICTURE = {"picture": b"\xff\xd8\xff rest of a picture"}
OPTIONS = CodecOptions[dict[str, Any]](datetime_conversion=DatetimeConversion.DATETIME_MS)
GOOD: dict[str, Any] = {"_id": 5, "imgs": [PICTURE, PICTURE], "category_id": 10}

ids = st.integers(-(2**63), 2**63 - 1)
names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
values = st.recursive(
    st.none()
    | st.booleans()
    | ids
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.datetimes().map(lambda moment: moment.replace(microsecond=0))
    | st.builds(bson.ObjectId)
    | st.builds(bson.Regex, names)
    | st.builds(Code, st.text(max_size=5), st.just({"scope": 1}) | st.none())
    | st.builds(bson.Timestamp, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
    | st.just(bson.MinKey())
    | st.builds(bson.Decimal128, st.just("1.5"))
    | st.builds(bson.Binary, st.binary(max_size=5), st.sampled_from([0, 2, 128])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)
pictures = st.fixed_dictionaries({"picture": st.binary(min_size=1, max_size=30)}, optional={"note": values})
fields = st.fixed_dictionaries(
    {"_id": ids, "imgs": st.lists(pictures, min_size=1, max_size=12)}, optional={"category_id": ids, "title": values}
)
documents = st.permutations(["_id", "imgs", "category_id", "title"]).flatmap(
    lambda order: fields.map(lambda found: {name: found[name] for name in order if name in found})
)


def read(data: bytes, walked: Walked) -> tuple[int, int | None, list[bytes]]:
    product_id, category_id, offsets, lengths = walked
    return product_id, category_id, [data[at : at + size] for at, size in zip(offsets, lengths, strict=True)]


def decoded(data: bytes) -> tuple[int, int | None, list[bytes]]:
    document = bson.decode(data, OPTIONS)
    return document["_id"], document.get("category_id"), [bytes(image["picture"]) for image in document["imgs"]]


@given(documents, st.binary(max_size=3), st.binary(max_size=3))
@settings(max_examples=150)
def test_it_reads_what_a_decoder_reads(document: dict[str, Any], before: bytes, after: bytes) -> None:
    encoded = bson.encode(document)
    data = before + encoded + after
    assert read(data, walk(data, len(before), len(before) + len(encoded))) == decoded(encoded)


@given(documents, st.data())
@settings(max_examples=300)
def test_what_it_accepts_after_damage_a_decoder_accepts_too(document: dict[str, Any], data: st.DataObject) -> None:
    damaged = bytearray(bson.encode(document))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(4, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(damaged)
    try:
        found = walk(content, 0, len(content))
    except (DamagedError, RefusedError):
        return
    assert read(content, found) == decoded(content)


def test_what_a_decoder_refuses_is_damaged(seed: int) -> None:
    generator = random.Random(seed)
    original = bson.encode(GOOD | {"title": "pear", "more": [{"a": 1.5, "b": None, "c": True}]})
    refused = 0
    for _ in range(3000):
        content = bytearray(original)
        content[generator.randrange(4, len(content))] = generator.randrange(256)
        try:
            bson.decode(bytes(content), OPTIONS)
        except (BSONError, ValueError):
            refused += 1
            with pytest.raises(DamagedError):
                check_document(bytes(content), 0, len(content))
    assert refused > 100


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"_id": None}, "_id is null, not an int32 or int64"),
        ({"_id": "5"}, "_id is a string, not an int32 or int64"),
        ({"_id": 5.0}, "_id is a double, not an int32 or int64"),
        ({"category_id": "x"}, "category_id is a string, not an int32 or int64"),
        ({"category_ids": [1]}, "it has both category_id and category_ids"),
        ({"category_id": 1, "category_ids": 1}, "it has both category_id and category_ids"),
        ({"imgs": []}, "it has no images"),
        ({"imgs": {}}, "imgs is a document, not an array"),
        ({"imgs": [PICTURE, b"x"]}, "image 1 is binary, not a document with a picture"),
        ({"imgs": [{}]}, "image 0 has no picture"),
        ({"imgs": [PICTURE, {"picture": "x"}]}, "the picture of image 1 is a string, not binary"),
        ({"imgs": [PICTURE, {"picture": b""}]}, "image 1 is empty"),
    ],
)
def test_a_document_that_is_no_product_says_why(change: dict[str, Any], reason: str) -> None:
    data = bson.encode(GOOD | change)
    with pytest.raises(RefusedError) as caught:
        walk(data, 0, len(data))
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("given", "found"),
    [([30, 10, bson.Int64(2**40), 10], (10, 30, 2**40)), ([], ()), (7, None), (["x"], None), ([1, None], None)],
)
def test_labels_are_a_set_of_numbers(given: Any, found: tuple[int, ...] | None) -> None:
    data = bson.encode({"_id": 5, "category_ids": given, "imgs": [PICTURE]})
    if found is not None:
        assert walk(data, 0, len(data))[:2] == (5, found)
        return
    with pytest.raises(
        RefusedError, match=r"category_ids is an int(32|64), not an array|number . of category_ids is (a string|null)"
    ):
        walk(data, 0, len(data))


@pytest.mark.parametrize("name", ["_id", "imgs"])
def test_a_missing_element_is_named(name: str) -> None:
    data = bson.encode({key: value for key, value in GOOD.items() if key != name})
    with pytest.raises(RefusedError, match=f"{name} is missing"):
        walk(data, 0, len(data))


def test_an_element_that_comes_twice_is_named() -> None:
    once = bson.encode({"_id": 1})[4:-1]
    body = once + bson.encode(GOOD)[4:]
    data = (len(body) + 4).to_bytes(4, "little") + body
    with pytest.raises(RefusedError, match="more than one _id"):
        walk(data, 0, len(data))


@pytest.mark.parametrize(
    ("length", "words"),
    [(-5, "negative"), (0, "zero"), (4, "too small"), (MAX_DOCUMENT + 1, "too large")],
)
def test_a_length_that_no_document_has_is_described(length: int, words: str) -> None:
    with pytest.raises(DamagedError, match=words):
        check_length(length)


def test_nesting_has_a_limit() -> None:
    document: dict[str, Any] = {}
    for _ in range(120):
        document = {"a": document}
    data = bson.encode(GOOD | {"deep": document})
    with pytest.raises(DamagedError, match="nested"):
        walk(data, 0, len(data))


def test_the_obsolete_binary_subtype_gives_the_same_picture() -> None:
    data = bson.encode(GOOD | {"imgs": [{"picture": bson.Binary(b"old picture", 2)}]})
    assert read(data, walk(data, 0, len(data)))[2] == [b"old picture"]
