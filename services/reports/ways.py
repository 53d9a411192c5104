"""What each of several ways to answer makes of the products that were held out, from stored scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shared import duplicate_tables, layout
from shared.domain import duplicates, means
from shared.domain.duplicates import Decisions
from shared.domain.ensemble import ImagePolicy, Means, ProductPolicy, from_plain
from shared.domain.errors import NotFoundError
from shared.domain.records import EnsembleVersion
from shared.holdout_scores import VIEWS, Block, Shared
from shared.packs import read_indexes, read_manifest, read_taxonomy
from shared.ports import Objects

Bool = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to answer from the same scores."""

    members: tuple[str, ...]
    views: tuple[str, ...]
    means: Means
    images: ImagePolicy
    products: ProductPolicy


class Judge:
    """Answers every product in every way."""

    def __init__(
        self, objects: Objects, version: EnsembleVersion, shared: Shared, members: Sequence[str], ways: Sequence[Way]
    ) -> None:
        self._shared = shared
        self._members = list(members)
        self._ways = ways
        self._classes = read_taxonomy(objects, version.dataset).classes
        split = from_plain(version.document).members[members[0]].split
        key = layout.duplicate_table(version.dataset, split.digest)
        try:
            self._table = duplicate_tables.read(objects, key, self._classes)
        except NotFoundError:
            raise NotFoundError(
                f"there is no {key}; `shelver train` the ensemble's file again, which makes it"
            ) from None
        self._first_image, self._md5 = _whole_products(objects, version.dataset, shared.product_id)

    def run(self) -> tuple[npt.NDArray[np.bool_], Bool]:
        """bool [ways, products] that are right, and bool [products] that could be judged."""
        products = len(self._shared.product_id)
        right = np.zeros((len(self._ways), products), np.bool_)
        judged = np.zeros(products, np.bool_)
        for block in self._shared.blocks(self._classes):
            some = _Some(block, self._shared)
            judged[block.products] = some.there
            if not some.there.any():
                continue
            first, last = self._first_image[block.products.start], self._first_image[block.products.stop]
            starts = self._first_image[block.products.start : block.products.stop + 1] - first
            policies = {(way.images, way.products) for way in self._ways}
            decided = {
                policy: duplicates.decide(self._table, *policy, starts, self._md5[first:last], None)
                for policy in policies
            }
            known = self._shared.class_index[block.products][some.there]
            rows = np.flatnonzero(some.there) + block.products.start
            for place, way in enumerate(self._ways):
                answers = self._answers(some, way, decided[way.images, way.products], starts)
                right[place, rows] = answers == known
        return right, judged

    def _answers(self, some: "_Some", way: Way, decisions: Decisions, starts: Int64) -> Int64:
        """The class of each product of which an image could be decoded."""
        members = [self._members.index(name) for name in way.members]
        views = [VIEWS.index(name) for name in way.views]
        weights = np.array([way.means.weights.get(name, 1.0) for name in way.members])
        if not (weights > 0).any():
            weights = np.ones(len(weights))  # a single member of weight 0 is asked alone
        scores = some.scores[:, members][:, :, views]
        alone: npt.NDArray[np.floating[Any]] = means.combine(scores, some.first_image, way.means, weights)
        combined = alone
        images = np.repeat(starts[:-1][some.there], np.diff(some.first_image)) + some.number
        known = decisions.overrides.known[images]
        if known.any():
            told = scores.copy()
            told[known] = _dense(decisions, images[known], scores.shape[-1])[:, None, None]
            combined = means.fall_back(means.combine(told, some.first_image, way.means, weights), alone)
        best = combined.argmax(axis=1)
        product_class = decisions.product_class[some.there]
        return np.where(product_class >= 0, product_class, best)


class _Some:
    """The products of a block of which an image could be decoded, and those images."""

    def __init__(self, block: Block, shared: Shared) -> None:
        decoded = ~np.isnan(block.scores[:, :, 0, 0]).any(axis=1)
        lengths = np.diff(shared.first_image[block.products.start : block.products.stop + 1])
        product = np.repeat(np.arange(len(lengths)), lengths)[decoded]
        counts = np.bincount(product, minlength=len(lengths))
        self.there: Bool = counts > 0
        self.first_image: Int64 = np.append(0, np.cumsum(counts[self.there])).astype(np.int64)
        self.scores = block.scores[decoded]
        self.number: Int64 = shared.images.number[block.images][decoded]


def _dense(decisions: Decisions, images: Int64, classes: int) -> npt.NDArray[np.float32]:
    """Distributions of overridden images, [n, classes]."""
    given = decisions.overrides
    dense = np.repeat(given.base[images][:, None], classes, axis=1)
    for row, image in enumerate(images.tolist()):
        entries = slice(given.start[image], given.start[image + 1])
        dense[row, given.class_index[entries]] = given.value[entries]
    return dense


def _whole_products(objects: Objects, dataset: str, product_id: Int64) -> tuple[Int64, npt.NDArray[np.uint64]]:
    """Where each product's images start, and the MD5 of every image: also of those that a split dropped."""
    order = np.argsort(product_id, kind="stable")
    lengths = np.zeros(len(product_id), np.int64)
    found: dict[int, npt.NDArray[np.uint64]] = {}
    for _, index in read_indexes(objects, read_manifest(objects, dataset)):
        place = np.searchsorted(product_id[order], index.product_id)
        rows = np.flatnonzero(product_id[order][np.minimum(place, len(order) - 1)] == index.product_id)
        for row, product in zip(rows.tolist(), order[place[rows]].tolist(), strict=True):
            found[product] = index.image_md5[index.first_image[row] : index.first_image[row + 1]]
            lengths[product] = len(found[product])
    md5 = np.concatenate([found[product] for product in range(len(product_id))])
    return np.append(0, np.cumsum(lengths)).astype(np.int64), md5
