"""Seeded divisions of a dataset by product. A product's part follows from its own id or images alone."""

import numpy as np
import numpy.typing as npt

from shared.domain import keys
from shared.domain.digests import UInt64, fractions, mix, scatter, seed_of
from shared.domain.ensemble import Split

Int8 = npt.NDArray[np.int8]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

TRAINING = np.int8(0)
HOLDOUT = np.int8(1)
BLEND = np.int8(2)

WATCH_SHARE = 0.05
"""Share of the training part that early stopping and plateau schedules watch."""


def assign(split: Split, product_id: Int64, first_image: Int64, image_md5: UInt64) -> Int8:
    """The part of each product: TRAINING, HOLDOUT or BLEND, int8[n].

    `product_id` int64[n], `first_image` int64[n + 1], `image_md5` uint64[m, 2]. The blend part is set aside before
    the split by the product key alone, so it is the same for every split of a file and shares no product key with the
    rest; `holdout` is then a share of what remains, by hash(seed, product id), or by hash(seed, product key) with
    `group: duplicates`, which keeps equal products on one side.
    """
    part = np.full(len(product_id), TRAINING)
    by_product_key = split.group == "duplicates"
    folded = _folded_keys(first_image, image_md5) if by_product_key or split.blend else product_id
    part[_share(seed_of(split.seed), folded if by_product_key else product_id, split.holdout)] = HOLDOUT
    if split.blend:
        part[_share(seed_of("blend"), folded, split.blend)] = BLEND
    return part


def watch(seed: int, product_id: Int64) -> Bool:
    """The products to watch if they are in the training part, by hash(seed, 'watch', id): int64[n] -> bool[n]."""
    return _share(seed_of(seed, "watch"), product_id, WATCH_SHARE)


def sampled(seed: int, share: float, product_id: Int64) -> Bool:
    """A share of the products, by hash(seed, 'share', id), so that a smaller one lies in a larger one: int64[n] ->
    bool[n]."""
    return _share(seed_of(seed, "share"), product_id, share)


def undropped(split: Split, part: Int8, first_image: Int64, image_md5: UInt64) -> Bool:
    """The images of the whole dataset that a split keeps: bool[m], all of them without `drop_duplicate_images`.

    `part` int8[n] as `assign` gives it, in dump order. Within training and within holdout separately, the first image
    of an MD5 in dump order stays; the blend part keeps all. A product of which no image is kept is dropped from its
    part: callers see it as a product without a True in the mask and leave it out of every count.
    """
    kept = np.ones(len(image_md5), dtype=np.bool_)
    if not split.drop_duplicate_images:
        return kept
    image_part = np.repeat(part, np.diff(first_image))
    for rows in keys.blocks(image_md5):
        order = rows[np.lexsort((rows, image_md5[rows, 1], image_md5[rows, 0], image_part[rows]))]
        kept[order] = keys.starts(image_part[order], image_md5[order, 0], image_md5[order, 1])
    kept[image_part == BLEND] = True
    return kept


def _share(seed: np.uint64, values: npt.NDArray[np.int64], share: float) -> Bool:
    return np.asarray(fractions(scatter(seed, values)) < share, dtype=np.bool_)


def _folded_keys(first_image: Int64, image_md5: UInt64) -> Int64:
    key = keys.product_keys(first_image, image_md5)
    return (key[:, 0] ^ mix(key[:, 1])).view(np.int64)
