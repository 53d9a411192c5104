import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain import keys
from shared.domain.digests import UInt64

words = st.sampled_from([0, 1, 2, 2**63, 2**64 - 1])  # few values: first halves collide often
key_lists = st.lists(st.tuples(words, words), max_size=40)


def array(values: list[tuple[int, int]]) -> UInt64:
    return np.array(values, dtype=np.uint64).reshape(-1, 2)


@pytest.fixture(params=[keys.BLOCK, 4])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(keys, "BLOCK", request.param)
    return int(request.param)


@given(key_lists, key_lists)
@settings(max_examples=100)
def test_find_compares_all_bits_where_first_halves_collide(
    stored: list[tuple[int, int]], asked: list[tuple[int, int]]
) -> None:
    counts = keys.count(array(stored), np.zeros(len(stored), dtype=np.int32))
    rows = {key: row for row, key in enumerate(sorted(set(stored)))}
    assert counts.find(array(asked)).tolist() == [rows.get(key, -1) for key in asked]


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 5000])
def test_find_finds_each_key_of_a_table_of_any_size(size: int) -> None:
    values = np.unique(np.random.default_rng(size).integers(0, 2**64, (size, 2), dtype=np.uint64), axis=0)
    counts = keys.count(values[::-1], np.zeros(len(values), dtype=np.int32))
    assert counts.find(values).tolist() == list(range(len(values)))
    assert (counts.find(values + np.array([0, 1], dtype=np.uint64)) == -1).all()
    assert (counts.find(values + np.array([1, 0], dtype=np.uint64)) == -1).all()


def test_count_is_the_same_in_blocks_of_any_size(block: int) -> None:
    @given(st.lists(st.tuples(words, words, st.integers(0, 3), st.integers(1, 5)), max_size=40))
    @settings(max_examples=60)
    def check(rows: list[tuple[int, int, int, int]]) -> None:
        expected: dict[tuple[int, int], dict[int, int]] = {}
        for high, low, c, times in rows:
            of_key = expected.setdefault((high, low), {})
            of_key[c] = of_key.get(c, 0) + times
        counted = keys.count(
            array([row[:2] for row in rows]),
            np.array([row[2] for row in rows], dtype=np.int32),
            np.array([row[3] for row in rows], dtype=np.int32),
        )
        assert [tuple(key) for key in counted.key.tolist()] == sorted(expected)
        position, class_index, count = counted.entries(np.arange(len(counted)))
        entries = list(zip(position.tolist(), class_index.tolist(), count.tolist(), strict=True))
        assert entries == [
            (i, c, times) for i, key in enumerate(sorted(expected)) for c, times in sorted(expected[key].items())
        ]

    check()


def test_blocks_hold_every_row_once_in_the_order_of_keys(block: int) -> None:
    generator = np.random.default_rng(0)
    values = generator.integers(0, 2**64, size=(100, 2), dtype=np.uint64)
    pieces = list(keys.blocks(values))
    assert np.sort(np.concatenate(pieces)).tolist() == list(range(100))
    highest = [int(values[rows, 0].max()) for rows in pieces if len(rows)]
    lowest = [int(values[rows, 0].min()) for rows in pieces if len(rows)]
    assert all(a < b for a, b in zip(highest, lowest[1:], strict=False))


def test_product_keys_are_equal_exactly_for_equal_sets(block: int) -> None:
    md5s = st.sampled_from([(0, 0), (0, 1), (1, 0), (2**64 - 1, 0)])

    @given(st.lists(st.lists(md5s, min_size=1, max_size=4), min_size=1, max_size=20))
    @settings(max_examples=60)
    def check(products: list[list[tuple[int, int]]]) -> None:
        first = np.concatenate([[0], np.cumsum([len(images) for images in products])]).astype(np.int64)
        digests = keys.product_keys(first, array([md5 for images in products for md5 in images])).tolist()
        for i, a in enumerate(products):
            for j, b in enumerate(products):
                assert (digests[i] == digests[j]) == (set(a) == set(b))

    check()


def test_a_product_key_never_changes_between_versions() -> None:
    digest = keys.product_keys(np.array([0, 2]), array([(1, 2), (3, 4)]))
    assert [f"{word:016x}" for word in digest[0].tolist()] == ["30a91dbf3e426b5d", "9148f8328225c9f7"]


def test_nothing_gives_nothing() -> None:
    empty = keys.count(array([]), np.zeros(0, dtype=np.int32))
    assert len(empty) == 0
    assert empty.find(array([(1, 2)])).tolist() == [-1]
    assert [len(part) for part in empty.entries(np.array([-1]))] == [0, 0, 0]
    assert keys.product_keys(np.array([0]), array([])).shape == (0, 2)


def test_an_image_digest_is_the_sha256_of_the_md5s_as_they_stand_in_the_dump() -> None:
    pictures = [[b"a", b"b"], [b"b", b"a"], [b"a", b"a"], [b"a"], [], [b"a", b"b"]]
    md5s = [[hashlib.md5(one, usedforsecurity=False).digest() for one in product] for product in pictures]
    rows = [(int.from_bytes(one[:8]), int.from_bytes(one[8:])) for product in md5s for one in product]
    first = np.cumsum([0, *map(len, pictures)])
    digests = keys.image_digests(first, array(rows))
    assert digests == [hashlib.sha256(b"".join(product)).hexdigest()[:32] for product in md5s]
    assert digests[0] == digests[5]
    assert len(set(digests)) == 5
