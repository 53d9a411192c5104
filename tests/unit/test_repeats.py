"""Counts over index arrays against plain loops over the same random catalog."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.reports import repeats
from services.reports.contents import Contents
from services.reports.distribution import gini, largest_share
from services.reports.repeats import describe_repeats, distinct, distinct_images, image_sets
from shared.domain import keys, taxonomy
from shared.packs import Manifest

CLASSES = 4
products = st.lists(
    st.tuples(st.integers(-1, CLASSES - 1), st.lists(st.integers(0, 7), max_size=4)), min_size=1, max_size=14
)


def contents_of(catalog: list[tuple[int, list[int]]]) -> Contents:
    """Products as (class or -1, images by number)."""
    images = [image for _, some in catalog for image in some]
    first = np.append(0, np.cumsum([len(some) for _, some in catalog])).astype(np.int64)
    zero = np.zeros(len(images), dtype=np.int64)
    return Contents(
        Manifest(
            dataset="d", fingerprint="f", source="s", products=len(catalog), images=len(images), labelled=0, bytes=0,
            repeated=0, taxonomy="t", pack_bytes=1,
        ),
        taxonomy.build(range(CLASSES), [("a", "b", str(n)) for n in range(CLASSES)]),
        np.arange(len(catalog), dtype=np.int64),
        np.array([one for one, _ in catalog], dtype=np.int32),
        first,
        np.array([(image % 3, image) for image in images], dtype=np.uint64).reshape(-1, 2),
        zero.astype(np.int32),
        zero,
        zero,
    )  # fmt: skip


def described(contents: Contents) -> repeats.Repeats:
    images = distinct_images(contents)
    return describe_repeats(contents, images, image_sets(contents, images))


@settings(max_examples=150)
@given(products)
def test_repeats_are_what_loops_count(catalog):
    contents = contents_of(catalog)
    found = described(contents)
    images = [image for _, some in catalog for image in some]
    holders, sets = defaultdict(set), defaultdict(list)
    for product, (_, some) in enumerate(catalog):
        for image in some:
            holders[image].add(product)
        if some:
            sets[frozenset(some)].append(product)

    def classes(products):
        return {catalog[p][0] for p in products} - {-1}

    conflicting = [image for image in holders if len(classes(holders[image])) > 1]
    touched = {p for image in conflicting for p in holders[image] if catalog[p][0] >= 0}
    several = 3 if classes(range(len(catalog))) else 0
    held = {image for image in holders if len(holders[image]) >= 10 and len(classes(holders[image])) >= several}
    bad_sets = [members for some, members in sets.items() if len(classes(members)) > 1 and some - held]
    assert found.placeholders == len(held)
    assert found.distinct_images == len(holders)
    assert found.repeated_images == sum(images.count(image) > 1 for image in holders)
    assert found.most_occurrences == max((images.count(image) for image in holders), default=0)
    assert (found.conflicting_images, found.products_with_conflicting_image) == (len(conflicting), len(touched))
    assert found.products_with_image_twice == sum(len(set(some)) < len(some) for _, some in catalog)
    assert found.distinct_keys == len(sets)
    assert found.products_sharing_key == sum(len(members) for members in sets.values() if len(members) > 1)
    assert found.conflicting_keys == len(bad_sets)
    assert found.products_with_conflicting_key == sum(catalog[p][0] >= 0 for members in bad_sets for p in members)


@pytest.mark.parametrize("block", [4, 2**20])
def test_equal_keys_get_equal_numbers_and_their_first_row(block, monkeypatch):
    monkeypatch.setattr(keys, "BLOCK", block)
    key = np.random.default_rng(1).integers(0, 4, (60, 2)).astype(np.uint64) << np.uint64(62)
    number, first = distinct(key)
    assert (key[first[number]] == key).all()
    pairs = [tuple(row) for row in key.tolist()]
    assert sorted(first.tolist()) == sorted({pair: pairs.index(pair) for pair in pairs}.values())
    assert [pairs[row] for row in first] == sorted(set(pairs))


def test_the_thresholds_of_placeholders_are_stated():
    contents = contents_of([(n % 3, [0]) for n in range(10)])
    found = described(contents)
    assert (found.placeholder_products_from, found.placeholder_categories_from) == (
        repeats.PLACEHOLDER_PRODUCTS,
        repeats.PLACEHOLDER_CATEGORIES,
    )
    assert found.placeholders == 1
    assert (found.conflicting_images, found.conflicting_keys) == (1, 0), "nobody's label is wrong for a placeholder"


@settings(max_examples=50)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_gini_is_half_the_relative_mean_difference(counts):
    n, mean = len(counts), sum(counts) / len(counts)
    difference = sum(abs(a - b) for a in counts for b in counts) / n**2
    assert gini(np.array(counts)) == pytest.approx(difference / (2 * mean), abs=1e-12)


def test_what_the_largest_hold():
    assert largest_share(np.arange(1, 21), 0.1) == pytest.approx(39 / 210)
    assert largest_share(np.array([5]), 0.1) == 1.0
    assert (largest_share(np.zeros(0, dtype=np.int64), 0.1), gini(np.zeros(0, dtype=np.int64))) == (0.0, 0.0)
