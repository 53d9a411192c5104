"""Equal image bytes inside one dataset: repeated images, contradicting categories, placeholders."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.reports.contents import Contents, Int32, Int64
from shared.domain import keys
from shared.domain.digests import UInt64

PLACEHOLDER_PRODUCTS = 10
"""An image in at least this many products, of several categories, says nothing about any of them."""
PLACEHOLDER_CATEGORIES = 3

Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class DistinctImages:
    """The d distinct images (by MD5) of a dataset, by ascending MD5."""

    number: Int32  # int32[m], which of them each image is
    first: Int64  # int64[d], the row of its first image in dump order
    occurrences: Int64  # int64[d], images
    products: Int64  # int64[d], products that have it
    categories: Int64  # int64[d], categories that it stands in
    pair_image: Int64  # int64[p], distinct pairs of image and product
    pair_product: Int64  # int64[p]
    pair_occurrences: Int64  # int64[p], of the image inside the product


@dataclass(frozen=True, slots=True, eq=False)
class ImageSets:
    """The k distinct product keys: sets of images. Products without images, whose sets are all empty, are left out."""

    number: Int32  # int32[n], which of them each product has; -1 without images
    conflicting: Bool  # bool[k], whether it stands in several categories; never a set of nothing but placeholders


@dataclass(frozen=True, slots=True)
class Repeats:
    """What equal bytes say. `products_*` count products; conflicts are among labelled products."""

    distinct_images: int
    repeated_images: int  # MD5s of two or more images
    most_occurrences: int
    conflicting_images: int  # MD5s that stand in two or more categories
    products_with_conflicting_image: int
    products_with_image_twice: int
    distinct_keys: int  # sets of images, of products that have any
    products_sharing_key: int  # products whose set of images another product has too
    conflicting_keys: int  # such sets with two or more categories, those of nothing but placeholders left out
    products_with_conflicting_key: int
    placeholder_products_from: int  # the thresholds
    placeholder_categories_from: int  # 0: no product has a category, so only products count
    placeholders: int
    images_of_placeholders: int
    products_with_placeholder: int


def distinct(key: UInt64) -> tuple[Int32, Int64]:
    """Number equal keys: uint64[m, 2] -> the number of each row, int32[m], and the first row of each number, int64[d].

    Numbers ascend with the keys.
    """
    number = np.empty(len(key), dtype=np.int32)
    first: list[Int64] = []
    known = 0
    for rows in keys.blocks(key):
        order = rows[np.lexsort((key[rows, 1], key[rows, 0]))]
        new = keys.starts(key[order, 0], key[order, 1])
        number[order] = known + np.cumsum(new) - 1
        first.append(order[new])
        known += len(first[-1])
    return number, np.concatenate(first)


def distinct_images(contents: Contents) -> DistinctImages:
    """Number the dataset's images by MD5 and count where each stands."""
    number, first = distinct(contents.md5)
    products, images = max(contents.products, 1), len(first)
    pairs, occurrences = np.unique(number.astype(np.int64) * products + contents.product_of, return_counts=True)
    image, product = pairs // products, pairs % products
    return DistinctImages(
        number=number,
        first=first,
        occurrences=np.bincount(number, minlength=images),
        products=np.bincount(image, minlength=images),
        categories=_categories(image, contents.class_index[product], images, contents.classes),
        pair_image=image,
        pair_product=product,
        pair_occurrences=occurrences,
    )


def _categories(number: npt.NDArray[np.integer], class_index: Int32, numbers: int, classes: int) -> Int64:
    """Distinct classes under each number, those without a class left out: int64[numbers]."""
    labelled = class_index >= 0
    pairs = np.unique(number[labelled].astype(np.int64) * max(classes, 1) + class_index[labelled])
    return np.bincount(pairs // max(classes, 1), minlength=numbers)


def placeholders(contents: Contents, images: DistinctImages) -> Bool:
    """Which distinct images are placeholders by the thresholds: bool[d]."""
    return (images.products >= PLACEHOLDER_PRODUCTS) & (images.categories >= _categories_from(contents))


def _categories_from(contents: Contents) -> int:
    return PLACEHOLDER_CATEGORIES if bool((contents.class_index >= 0).any()) else 0


def image_sets(contents: Contents, images: DistinctImages) -> ImageSets:
    """Number the products by their product key."""
    telling = np.zeros(contents.products, dtype=np.bool_)  # products that have more than placeholders
    telling[images.pair_product[~placeholders(contents, images)[images.pair_image]]] = True
    filled = np.diff(contents.first_image) > 0
    number = np.full(contents.products, -1, dtype=np.int32)
    number[filled], first = distinct(keys.product_keys(contents.first_image, contents.md5)[filled])
    categories = _categories(number[telling], contents.class_index[telling], len(first), contents.classes)
    return ImageSets(number, categories > 1)


def describe_repeats(contents: Contents, images: DistinctImages, sets: ImageSets) -> Repeats:
    """Count what equal bytes say."""
    labelled = contents.class_index >= 0
    conflicting = images.categories > 1
    touched = conflicting[images.pair_image] & labelled[images.pair_product]
    filled = sets.number >= 0
    known = sets.number[filled]
    sharing = np.bincount(known, minlength=len(sets.conflicting))
    held = placeholders(contents, images)
    return Repeats(
        distinct_images=len(images.first),
        repeated_images=int((images.occurrences > 1).sum()),
        most_occurrences=int(images.occurrences.max(initial=0)),
        conflicting_images=int(conflicting.sum()),
        products_with_conflicting_image=_count(images.pair_product[touched]),
        products_with_image_twice=_count(images.pair_product[images.pair_occurrences > 1]),
        distinct_keys=len(sets.conflicting),
        products_sharing_key=int(sharing[sharing > 1].sum()),
        conflicting_keys=int(sets.conflicting.sum()),
        products_with_conflicting_key=int((sets.conflicting[known] & labelled[filled]).sum()),
        placeholder_products_from=PLACEHOLDER_PRODUCTS,
        placeholder_categories_from=_categories_from(contents),
        placeholders=int(held.sum()),
        images_of_placeholders=int(images.occurrences[held].sum()),
        products_with_placeholder=_count(images.pair_product[held[images.pair_image]]),
    )


def _count(values: Int64) -> int:
    return len(np.unique(values))
