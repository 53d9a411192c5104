"""Answered label sets against known ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.reports.answers import NO_ANSWER, LabelAnswers, LabelColumns
from services.reports.task import Category, Confusion, Integer, Sure, Task, Thresholds, Wrong, area, by_category
from shared.domain import intervals, label_figures
from shared.domain.duplicates import Overrides
from shared.domain.fits import SURE, Fit, from_plain
from shared.domain.intervals import Accuracy, Average
from shared.domain.label_figures import Marks
from shared.domain.label_sets import LabelSets
from shared.domain.taxonomy import Taxonomy
from shared.labels import Labels

Bool = npt.NDArray[np.bool_]
Int8 = npt.NDArray[np.int8]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LabelScores:
    """Precision, recall and F1 over `labels` labels of n products."""

    precision: float
    recall: float
    f1: float
    labels: int
    n: int


@dataclass(frozen=True, slots=True)
class LabelQuality:
    """The figures of a combination of a multilabel ensemble; a product with an error answers no label."""

    accuracy: Accuracy  # whole sets
    first: Accuracy  # products that have their most probable label
    micro: LabelScores  # all labels together
    micro_f1: Average  # its F1 with the interval
    macro: LabelScores  # means over the labels that occur
    macro_f1: Average
    auc: float | None


class ManyLabels(Task[LabelAnswers, LabelQuality]):
    """Every product has a set of labels."""

    kinds = 3

    def __init__(self, taxonomy: Taxonomy, sets: LabelSets) -> None:
        """`sets` are those of the known labels."""
        super().__init__(taxonomy)
        self._sets = sets

    def known(self, labels: Labels) -> Int64:
        """Rows of the label sets."""
        return self._sets.index_of(labels.category_id)

    def columns(self) -> LabelColumns:
        """Of `LabelAnswers`."""
        return LabelColumns(self.taxonomy.classes)

    def quality(self, known: Int64, answers: LabelAnswers, scores: Float32 | None = None) -> LabelQuality | None:
        """Micro and macro, and whole sets."""
        n, labels = len(known), self.taxonomy.classes
        if not n:
            return None
        marks = self._marks(known, answers, answers.answered)
        by_label = marks.by_label()
        product, label = self._sets.entries(known)
        first = np.unique(product[label == answers.class_index[product]])
        return LabelQuality(
            accuracy=intervals.accuracy(int(self.right(known, answers).sum()), n),
            first=intervals.accuracy(len(first), n),
            micro=LabelScores(**label_figures.micro(by_label), labels=labels, n=n),
            micro_f1=label_figures.f1_average(marks.by_product()),
            macro=LabelScores(**label_figures.macro(by_label), labels=int((by_label[0] + by_label[2] > 0).sum()), n=n),
            macro_f1=marks.macro_f1(),
            auc=None if scores is None else area(self.truth(known), scores),
        )

    def truth(self, known: Int64) -> Bool:
        """Labels."""
        return self._sets.dense(known) > 0

    def right(self, known: Int64, answers: LabelAnswers) -> Bool:
        """Those that got exactly their labels."""
        counts = self._marks(known, answers, answers.answered).by_product()
        return np.asarray((answers.class_index != NO_ANSWER) & ~counts[:, 1:].any(axis=1))

    def sure(self, known: Int64, answers: LabelAnswers) -> Sure:
        """An answer is a label."""
        right, mine = self._true(known, answers), answers.answered
        return answers.probability[mine], right[mine], np.ones(mine.sum(), np.bool_)

    def decided(self, known: Int64, answers: LabelAnswers) -> tuple[Int8, Bool]:  # noqa: ARG002  # of every task
        """None: a label is answered or not."""
        return np.full(len(known), NO_ANSWER, np.int8), np.zeros(len(known), np.bool_)

    def categories(self, known: Int64, answers: LabelAnswers) -> tuple[Category, ...]:
        """The worst F1 first, then the label of more products, then the row in the table."""
        counts = self._marks(known, answers, answers.answered).by_label()
        return tuple(
            sorted(by_category(self.taxonomy, counts, len(known)), key=lambda one: (one.f1.mean, -one.recall.n))
        )

    def mistakes(self, known: Int64, answers: LabelAnswers) -> Wrong:
        """Labels that a product was given and does not have, the most certain one of each product."""
        rows = np.flatnonzero(answers.answered & ~self._true(known, answers))
        rows = rows[np.argsort(-answers.probability[rows], kind="stable")]
        _, first = np.unique(answers.product[rows], return_index=True)
        rows = rows[np.sort(first)]
        return Wrong(answers.product[rows], answers.label[rows], answers.probability[rows])

    def confusions(self, known: Int64, wrong: Wrong, most: int) -> list[Confusion]:  # noqa: ARG002  # of every task
        """None: a label is not answered in the place of another one."""
        return []

    def thresholds(self, known: Int64, answers: LabelAnswers, fit: Mapping[str, Any]) -> Thresholds | None:
        """By answers at 0.5 that are stored beside those given."""
        if not fit.get("label_thresholds"):
            return None
        given = from_plain(fit).of_labels(self.taxonomy.classes).tolist()
        by_label = dict(zip(self.taxonomy.category_ids.tolist(), given, strict=True))
        if not answers.whole.all():
            return Thresholds(by_label, None, None, None, None)
        before, after = (self._marks(known, answers, which) for which in (answers.probability > SURE, answers.answered))
        macro, macro_after = (label_figures.macro(of.by_label())["f1"] for of in (before, after))
        return Thresholds(
            by_label=by_label,
            without=label_figures.f1_average(before.by_product()),
            gain=self.gain(before.by_product(), after.by_product()),
            macro_without=macro,
            macro_gain=macro_after - macro,
        )

    def counts(self, known: Int64, probabilities: Float64, decided: Int64, fit: Fit) -> Int64:
        """Of all labels: answered rightly, wrongly, and missed."""
        said = probabilities > fit.of_labels(self.taxonomy.classes)
        said[decided >= 0] = self._sets.dense(decided[decided >= 0]) > 0
        return label_figures.counts(said.T, self.truth(known).T).T

    @staticmethod
    def value(sums: Integer) -> Float64:
        """Micro F1."""
        return label_figures.f1(sums)

    def figure(self, counts: Integer) -> Average:
        """Micro F1."""
        return label_figures.f1_average(counts)

    def spread(self, overrides: Overrides) -> Overrides:
        """Sets as their labels, which add up."""
        return self._sets.spread(overrides)

    def names(self, known: int) -> tuple[int, ...]:
        """The ids of all labels."""
        return tuple(self.taxonomy.category_ids[self._sets.of(known)].tolist())

    def _marks(self, known: Int64, answers: LabelAnswers, which: Bool) -> Marks:
        """What the entries where `which` holds answer, beside what is known."""
        product, label = self._sets.entries(known)
        said = answers.product[which], answers.label[which]
        return Marks.of(len(known), self.taxonomy.classes, said, (product.astype(np.int64), label.astype(np.int64)))

    def _true(self, known: Int64, answers: LabelAnswers) -> Bool:
        """Which entries are of a label that their product has: bool[e]."""
        product, label = self._sets.entries(known)
        labels = self.taxonomy.classes
        return np.isin(answers.product * labels + answers.label, product * labels + label)
