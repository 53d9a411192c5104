"""Tables and policies against a slow reference that counts in dictionaries."""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain import keys
from shared.domain.duplicates import Decisions, DuplicateTable, build, decide, merge
from shared.domain.ensemble import ImagePolicy, ProductPolicy

CLASSES = 4


@dataclass(frozen=True)
class Product:
    class_index: int  # -1: none
    images: tuple[int, ...]


products = st.builds(
    Product, st.integers(-1, CLASSES - 1), st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple)
)
catalogs = st.lists(products, max_size=14)
image_policies = st.sampled_from(["none", "unique", "majority", "l1", "l2", "softmax"])
product_policies = st.sampled_from(["none", "unique", "majority"])


def classes_of(catalog: list[Product]) -> np.ndarray:
    return np.array([product.class_index for product in catalog], dtype=np.int32)


def images_of(catalog: list[Product]) -> tuple[np.ndarray, np.ndarray]:
    first = np.concatenate([[0], np.cumsum([len(product.images) for product in catalog])]).astype(np.int64)
    images = np.array([image for product in catalog for image in product.images], dtype=np.uint64)
    high = images // 3 << np.uint64(62)  # in several blocks; first halves collide
    return first, np.stack([high, images % 3], axis=1)


def table_of(catalog: list[Product]) -> DuplicateTable:
    return build(classes_of(catalog), *images_of(catalog), CLASSES)


class Reference:
    """What METHODS says, one product at a time."""

    def __init__(self, training: list[Product]) -> None:
        labelled = [product for product in training if product.class_index >= 0]
        self.totals = Counter(product.class_index for product in labelled for _ in product.images)
        self.images: dict[int, Counter[int]] = {}
        self.keys: dict[frozenset[int], Counter[int]] = {}
        for product in labelled:
            self.keys.setdefault(frozenset(product.images), Counter())[product.class_index] += 1
            for image in product.images:
                self.images.setdefault(image, Counter())[product.class_index] += 1

    def best(self, counts: Counter[int]) -> int:
        return min(counts, key=lambda c: (-counts[c], -self.totals[c], c))

    def vector(self, image: int, policy: str) -> list[float] | None:
        counts = self.images.get(image)
        if not counts or policy == "none" or (policy == "unique" and len(counts) > 1):
            return None
        if policy in ("unique", "majority"):
            return [float(c == self.best(counts)) for c in range(CLASSES)]
        weights = [math.exp(counts[c]) if policy == "softmax" else counts[c] for c in range(CLASSES)]
        scale = math.sqrt(sum(w * w for w in weights)) if policy == "l2" else sum(weights)
        return [w / scale for w in weights]

    def product_class(self, product: Product, policy: str) -> int:
        counts = self.keys.get(frozenset(product.images))
        if not counts or policy == "none" or (policy == "unique" and len(counts) > 1):
            return -1
        return self.best(counts)

    def decided(self, product: Product, image_policy: str, product_policy: str) -> tuple[int, int]:
        by_key = self.product_class(product, "unique")
        if product_policy != "none" and by_key >= 0:
            return by_key, 2
        seen = [self.images.get(image, Counter()) for image in product.images]
        if image_policy not in ("none", "softmax") and all(len(counts) == 1 for counts in seen):
            agreed = {c for counts in seen for c in counts}
            if len(agreed) == 1:
                return agreed.pop(), 1
        return -1, 0


def vectors(decisions: Decisions) -> list[list[float] | None]:
    overrides = decisions.overrides
    result: list[list[float] | None] = []
    for image, known in enumerate(overrides.known):
        vector = np.full(CLASSES, overrides.base[image])
        entries = slice(overrides.start[image], overrides.start[image + 1])
        vector[overrides.class_index[entries]] = overrides.value[entries]
        result.append(vector.tolist() if known else None)
        assert known or (not vector.any() and overrides.start[image] == overrides.start[image + 1])
    return result


def assert_as_reference(
    decisions: Decisions, references: list[Reference], asked: list[Product], image: str, product: str
) -> None:
    pairs = list(zip(references, asked, strict=True))
    assert decisions.product_class.tolist() == [reference.product_class(p, product) for reference, p in pairs]
    decided = list(zip(decisions.decided.tolist(), decisions.decided_by.tolist(), strict=True))
    assert decided == [reference.decided(p, image, product) for reference, p in pairs]
    expected = [reference.vector(i, image) for reference, p in pairs for i in p.images]
    for actual, wanted in zip(vectors(decisions), expected, strict=True):
        assert actual == (wanted and pytest.approx(wanted, abs=1e-6))


@given(catalogs, catalogs, image_policies, product_policies)
@settings(max_examples=200)
def test_policies_agree_with_the_reference(
    training: list[Product], asked: list[Product], image: ImagePolicy, product: ProductPolicy
) -> None:
    decisions = decide(table_of(training), image, product, *images_of(asked), None)
    assert_as_reference(decisions, [Reference(training)] * len(asked), asked, image, product)


@given(catalogs, image_policies, product_policies)
@settings(max_examples=200)
def test_subtracting_the_own_contribution_is_a_table_without_the_product(
    catalog: list[Product], image: ImagePolicy, product: ProductPolicy
) -> None:
    decisions = decide(table_of(catalog), image, product, *images_of(catalog), classes_of(catalog))
    others = [Reference(catalog[:i] + catalog[i + 1 :]) for i in range(len(catalog))]
    assert_as_reference(decisions, others, catalog, image, product)


def assert_equal(a: DuplicateTable, b: DuplicateTable) -> None:
    assert a.class_totals.tolist() == b.class_totals.tolist()
    for one, other in ((a.images, b.images), (a.products, b.products)):
        assert one.key.tolist() == other.key.tolist()
        assert one.start.tolist() == other.start.tolist()
        assert one.class_index.tolist() == other.class_index.tolist()
        assert one.count.tolist() == other.count.tolist()


@given(catalogs, st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_the_order_of_products_and_images_does_not_change_a_table(catalog: list[Product], random: object) -> None:
    assert hasattr(random, "shuffle")
    shuffled = [Product(p.class_index, p.images[::-1]) for p in catalog]
    random.shuffle(shuffled)
    assert_equal(table_of(catalog), table_of(shuffled))


@pytest.mark.parametrize("block", [keys.BLOCK, 4])
def test_merging_is_building_over_all(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "BLOCK", block)

    @given(st.lists(catalogs, min_size=1, max_size=4))
    @settings(max_examples=60)
    def check(catalogs: list[list[Product]]) -> None:
        together = table_of([product for catalog in catalogs for product in catalog])
        assert_equal(merge([table_of(catalog) for catalog in catalogs]), together)

    check()


def test_a_tie_goes_to_the_globally_more_frequent_class_then_to_the_lower_index() -> None:
    training = [Product(2, (0,)), Product(3, (0,)), Product(1, (1,)), Product(0, (1,)), Product(3, (5,))]
    decisions = decide(table_of(training), "majority", "majority", *images_of([Product(-1, (0, 1))]), None)
    assert [np.argmax(vector) for vector in vectors(decisions) if vector] == [3, 0]


def test_an_image_twice_in_one_product_counts_twice() -> None:
    training = [Product(1, (0, 0)), Product(0, (0,)), Product(0, (3,))]
    decisions = decide(table_of(training), "l1", "none", *images_of([Product(-1, (0,))]), None)
    assert vectors(decisions) == [pytest.approx([1 / 3, 2 / 3, 0, 0])]


def test_softmax_spreads_over_all_classes_and_survives_large_counts() -> None:
    training = [Product(1, (0,))] * 2000 + [Product(2, (1,))]
    decisions = decide(table_of(training), "softmax", "none", *images_of([Product(-1, (0, 1))]), None)
    flat = math.e + CLASSES - 1
    assert vectors(decisions) == [[0, 1, 0, 0], pytest.approx([1 / flat, 1 / flat, math.e / flat, 1 / flat])]


def test_a_product_alone_with_its_images_says_nothing_about_itself() -> None:
    catalog = [Product(1, (0, 0, 1)), Product(2, (3,))]
    decisions = decide(table_of(catalog), "majority", "majority", *images_of(catalog), classes_of(catalog))
    assert not decisions.overrides.known.any()
    assert decisions.product_class.tolist() == decisions.decided.tolist() == [-1, -1]


def test_an_own_class_that_the_table_does_not_count_is_a_defect() -> None:
    table = table_of([Product(1, (0,))])
    with pytest.raises(ValueError, match="does not count"):
        decide(table, "unique", "unique", *images_of([Product(1, (0, 0))]), np.array([1], dtype=np.int32))
