"""What the task of an ensemble decides where answers are judged: how those of a job are held, and by which figures."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from services.reports.answers import Columns
from shared.domain import intervals, label_figures
from shared.domain.duplicates import Overrides
from shared.domain.fits import Fit
from shared.domain.intervals import Accuracy, Average
from shared.domain.taxonomy import Taxonomy
from shared.labels import Labels

Bool = npt.NDArray[np.bool_]
Int8 = npt.NDArray[np.int8]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

A = TypeVar("A")
Q = TypeVar("Q")

Integer = npt.NDArray[np.integer[Any]]
Figure = Accuracy | Average

Sure = tuple[Float64, Bool, Bool]
"""Of each answer its probability, whether it is right, and whether there is one."""


@dataclass(frozen=True, slots=True)
class Category:
    """One category or label: `recall` is the share of its products that got it, `said` how often it was answered."""

    category_id: int
    path: tuple[str, ...]
    recall: Accuracy
    precision: float | None
    f1: Average  # over all products judged
    said: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """Products of one category that were put into another."""

    known: int  # class index
    said: int  # class index
    count: int
    surest: int  # the place of the most certain of them among the mistakes


@dataclass(frozen=True, slots=True, eq=False)
class Wrong:
    """Wrong answers, the most certain first; equally certain ones in the order of products."""

    row: Int64
    said: Int64  # class index
    probability: Float64


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Fitted thresholds of labels, and what they do on the judged products beside answers above 0.5."""

    by_label: Mapping[int, float]  # by category id
    without: Average | None  # micro F1; None, as what follows, where a product may have labels above 0.5 not stored
    gain: Average | None  # of the micro F1, paired
    macro_without: float | None
    macro_gain: float | None


class Task(ABC, Generic[A, Q]):
    """One way in which products are labelled, with answers A and figures Q.

    `known` int64[n] are classes, or rows of label sets, of the n products that the answers are of.
    """

    kinds: int
    """Of `counts`."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy

    @abstractmethod
    def known(self, labels: Labels) -> Int64:
        """What each of these labels names; all of them are in the taxonomy."""

    @abstractmethod
    def columns(self) -> Columns[A]:
        """Room for the answers of one combination."""

    @abstractmethod
    def quality(self, known: Int64, answers: A, scores: Float32 | None = None) -> Q | None:
        """All figures; None where n is 0. `scores` float32[n, classes], where the job has kept those of all classes."""

    @abstractmethod
    def truth(self, known: Int64) -> Bool:
        """Which classes or labels each product is of: bool[n, classes]."""

    @abstractmethod
    def right(self, known: Int64, answers: A) -> Bool:
        """Which products are answered as they should be: bool[n]."""

    @abstractmethod
    def sure(self, known: Int64, answers: A) -> Sure:
        """What accepting the surest answers is judged by."""

    @abstractmethod
    def decided(self, known: Int64, answers: A) -> tuple[Int8, Bool]:
        """Of each product the place of its decision in DECISIONS, NO_ANSWER for none, and whether it is right, at its
        own level, or for review its category: both [n]."""

    @abstractmethod
    def categories(self, known: Int64, answers: A) -> tuple[Category, ...]:
        """Every category or label that occurs, the worst first."""

    @abstractmethod
    def mistakes(self, known: Int64, answers: A) -> Wrong:
        """Wrong answers, at most one per product."""

    @abstractmethod
    def confusions(self, known: Int64, wrong: Wrong, most: int) -> list[Confusion]:
        """The pairs of categories that were mixed up most often, at most `most` of them."""

    @abstractmethod
    def thresholds(self, known: Int64, answers: A, fit: Mapping[str, Any]) -> Thresholds | None:
        """What the thresholds of labels in a fit's `plain` do; None where there are none."""

    @abstractmethod
    def counts(self, known: Int64, probabilities: Float64, decided: Int64, fit: Fit) -> Int64:
        """How often each product is answered rightly, wrongly, and not, int64[n, kinds], which `value` is of.

        By probabilities [n, classes] under the weights of `fit`, and the class or set that duplicates overwrite an
        answer with, -1 for none.
        """

    @staticmethod
    @abstractmethod
    def value(sums: Integer) -> Float64:
        """The figure by which ways to answer are compared, of sums of `counts`: int64[k, s] -> float64[s]."""

    @abstractmethod
    def figure(self, counts: Integer) -> Figure:
        """That figure of n products with its interval."""

    def gain(self, before: Integer, after: Integer) -> Average:
        """How much higher it is `after`, on the same n products: paired."""
        k = before.shape[1]
        return intervals.statistic(np.hstack([before, after]), lambda sums: self.value(sums[k:]) - self.value(sums[:k]))

    @abstractmethod
    def spread(self, overrides: Overrides) -> Overrides:
        """Overrides of classes or sets as those of the network's outputs."""

    @abstractmethod
    def names(self, known: int) -> int | tuple[int, ...]:
        """The category id of what a product is known to be, or those of all its labels."""


def area(truth: Bool, scores: Float32) -> float | None:
    """Mean area under the ROC curves of each class against all others, both [n, classes]: over the classes that some
    products are of and others are not; None without any."""
    from sklearn.metrics import roc_auc_score  # half a second, which comparisons and fits do not need

    some = np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0))
    if not len(some):
        return None
    return float(np.mean([roc_auc_score(truth[:, one], scores[:, one]) for one in some]))


def by_category(taxonomy: Taxonomy, counts: Int64, n: int) -> list[Category]:
    """Every category or label that occurs, in the order of the table: int64[3, classes] of n products, how often it was
    answered rightly, wrongly, and missed."""
    marks = np.vstack([np.eye(3, dtype=np.int64), np.zeros(3, dtype=np.int64)])
    return [
        Category(
            category_id=int(taxonomy.category_ids[row]),
            path=taxonomy.paths[row],
            recall=intervals.accuracy(right, right + missed),
            precision=right / (right + wrong) if right + wrong else None,
            f1=intervals.repeated(
                marks, np.array([right, wrong, missed, n - right - wrong - missed]), label_figures.f1
            ),
            said=right + wrong,
        )
        for row, (right, wrong, missed) in enumerate(counts.T.tolist())
        if right + missed
    ]
