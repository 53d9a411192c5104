"""Duplicate tables and policies: what identical image bytes, seen in training, say about a product.

A table counts images as they stand in the dump: every occurrence, also a second one inside one product, and also those
that a split drops from training afterwards (else an MD5 with two categories would seem unique).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.domain import keys
from shared.domain.digests import UInt64
from shared.domain.ensemble import ImagePolicy, ProductPolicy
from shared.domain.keys import KeyCounts, product_keys

__all__ = [
    "DECIDED_BY_IMAGES",
    "DECIDED_BY_PRODUCT",
    "NOT_DECIDED",
    "Decisions",
    "DuplicateTable",
    "KeyCounts",
    "Overrides",
    "build",
    "decide",
    "merge",
    "product_keys",
]

Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

NOT_DECIDED = np.int8(0)
DECIDED_BY_IMAGES = np.int8(1)
DECIDED_BY_PRODUCT = np.int8(2)


@dataclass(frozen=True, slots=True, eq=False)
class DuplicateTable:
    """Classes counted over the labelled products of one dataset, or of one split's training part."""

    images: KeyCounts  # by MD5, counting images
    products: KeyCounts  # by product key, counting products
    class_totals: Int64  # int64[c], images per class: the globally more frequent class wins a tie

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_totals)

    @property
    def nbytes(self) -> int:
        """Memory that its arrays take."""
        return self.images.nbytes + self.products.nbytes + self.class_totals.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class Overrides:
    """What stands instead of the network's output for each of m images, in every model and view, before any mean.

    Image i with `known[i]` gets `base[i]` in every class but those of its entries, rows `start[i]` up to
    `start[i + 1]`, which hold theirs.
    """

    known: Bool  # bool[m], whether the image is overridden
    base: Float32  # float32[m], not 0 under `softmax` only
    start: Int64  # int64[m + 1]
    class_index: Int32  # int32[e]
    value: Float32  # float32[e]


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """What duplicates say about n products. A decided product needs no network: its answer is `decided`, certain."""

    product_class: Int32  # int32[n], overwrites the answer after the ensemble; -1: nothing to overwrite
    decided: Int32  # int32[n], the class, or -1 where the network is needed
    decided_by: Int8  # int8[n]: NOT_DECIDED, DECIDED_BY_IMAGES or DECIDED_BY_PRODUCT
    overrides: Overrides


@dataclass(frozen=True, slots=True, eq=False)
class _Entries:
    """Classes seen under each of m queries, the query's own contribution subtracted; grouped by query."""

    start: Int64  # int64[m + 1]
    query: Int64  # int64[e]
    class_index: Int32  # int32[e], ascending per query
    count: Int64  # int64[e], at least 1
    total: Int64  # int64[e], images of the class in the table, without the product's own


def build(class_index: Int32, first_image: Int64, image_md5: UInt64, classes: int) -> DuplicateTable:
    """The table of the products with a class: `class_index` int32[n], -1 for products that are not to be counted.

    `first_image` int64[n + 1], `image_md5` uint64[m, 2]. Beside its input and its result it holds 4 bytes per image,
    16 per product and one block of keys.
    """
    labelled = class_index >= 0
    lengths = np.diff(first_image)
    if not labelled.all():
        image_md5, lengths = image_md5[np.repeat(labelled, lengths)], lengths[labelled]
        class_index, first_image = class_index[labelled], np.append(0, np.cumsum(lengths))
    products = keys.count(product_keys(first_image, image_md5), class_index)
    image_class = np.repeat(class_index, lengths)
    totals = np.bincount(class_index, weights=lengths, minlength=classes).astype(np.int64)
    return DuplicateTable(keys.count(image_md5, image_class), products, totals)


def merge(tables: Sequence[DuplicateTable]) -> DuplicateTable:
    """One table of one or more tables over disjoint products: equal to `build` over all of them."""
    return DuplicateTable(
        images=keys.merge([table.images for table in tables]),
        products=keys.merge([table.products for table in tables]),
        class_totals=np.sum([table.class_totals for table in tables], axis=0),
    )


def decide(
    table: DuplicateTable,
    image_policy: ImagePolicy,
    product_policy: ProductPolicy,
    first_image: Int64,
    image_md5: UInt64,
    own_class: Int32 | None,
) -> Decisions:
    """What the table says about n products: `first_image` int64[n + 1], `image_md5` uint64[m, 2].

    `own_class` int32[n] is given when products are the table's own source: those with a class (0 or above) were
    counted in it, and their own images and product key are subtracted first, as if the table were built without this
    one product. Ties: the globally more frequent class, then the lower class index. Decided is a product whose key has
    exactly one class, unless the product policy is none; or whose images are all known with exactly one and the same
    class each, under an image policy that then answers this class (all but none and softmax).
    """
    products = len(first_image) - 1
    own = np.full(products, -1, dtype=np.int32) if own_class is None else own_class
    product_of = np.repeat(np.arange(products), np.diff(first_image))
    by_image = _image_entries(table, image_md5, product_of, own, np.diff(first_image))
    by_product = _product_entries(table, product_keys(first_image, image_md5), own, np.diff(first_image))
    unique_key = _only_class(by_product)
    product_class = np.full(products, -1, dtype=np.int32)
    if product_policy == "unique":
        product_class = unique_key
    elif product_policy == "majority":
        product_class = _best_class(by_product)
    by_key = unique_key if product_policy != "none" else np.full_like(unique_key, -1)
    by_images = np.full_like(unique_key, -1)
    if image_policy in ("unique", "majority", "l1", "l2"):
        by_images = _agreed_class(_only_class(by_image), first_image)
    decided_by = np.where(by_key >= 0, DECIDED_BY_PRODUCT, np.where(by_images >= 0, DECIDED_BY_IMAGES, NOT_DECIDED))
    return Decisions(
        product_class=product_class,
        decided=np.where(by_key >= 0, by_key, by_images),
        decided_by=decided_by.astype(np.int8),
        overrides=_overrides(by_image, image_policy, table.classes),
    )


def _image_entries(table: DuplicateTable, image_md5: UInt64, product_of: Int64, own: Int32, images: Int64) -> _Entries:
    rows = table.images.find(image_md5)
    query, class_index, count = table.images.entries(rows)
    order = np.lexsort((rows, product_of))
    run = np.cumsum(keys.starts(product_of[order], rows[order])) - 1
    occurrences = np.empty(len(rows), dtype=np.int64)  # of the image inside its own product
    occurrences[order] = np.bincount(run)[run] if len(run) else 0
    is_own = class_index == own[product_of[query]]
    total = table.class_totals[class_index] - images[product_of[query]] * is_own
    return _without(len(rows), query, class_index, count - occurrences[query] * is_own, total)


def _product_entries(table: DuplicateTable, product_key: UInt64, own: Int32, images: Int64) -> _Entries:
    query, class_index, count = table.products.entries(table.products.find(product_key))
    is_own = class_index == own[query]
    total = table.class_totals[class_index] - images[query] * is_own
    return _without(len(product_key), query, class_index, count.astype(np.int64) - is_own, total)


def _without(queries: int, query: Int64, class_index: Int32, count: Int64, total: Int64) -> _Entries:
    """Entries that are left after subtraction."""
    if (count < 0).any():
        raise ValueError("own_class names a product that this table does not count")
    left = count > 0
    lengths = np.bincount(query[left], minlength=queries)
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return _Entries(start, query[left], class_index[left], count[left], total[left])


def _only_class(entries: _Entries) -> Int32:
    """The class of each query with exactly one class, else -1: int32[m]."""
    result = np.full(len(entries.start) - 1, -1, dtype=np.int32)
    single = np.diff(entries.start) == 1
    result[single] = entries.class_index[entries.start[:-1][single]]
    return result


def _best_entry(entries: _Entries) -> Int64:
    """The winning entry of each query that has one, by ascending query."""
    order = np.lexsort((entries.class_index, -entries.total, -entries.count, entries.query))
    return order[keys.starts(entries.query[order])]


def _best_class(entries: _Entries) -> Int32:
    result = np.full(len(entries.start) - 1, -1, dtype=np.int32)
    best = _best_entry(entries)
    result[entries.query[best]] = entries.class_index[best]
    return result


def _agreed_class(image_class: Int32, first_image: Int64) -> Int32:
    """The class of each product whose images all have one and the same class, else -1: int32[n]."""
    lengths = np.diff(first_image)
    result = np.full(len(lengths), -1, dtype=np.int32)
    filled = np.flatnonzero(lengths)
    if len(filled):
        first = first_image[filled]
        lowest, highest = np.minimum.reduceat(image_class, first), np.maximum.reduceat(image_class, first)
        result[filled] = np.where(lowest == highest, lowest, -1)
    return result


def _overrides(entries: _Entries, policy: ImagePolicy, classes: int) -> Overrides:
    images = len(entries.start) - 1
    if policy in ("none", "unique", "majority"):
        lengths = np.diff(entries.start)
        taken = np.zeros(0, dtype=np.int64)
        if policy == "unique":
            taken = np.flatnonzero(lengths[entries.query] == 1)
        elif policy == "majority":
            taken = _best_entry(entries)
        start = np.searchsorted(entries.query[taken], np.arange(images + 1))
        base, class_index = np.zeros(images), entries.class_index[taken]
        value = np.ones(len(taken))
    else:
        start, class_index = entries.start, entries.class_index
        base, value = _spread(entries, policy, classes)
    return Overrides(
        known=np.diff(start) > 0,
        base=base.astype(np.float32),
        start=start.astype(np.int64),
        class_index=class_index,
        value=value.astype(np.float32),
    )


def _spread(entries: _Entries, policy: ImagePolicy, classes: int) -> tuple[Float64, Float64]:
    """Base value of each image and value of each entry under the policies that keep every class seen."""
    images, count = len(entries.start) - 1, entries.count.astype(np.float64)
    sums = np.bincount(entries.query, weights=count, minlength=images)
    if policy == "l1":
        return np.zeros(images), count / sums[entries.query]
    if policy == "l2":
        squares = np.bincount(entries.query, weights=count**2, minlength=images)
        return np.zeros(images), count / np.sqrt(squares)[entries.query]
    highest = np.zeros(images)
    np.maximum.at(highest, entries.query, count)
    absent = np.exp(-highest)
    seen = np.exp(count - highest[entries.query])
    lengths = np.diff(entries.start)
    mass = np.bincount(entries.query, weights=seen, minlength=images) + (classes - lengths) * absent
    return np.where(lengths > 0, absent / mass, 0.0), seen / mass[entries.query]
