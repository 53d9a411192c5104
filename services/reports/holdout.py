"""The products that several runs held out, whole and block by block, with what duplicates in training say of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from services.reports.tasks import task_of
from shared import duplicate_tables, layout, run_files
from shared.domain import duplicates, ensemble_rules, means, stacking
from shared.domain.duplicates import Decisions
from shared.domain.ensemble import Ensemble, ImagePolicy, Means, ProductPolicy, from_plain
from shared.domain.errors import NotFoundError
from shared.domain.fits import SOURCES, Fit
from shared.domain.label_sets import LabelSets
from shared.domain.product_images import EACH_IMAGE, EVERY_PRODUCT
from shared.domain.records import EnsembleVersion
from shared.holdout_scores import VIEWS, Block, Shared
from shared.packs import read_classes, read_indexes, read_manifest, read_taxonomy
from shared.ports import Objects

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]

Policy = tuple[ImagePolicy, ProductPolicy]

_MODEL, _IMAGE, _PRODUCT = range(len(SOURCES))


@dataclass(frozen=True, slots=True)
class Mix:
    """Whose scores are combined, and how: `fit` says what is instead of `means`' weights, or of the mean of members."""

    members: tuple[str, ...]
    views: tuple[str, ...]
    means: Means
    fit: Fit = field(default_factory=Fit)


def held_out_by(objects: Objects, version: EnsembleVersion, members: Sequence[str]) -> Shared:
    """The products that all of these members, and what they started from, held out. Raises BadInputError: none."""
    parent_of = ensemble_rules.parents(from_plain(version.document).members)
    before = [version.runs[name] for member in members for name in ensemble_rules.ancestors(member, parent_of)]
    return Shared(objects, [version.runs[member] for member in members], before)


class Holdout:
    """The products of `shared`, of the runs of `members`; the duplicates are of the first one's training part."""

    def __init__(self, objects: Objects, version: EnsembleVersion, shared: Shared, members: Sequence[str]) -> None:
        """Raises NotFoundError where the dataset or the duplicate table is gone."""
        self._shared = shared
        self._members = list(members)
        self.taxonomy = read_taxonomy(objects, version.dataset)
        classes = read_classes(objects, read_manifest(objects, version.dataset), self.taxonomy)
        self.task = task_of(self.taxonomy, classes)
        self._sets = classes if isinstance(classes, LabelSets) else None
        self._learnt = np.stack([self._learnt_by(objects, version.runs[member]) for member in members])
        ensemble: Ensemble = from_plain(version.document)
        key = layout.duplicate_table(version.dataset, ensemble.members[members[0]].split.digest)
        try:
            self._table = duplicate_tables.read(objects, key, classes.classes)
        except NotFoundError:
            raise NotFoundError(
                f"there is no {key}; `shelver train` the ensemble's file again, which makes it"
            ) from None
        self.first_image, self.image_md5 = _whole_products(objects, version.dataset, shared.product_id)
        self.product_id: Int64 = shared.product_id
        self.seen: Bool = shared.seen  # of each product, whether it shares an image with training
        ranges = [ensemble.members[member].images for member in members]
        self.sees_all = all(one == EVERY_PRODUCT for one in ranges)  # whether each member answers for every product
        self._applies = np.stack([one.holds(np.diff(self.first_image)) for one in ranges], axis=1)
        self._asked = _Asked(
            self._members,
            None if self._sets is None else self._learnt,
            np.array([ensemble.members[member].joint == EACH_IMAGE for member in members]),
        )

    @property
    def sets(self) -> LabelSets:
        """The label sets of a multilabel dataset."""
        assert self._sets is not None
        return self._sets

    @property
    def training_images(self) -> Int64:
        """Images of each category, or label set, in the first member's training part: int64[classes]."""
        return self._table.class_totals

    @property
    def learnt(self) -> Bool:
        """Which labels each member has learnt: bool[members, labels]."""
        return self._learnt

    def _learnt_by(self, objects: Objects, run: str) -> Bool:
        labels = run_files.read_labels(objects, run) if self._sets is not None else ()
        return np.isin(np.arange(self.taxonomy.classes), labels or np.arange(self.taxonomy.classes))

    def parts(self, policies: Iterable[Policy]) -> Iterator["Part"]:
        """All products of which an image can be decoded, in dump order, some at a time."""
        distinct = set(policies)
        for block in self._shared.blocks(self.taxonomy.classes):
            first, last = self.first_image[block.products.start], self.first_image[block.products.stop]
            starts = self.first_image[block.products.start : block.products.stop + 1] - first
            decisions = {policy: self._decide(policy, starts, self.image_md5[first:last]) for policy in distinct}
            part = Part(block, self._shared, self._asked, starts, decisions, self._applies[block.products])
            if len(part.rows):
                yield part

    def _decide(self, policy: Policy, first_image: Int64, image_md5: UInt64) -> Decisions:
        decisions = duplicates.decide(self._table, *policy, first_image, image_md5, None)
        return replace(decisions, overrides=self.task.spread(decisions.overrides))


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    names: list[str]
    learnt: Bool | None  # [members, labels], of a multilabel ensemble
    each_image: Bool  # [members], those whose answers duplicates of images override: all but joint ones


class Part:
    """n products of a block of which an image could be decoded, and those images."""

    def __init__(
        self,
        block: Block,
        shared: Shared,
        asked: _Asked,
        starts: Int64,
        decisions: Mapping[Policy, Decisions],
        applies: Bool,
    ) -> None:
        """`applies` bool[products, members]: who sees which."""
        self._learnt = asked.learnt
        self._told = asked.each_image
        lengths = np.diff(shared.first_image[block.products.start : block.products.stop + 1])
        product = np.repeat(np.arange(len(lengths)), lengths)
        decoded = ~(np.isnan(block.scores[:, :, 0, 0]) & applies[product]).any(axis=1)
        product = product[decoded]
        counts = np.bincount(product, minlength=len(lengths))
        self._there = counts > 0
        self._applies = applies[self._there]
        self._members = asked.names
        self._decisions = decisions
        self._scores = block.scores[decoded]
        self._first_image = np.append(0, np.cumsum(counts[self._there])).astype(np.int64)
        self._starts = starts
        number = shared.images.number[block.images][decoded]
        self._images: Int64 = np.repeat(starts[:-1][self._there], np.diff(self._first_image)) + number
        self.rows: Int64 = np.flatnonzero(self._there) + block.products.start  # of `Shared.product_id`
        self.known: Int64 = shared.class_index[block.products][self._there]

    def alone(self, mix: Mix) -> Float64:
        """What the networks say: float64[n, classes]."""
        return self._combine(self._scores, mix)

    def by_member(self, mix: Mix) -> Float64:
        """What each member says alone, to sum to 1: float64[n, members, classes]."""
        return self._by_member(self._scores, mix)

    def answers(self, mix: Mix, policy: Policy) -> Float64:
        """The same, duplicate images overridden as the policy says, but not for joint members."""
        overrides = self._decisions[policy].overrides
        known = overrides.known[self._images]
        combined = self._combine(self._scores, mix)
        if not known.any():
            return combined
        told = self._scores.copy()
        dense = _dense(self._decisions[policy], self._images[known], told.shape[-1])
        told[np.ix_(known, self._told)] = dense[:, None, None]
        answers = self._combine(told, mix)
        if self._learnt is not None:  # no label at all is an answer
            return answers
        return np.asarray(means.fall_back(answers, combined), np.float64)

    def answered(self, members: Sequence[str]) -> Bool:
        """Which of n products some of these members see."""
        chosen = [self._members.index(name) for name in members]
        return np.asarray(self._applies[:, chosen].any(axis=1))

    def product_class(self, policy: Policy) -> Int64:
        """The class that product duplicates overwrite an answer with, -1 for none: int64[n]."""
        return self._decisions[policy].product_class[self._there].astype(np.int64)

    def decided(self, policy: Policy) -> tuple[Int64, Int64]:
        """Of n products the place of their source in `SOURCES`, and the class that duplicates decide, -1 for none."""
        decisions = self._decisions[policy]
        by_key, by_images = self.product_class(policy), decisions.decided[self._there].astype(np.int64)
        known = np.append(0, np.cumsum(decisions.overrides.known))[self._starts]
        some_image = np.diff(known)[self._there] > 0
        all_images = decisions.decided_by[self._there] == duplicates.DECIDED_BY_IMAGES
        decided = np.where(by_key >= 0, by_key, by_images)
        by_product = (decided >= 0) & ~((by_key < 0) & all_images)
        source = np.where(by_product, _PRODUCT, np.where((decided >= 0) | some_image, _IMAGE, _MODEL))
        return source.astype(np.int64), decided

    def _by_member(self, scores: Float32, mix: Mix) -> Float64:
        of_members = [self._combine(scores, replace(mix, members=(name,), fit=Fit())) for name in mix.members]
        return np.stack([means.normalise(of_member) for of_member in of_members], axis=1)

    def _combine(self, scores: Float32, mix: Mix) -> Float64:
        if mix.fit.powers:
            return stacking.stacked(self._by_member(scores, mix), *mix.fit.stack(mix.members))
        members = [self._members.index(name) for name in mix.members]
        views = [VIEWS.index(name) for name in mix.views]
        weights = mix.fit.weighing(mix.members, mix.means.weights)
        if not (weights > 0).any():
            weights = np.ones(len(weights))  # a single member of weight 0 is asked alone
        if self._learnt is not None:
            weights = means.of_labels(weights, self._learnt[members])
        given, applies = scores[:, members][:, :, views], self._applies[:, members]
        if applies.all():
            return means.combine(given, self._first_image, mix.means, weights)
        return means.combine_applying(given, self._first_image, mix.means, weights, applies)


def _dense(decisions: Decisions, images: Int64, classes: int) -> Float32:
    """Distributions of overridden images, [n, classes]."""
    given = decisions.overrides
    dense = np.repeat(given.base[images][:, None], classes, axis=1)
    for row, image in enumerate(images.tolist()):
        entries = slice(given.start[image], given.start[image + 1])
        dense[row, given.class_index[entries]] = given.value[entries]
    return dense


def _whole_products(objects: Objects, dataset: str, product_id: Int64) -> tuple[Int64, UInt64]:
    """Where each product's images start, and the MD5 of every image: also of those that a split dropped."""
    order = np.argsort(product_id, kind="stable")
    lengths = np.zeros(len(product_id), np.int64)
    found: dict[int, UInt64] = {}
    for _, index in read_indexes(objects, read_manifest(objects, dataset)):
        place = np.searchsorted(product_id[order], index.product_id)
        rows = np.flatnonzero(product_id[order][np.minimum(place, len(order) - 1)] == index.product_id)
        for row, product in zip(rows.tolist(), order[place[rows]].tolist(), strict=True):
            found[product] = index.image_md5[index.first_image[row] : index.first_image[row + 1]]
            lengths[product] = len(found[product])
    md5 = np.concatenate([found[product] for product in range(len(product_id))])
    return np.append(0, np.cumsum(lengths)).astype(np.int64), md5
