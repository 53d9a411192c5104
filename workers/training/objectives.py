"""What a network learns: one category of many, or which of all labels; its loss, its answers and what is right."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from shared.domain.ensemble import Member
from shared.domain.errors import BadInputError
from shared.domain.fits import SURE
from shared.domain.label_sets import Classes, LabelSets
from shared.domain.taxonomy import Taxonomy
from workers.training import figures
from workers.training.dataset import Images, Parts
from workers.training.sheets import CategorySheet, LabelSheet, Sheet

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


class Objective(Protocol):
    """`truth` int64[n] are `Images.class_index`: categories, or rows of the label sets."""

    nearly: str
    """What a log calls the share of images that are nearly right."""

    def loss(self, logits: Tensor, truth: Tensor) -> Tensor:
        """What is learnt from: the mean over n images of [n, classes]."""

    def losses(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Of each image, without smoothing or weights: [n]."""

    def probabilities(self, logits: Tensor) -> Tensor:
        """[n, classes] -> [n, classes]."""

    def counts(self, logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """How many of n images are right, and how many nearly so."""

    def right(self, probabilities: npt.NDArray[np.floating], truth: Int64) -> Bool:
        """Which of n answers are right: bool[n]."""

    def sheet(self) -> Sheet:
        """Room for answers that are to be judged."""


class OneCategory:
    """Cross-entropy; right is the best class, nearly right one of the best five."""

    nearly = "top5"

    def __init__(self, smoothing: float) -> None:
        self._smoothing = smoothing

    def loss(self, logits: Tensor, truth: Tensor) -> Tensor:
        """See `Objective`."""
        return functional.cross_entropy(logits, truth, label_smoothing=self._smoothing)

    def losses(self, logits: Tensor, truth: Tensor) -> Tensor:
        """See `Objective`."""
        return functional.cross_entropy(logits, truth, reduction="none")

    def probabilities(self, logits: Tensor) -> Tensor:
        """See `Objective`."""
        return logits.softmax(1)

    def counts(self, logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """See `Objective`."""
        best = logits.topk(min(figures.TOP, logits.shape[1]), dim=1).indices
        return (logits.argmax(1) == truth).sum(), (best == truth[:, None]).any(1).sum()

    def right(self, probabilities: npt.NDArray[np.floating], truth: Int64) -> Bool:
        """See `Objective`."""
        return np.asarray(probabilities.argmax(axis=1) == truth)

    def sheet(self) -> CategorySheet:
        """See `Objective`."""
        return CategorySheet()


class Levels(OneCategory):
    """The category, and beside it the nodes of level 1 and 2 that it lies under, each by outputs of its own.

    Of [n, classes + nodes] logits those of the nodes come last, level by level; they are learnt from and never answer.
    """

    def __init__(self, smoothing: float, taxonomy: Taxonomy, weights: Sequence[float]) -> None:
        """`weights` of the losses of level 1 and 2; a level of weight 0 has no outputs."""
        super().__init__(smoothing)
        self._classes = taxonomy.classes
        self._levels = [
            (weight, torch.from_numpy(taxonomy.node_of[level].astype(np.int64)), len(taxonomy.nodes[level]))
            for level, weight in enumerate(weights)
            if weight
        ]

    @property
    def beside(self) -> int:
        """Outputs behind those of the classes."""
        return sum(nodes for _, _, nodes in self._levels)

    def loss(self, logits: Tensor, truth: Tensor) -> Tensor:
        """See `Objective`."""
        total, start = super().loss(logits[:, : self._classes], truth), self._classes
        for weight, node_of, nodes in self._levels:
            of_level = logits[:, start : start + nodes]
            total = total + weight * super().loss(of_level, node_of.to(truth.device)[truth])
            start += nodes
        return total

    def losses(self, logits: Tensor, truth: Tensor) -> Tensor:
        """See `Objective`; of the category alone."""
        return super().losses(logits[:, : self._classes], truth)

    def probabilities(self, logits: Tensor) -> Tensor:
        """See `Objective`."""
        return super().probabilities(logits[:, : self._classes])

    def counts(self, logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """See `Objective`."""
        return super().counts(logits[:, : self._classes], truth)


class ManyLabels:
    """Binary cross-entropy of every label that the member learns, their mean; the others have probability 0.

    Right is the whole set, by answers above `SURE`; nearly right is an image whose most probable label it has.
    """

    nearly = "first_label"

    def __init__(self, sets: LabelSets, learnt: Sequence[int], weights: Float32 | None, smoothing: float) -> None:
        """`learnt` are class indexes; `weights` float32[labels] multiply the loss of a label where it is there."""
        self._sets = sets
        self._learnt = torch.zeros(sets.labels).index_fill_(0, torch.tensor(list(learnt), dtype=torch.int64), 1.0)
        self._weights = None if weights is None else torch.from_numpy(weights)
        self._smoothing = smoothing

    def loss(self, logits: Tensor, truth: Tensor) -> Tensor:
        """See `Objective`."""
        targets = self._targets(truth) * (1 - self._smoothing) + self._smoothing / 2
        return self._losses(logits, targets, self._weights).mean()

    def losses(self, logits: Tensor, truth: Tensor) -> Tensor:
        """See `Objective`."""
        return self._losses(logits, self._targets(truth), None)

    def probabilities(self, logits: Tensor) -> Tensor:
        """See `Objective`."""
        return logits.sigmoid() * self._learnt.to(logits.device)

    def counts(self, logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """See `Objective`."""
        targets, probabilities = self._targets(truth) > 0, self.probabilities(logits)
        right = ((probabilities > SURE) == targets).all(1)
        return right.sum(), targets.gather(1, probabilities.argmax(1, keepdim=True)).sum()

    def right(self, probabilities: npt.NDArray[np.floating], truth: Int64) -> Bool:
        """See `Objective`."""
        return np.asarray(((probabilities > SURE) == (self._sets.dense(truth) > 0)).all(axis=1))

    def sheet(self) -> LabelSheet:
        """See `Objective`."""
        return LabelSheet(self._sets)

    def _targets(self, truth: Tensor) -> Tensor:
        return torch.from_numpy(self._sets.dense(truth.cpu().numpy())).to(truth.device, non_blocking=True)

    def _losses(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        learnt = self._learnt.to(logits)
        losses = functional.binary_cross_entropy_with_logits(
            logits,
            targets.to(logits),
            weight=learnt.expand_as(logits),
            pos_weight=None if weights is None else weights.to(logits),
            reduction="none",
        )
        return losses.sum(1) / learnt.sum()


def products_of(images: Images, sets: LabelSets) -> Int64:
    """How many of the images' products have each label: int64[labels]."""
    _, first = np.unique(images.product_id, return_index=True)
    return np.bincount(sets.entries(images.class_index[first])[1], minlength=sets.labels)


def learnt_labels(member: Member, images: Images, sets: LabelSets) -> list[int]:
    """The labels that a member learns of these training images: those that enough and not too many products have."""
    found = products_of(images, sets)
    enough = found >= max(1, member.labels.least)
    return np.flatnonzero(enough & (found <= member.labels.most) if member.labels.most else enough).tolist()


def rarity(images: Images, sets: LabelSets, learnt: Sequence[int]) -> Float64:
    """How often to draw each image when rare labels are to be seen as often as others: float64[k], above 0.

    One over the products that have its rarest label among those learnt; an image without any counts as the commonest.
    """
    found = products_of(images, sets)
    rarest = np.full(len(images), found[list(learnt)].max())
    place, label = sets.entries(images.class_index)
    mine = np.isin(label, list(learnt))
    np.minimum.at(rarest, place[mine], found[label[mine]])
    return 1 / rarest


def balanced_weights(images: Images, sets: LabelSets) -> Float32:
    """float32[labels]: products without a label for each one with it, so that both count alike in its loss."""
    found, products = products_of(images, sets), len(np.unique(images.product_id))
    return ((products - found) / np.maximum(found, 1)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Task:
    """What a member learns of its training part."""

    objective: Objective
    labels: tuple[int, ...] = ()  # class indexes, of a multilabel dataset
    draw: Float64 | None = None  # how often each training image is drawn; None: each comes once
    beside: int = 0  # outputs to learn from, behind those that answer


def task_of(member: Member, classes: Classes, parts: Parts) -> Task:
    """The task of a member on a dataset. Raises BadInputError where it would learn no label."""
    if not isinstance(classes, LabelSets):
        if not member.levels:
            return Task(OneCategory(member.label_smoothing))
        assert isinstance(classes, Taxonomy)  # there are no others
        levels = Levels(member.label_smoothing, classes, member.levels)
        return Task(levels, beside=levels.beside)
    images, asked = parts.training, member.labels
    learnt = learnt_labels(member, images, classes)
    if not learnt:
        number = f"{asked.least} to {asked.most} products" if asked.most else f"{asked.least} products or more"
        reason = f"no label has {number} in the training part"
        raise BadInputError(f"member {member.name}", reason, remedy="correct the member's labels: {least, most}")
    weights = balanced_weights(images, classes) if member.class_weights == "balanced" else None
    draw = rarity(images, classes, learnt) if member.sampling == "balanced" else None
    return Task(ManyLabels(classes, learnt, weights, member.label_smoothing), tuple(learnt), draw)
