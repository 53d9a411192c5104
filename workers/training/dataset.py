"""What a member trains on and what it is judged on, from pack indexes alone."""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from shared import layout
from shared.domain import keys, splits
from shared.domain.digests import mix, scatter, seed_of
from shared.domain.ensemble import Split
from shared.domain.errors import BadInputError
from shared.domain.label_sets import Classes
from shared.domain.product_images import EVERY_PRODUCT, ImageRange
from shared.packs import Manifest, read_indexes
from shared.ports import Objects

Int8 = npt.NDArray[np.int8]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """k images in dump order: where each one lies, and which product and class it belongs to."""

    pack_keys: tuple[str, ...]  # object keys of the packs
    pack: npt.NDArray[np.int32]  # int32[k], place in `pack_keys`
    offset: Int64  # int64[k], from the start of the pack
    length: Int64  # int64[k]
    product_id: Int64  # int64[k]
    number: Int64  # int64[k], the image's place in its product
    class_index: Int64  # int64[k]; of a multilabel dataset rows of its label sets
    row: Int64  # int64[k], place among all images of the dataset

    def __len__(self) -> int:
        return len(self.row)

    def followed_by(self, other: "Images") -> "Images":
        """These images, then `other` ones of the same dataset."""
        joined = (np.concatenate([getattr(self, name), getattr(other, name)]) for name in _PER_IMAGE)
        return Images(self.pack_keys, *joined)

    def take(self, keep: Bool | Int64) -> "Images":
        """The images where `keep` (bool[k]) holds, or those of these rows (int64[n])."""
        return Images(self.pack_keys, *(getattr(self, name)[keep] for name in _PER_IMAGE))


_PER_IMAGE = tuple(field.name for field in fields(Images) if field.name != "pack_keys")


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """A dataset divided for one member.

    `watch` is judged after every epoch; `held_out` holds the images of the holdout and of the blend part.
    """

    training: Images
    watch: Images
    held_out: Images
    part: Int8  # int8[len(held_out)], HOLDOUT or BLEND
    seen: Bool  # bool[len(held_out)], some image of its product is also one of the training part
    applies: Bool  # bool[len(held_out)], the member sees products of so many images

    def judged(self, rows: slice) -> Bool:
        """Which of these held-out images are of the holdout, and of products that the member sees."""
        return np.asarray((self.part[rows] == splits.HOLDOUT) & self.applies[rows])


def divide(
    objects: Objects,
    manifest: Manifest,
    classes: Classes,
    split: Split,
    sees: ImageRange = EVERY_PRODUCT,
    share: float = 1.0,
) -> Parts:
    """The parts of a dataset: labelled products only; `watch` products are taken out of training (I10).

    A member that `sees` some products only trains and is watched on those, and so is one that learns from a `share`
    of its training part. What is held out is the same for all members of a split: no member has learnt from a product
    that it does not see.
    """
    images, product, product_id, first_image, md5 = _read(objects, manifest, classes)
    part = splits.assign(split, product_id, first_image, md5)
    kept = splits.undropped(split, part, first_image, md5) & (images.class_index >= 0)
    image_part = part[product]
    watched = splits.watch(split.seed, product_id)[product]
    in_training = image_part == splits.TRAINING
    applies = sees.holds(np.diff(first_image))[product]
    learnt = kept & applies & in_training & splits.sampled(split.seed, share, product_id)[product]
    training = images.take(learnt & ~watched)
    if len(training) < 2:
        remedy = "lower the split's holdout, or ingest more labelled products"
        keys_of_member = [key for key, usual in (("images", sees == EVERY_PRODUCT), ("share", share == 1)) if not usual]
        raise BadInputError(
            f"dataset {manifest.dataset}",
            f"{len(training)} labelled images are left to train on, at least 2 are needed",
            remedy=", ".join([*(f"correct the member's key '{key}'" for key in keys_of_member), remedy]),
        )
    held = kept & ~in_training
    known = keys.count(md5[in_training], np.zeros(int(in_training.sum()), dtype=np.int32)).find(md5) >= 0
    seen = np.zeros(len(product_id), dtype=np.bool_)
    seen[product[known]] = True
    watch = images.take(learnt & watched)
    return Parts(training, watch, images.take(held), image_part[held], seen[product[held]], applies[held])


def epoch_order(images: Images, seed: int, epoch: int) -> Int64:
    """The order of an epoch's images, from (seed, epoch, product, image) alone: int64[k], rows of `images`."""
    return np.argsort(epoch_hashes(images, seed, epoch, "order"), kind="stable")


def drawn_order(images: Images, seed: int, epoch: int, weights: Float64) -> Int64:
    """As many images as there are, each drawn by its weight (float64[k]) from (seed, epoch) alone: int64[k]."""
    bits = scatter(seed_of(seed, epoch, "draw"), np.arange(len(images), dtype=np.int64))
    ends = np.cumsum(weights / weights.sum())
    return np.minimum(np.searchsorted(ends, bits / 2.0**64, side="right"), len(images) - 1)


def epoch_bits(images: Images, seed: int, epoch: int, word: str) -> Bool:
    """One random bit per image, from (seed, epoch, word, product, image) alone: bool[k]."""
    return (epoch_hashes(images, seed, epoch, word) >> np.uint64(63)).astype(np.bool_)


def epoch_hashes(images: Images, seed: int, epoch: int, word: str, rows: Int64 | None = None) -> npt.NDArray[np.uint64]:
    """64 random bits per image (of `rows`, else of all), from (seed, epoch, word, product, image) alone: uint64[k]."""
    own = seed_of(seed, epoch, word)
    product_id, number = images.product_id, images.number
    if rows is not None:
        product_id, number = product_id[rows], number[rows]
    return mix(scatter(own, product_id) ^ scatter(own, number))


def _read(
    objects: Objects, manifest: Manifest, table: Classes
) -> tuple[Images, Int64, Int64, Int64, npt.NDArray[np.uint64]]:
    indexes = [index for _, index in read_indexes(objects, manifest)]
    counts = np.concatenate([np.diff(index.first_image) for index in indexes])
    product = np.repeat(np.arange(len(counts)), counts)
    first_image = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    product_id = np.concatenate([index.product_id for index in indexes])
    classes = table.index_of(np.concatenate([index.category_id for index in indexes]))
    images = Images(
        pack_keys=tuple(layout.pack(ref.dataset, ref.number) for ref in manifest.packs),
        pack=np.repeat(np.arange(len(indexes)), [index.images for index in indexes]).astype(np.int32),
        offset=np.concatenate([index.image_offset for index in indexes]),
        length=np.concatenate([index.image_length for index in indexes]),
        product_id=product_id[product],
        number=np.arange(len(product)) - first_image[product],
        class_index=classes[product],
        row=np.arange(len(product)),
    )
    return images, product, product_id, first_image, np.concatenate([index.image_md5 for index in indexes])
