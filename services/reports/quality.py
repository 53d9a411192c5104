"""Answers of one category against known ones: scikit-learn's figures, and accuracy per level, which it lacks."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.reports.answers import NO_ANSWER, Answers, CategoryColumns
from services.reports.task import Category, Confusion, Integer, Sure, Task, Wrong, area, by_category
from shared.domain import intervals, label_figures
from shared.domain.duplicates import Overrides
from shared.domain.fits import DECISIONS, LEVEL_OF, SURE, Fit
from shared.domain.intervals import Accuracy, Average
from shared.domain.taxonomy import Taxonomy
from shared.labels import Labels

Bool = npt.NDArray[np.bool_]
Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

MATRIX_CATEGORIES = 2000
"""Cohen's kappa is left out above: scikit-learn makes several square matrices of that many rows."""


@dataclass(frozen=True, slots=True)
class Macro:
    """Means over the categories that occur among n products; a category never answered has precision 0.

    `recall` is what scikit-learn calls balanced accuracy.
    """

    precision: float
    recall: float
    f1: float
    categories: int
    n: int


@dataclass(frozen=True, slots=True)
class Counted:
    """Precision, recall and F1 over all n products that count only the `answers` above 0.5; precision None if none.

    The way some published systems count: F1 can then stand above the accuracy.
    """

    precision: float | None
    recall: float
    f1: float
    answers: int
    n: int


@dataclass(frozen=True, slots=True)
class Quality:
    """All figures of one combination; a product without an answer is wrong in each. None where not defined."""

    accuracy: Accuracy
    levels: tuple[Accuracy, ...]
    top5: Accuracy
    macro: Macro
    macro_f1: Average  # its F1 with the interval
    counted: Counted
    counted_f1: Average
    auc: float | None
    matthews: float | None
    kappa: float | None


class OneCategory(Task[Answers, Quality]):
    """Every product is of one category."""

    kinds = 2

    def known(self, labels: Labels) -> Int64:
        """Classes."""
        return self.taxonomy.index_of(labels.category_id)

    def columns(self) -> CategoryColumns:
        """Of `Answers`."""
        return CategoryColumns()

    def quality(self, known: Int64, answers: Answers, scores: Float32 | None = None) -> Quality | None:
        """Scikit-learn's, and accuracy per level."""
        n = len(known)
        if not n:
            return None
        said = answers.class_index
        matthews, kappa = _agreement(known, said)
        return Quality(
            accuracy=intervals.accuracy(int(self.right(known, answers).sum()), n),
            levels=levels(self.taxonomy, known, said),
            top5=intervals.accuracy(int(answers.among_best.sum()), n),
            macro=_macro(known, said),
            macro_f1=macro_f1(known, said),
            counted=_counted(known, answers),
            counted_f1=_counted_f1(known, answers),
            auc=None if scores is None else area(self.truth(known), scores),
            matthews=matthews,
            kappa=kappa,
        )

    def truth(self, known: Int64) -> Bool:
        """One class each."""
        return np.asarray(known[:, None] == np.arange(self.taxonomy.classes))

    def right(self, known: Int64, answers: Answers) -> Bool:
        """Whose class was answered."""
        return np.asarray(answers.class_index == known)

    def sure(self, known: Int64, answers: Answers) -> Sure:
        """An answer is a product."""
        return answers.probability, self.right(known, answers), answers.class_index != NO_ANSWER

    def decided(self, known: Int64, answers: Answers) -> tuple[Int8, Bool]:
        """As the job stored it."""
        right = self.right(known, answers)
        for decision, level in LEVEL_OF.items():
            mine = answers.decision == DECISIONS.index(decision)
            right[mine] = answers.stop[mine] == self.taxonomy.node_of[level][known[mine]]
        return answers.decision, right

    def categories(self, known: Int64, answers: Answers) -> tuple[Category, ...]:
        """The worst recall first, then the one of more products, then the row in the table."""
        said = answers.class_index
        right, answered, true = (
            np.bincount(of, minlength=self.taxonomy.classes)
            for of in (known[known == said], said[said != NO_ANSWER], known)
        )
        found = by_category(self.taxonomy, np.stack([right, answered - right, true - right]), len(known))
        return tuple(sorted(found, key=lambda one: (one.recall.share, -one.recall.n)))

    def mistakes(self, known: Int64, answers: Answers) -> Wrong:
        """Products that were put into another category."""
        rows = np.flatnonzero((answers.class_index != NO_ANSWER) & (answers.class_index != known))
        rows = rows[np.argsort(-answers.probability[rows], kind="stable")]
        return Wrong(rows, answers.class_index[rows].astype(np.int64), answers.probability[rows])

    def confusions(self, known: Int64, wrong: Wrong, most: int) -> list[Confusion]:
        """Pairs (known, said)."""
        pairs = np.stack([known[wrong.row], wrong.said], axis=1)
        found, first, count = np.unique(pairs, axis=0, return_index=True, return_counts=True)
        return [
            Confusion(int(found[pair, 0]), int(found[pair, 1]), int(count[pair]), int(first[pair]))
            for pair in np.argsort(-count, kind="stable")[:most].tolist()
        ]

    def thresholds(self, known: Int64, answers: Answers, fit: Mapping[str, Any]) -> None:
        """None: there are no labels."""

    def counts(self, known: Int64, probabilities: Float64, decided: Int64, fit: Fit) -> Int64:  # noqa: ARG002
        """Right, or wrong: no temperature makes another class the best."""
        right = known == np.where(decided >= 0, decided, probabilities.argmax(axis=1))
        return np.column_stack([right, ~right]).astype(np.int64)

    @staticmethod
    def value(sums: Integer) -> Float64:
        """Accuracy."""
        return np.asarray(sums[0] / sums.sum(axis=0))

    def figure(self, counts: Integer) -> Accuracy:
        """Accuracy."""
        return intervals.accuracy(int(counts[:, 0].sum()), len(counts))

    def spread(self, overrides: Overrides) -> Overrides:
        """The same."""
        return overrides

    def names(self, known: int) -> int:
        """The category id."""
        return int(self.taxonomy.category_ids[known])


def levels(taxonomy: Taxonomy, known: Int64, said: Int32) -> tuple[Accuracy, ...]:
    """Per level of the tree, the share of answers that lie under the known class's node of that level."""
    answered = said != NO_ANSWER
    return tuple(
        intervals.accuracy(int((answered & (nodes[said] == nodes[known])).sum()), len(known))
        for nodes in taxonomy.node_of
    )


def _macro(known: Int64, said: Int32) -> Macro:
    from sklearn import metrics  # half a second, which comparisons and fits do not need

    occurring = np.unique(known)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        known, said, labels=occurring, average="macro", zero_division=0
    )
    return Macro(float(precision), float(recall), float(f1), len(occurring), len(known))


def macro_f1(known: Int64, said: Int32) -> Average:
    """Mean F1 over the categories that occur, with an interval by how much each product moves it: the infinitesimal
    jackknife (Efron and Tibshirani, 1993, chapter 21), since a bootstrap of thousands of categories takes minutes."""
    classes = int(max(known.max(), said.max())) + 1
    right, answered = known == said, said != NO_ANSWER
    true = np.bincount(known, minlength=classes)
    total = np.maximum(true + np.bincount(said[answered], minlength=classes), 1)
    f1 = np.where(true > 0, 2 * np.bincount(known[right], minlength=classes) / total, 0.0)
    moves = 2 * right / total[known] - f1[known] / total[known]
    moves[answered] -= f1[said[answered]] / total[said[answered]]
    occurring = int((true > 0).sum())
    return intervals.normal(float(f1.sum()) / occurring, math.sqrt(float((moves**2).sum())) / occurring, len(known))


def _counted_f1(known: Int64, answers: Answers) -> Average:
    sure, right = answers.probability > SURE, answers.class_index == known
    counts = np.column_stack([sure & right, sure & ~right, ~(sure & right)]).astype(np.int64)
    return label_figures.f1_average(counts)


def _counted(known: Int64, answers: Answers) -> Counted:
    from sklearn import metrics

    sure = answers.probability > SURE
    said = np.where(sure, answers.class_index, NO_ANSWER)
    classes = np.unique(np.r_[known, said[sure]])
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        known, said, labels=classes, average="micro", zero_division=0
    )
    count = int(sure.sum())
    return Counted(float(precision) if count else None, float(recall), float(f1), count, len(known))


def _agreement(known: Int64, said: Int32) -> tuple[float | None, float | None]:
    """Matthews' correlation and Cohen's kappa; not defined where only one class is known."""
    from sklearn import metrics

    if known.min() == known.max():
        return None, None
    matthews = float(metrics.matthews_corrcoef(known, said))
    if len(np.unique(np.r_[known, said])) > MATRIX_CATEGORIES:
        return matthews, None
    return matthews, float(metrics.cohen_kappa_score(known, said))
