"""Figures of answers against known classes: scikit-learn's, and accuracy per level of the tree, which it lacks."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn import metrics

from services.reports.answers import NO_ANSWER, Answers
from shared.domain import intervals
from shared.domain.intervals import Accuracy
from shared.domain.taxonomy import Taxonomy

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

SURE = 0.5
"""An answer of a higher probability counts in `Counted`."""
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
    """Precision, recall and F1 over all n products that count only the `answers` above `SURE`; precision None if none.

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
    counted: Counted
    matthews: float | None
    kappa: float | None


@dataclass(frozen=True, slots=True)
class Category:
    """One category: `recall` is the share of its products that were put into it, `said` how often it was answered."""

    category_id: int
    path: tuple[str, ...]
    recall: Accuracy
    precision: float | None
    f1: float
    said: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """Products of one category that were put into another."""

    known: int  # class index
    said: int  # class index
    count: int
    surest: int  # the row of the most certain of these mistakes


def judge(taxonomy: Taxonomy, known: Int32, answers: Answers) -> Quality | None:
    """The figures of answers for n products of the classes `known` (int32[n]); None where n is 0."""
    n = len(known)
    if not n:
        return None
    said = answers.class_index
    matthews, kappa = _agreement(known, said)
    return Quality(
        accuracy=intervals.accuracy(int((said == known).sum()), n),
        levels=levels(taxonomy, known, said),
        top5=intervals.accuracy(int(answers.among_best.sum()), n),
        macro=_macro(known, said),
        counted=_counted(known, answers),
        matthews=matthews,
        kappa=kappa,
    )


def levels(taxonomy: Taxonomy, known: Int32, said: Int32) -> tuple[Accuracy, ...]:
    """Per level of the tree, the share of answers that lie under the known class's node of that level."""
    answered = said != NO_ANSWER
    return tuple(
        intervals.accuracy(int((answered & (nodes[said] == nodes[known])).sum()), len(known))
        for nodes in taxonomy.node_of
    )


def _macro(known: Int32, said: Int32) -> Macro:
    occurring = np.unique(known)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        known, said, labels=occurring, average="macro", zero_division=0
    )
    return Macro(float(precision), float(recall), float(f1), len(occurring), len(known))


def _counted(known: Int32, answers: Answers) -> Counted:
    sure = answers.probability > SURE
    said = np.where(sure, answers.class_index, NO_ANSWER)
    classes = np.unique(np.r_[known, said[sure]])
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        known, said, labels=classes, average="micro", zero_division=0
    )
    count = int(sure.sum())
    return Counted(float(precision) if count else None, float(recall), float(f1), count, len(known))


def _agreement(known: Int32, said: Int32) -> tuple[float | None, float | None]:
    """Matthews' correlation and Cohen's kappa; not defined where only one class is known."""
    if known.min() == known.max():
        return None, None
    matthews = float(metrics.matthews_corrcoef(known, said))
    if len(np.unique(np.r_[known, said])) > MATRIX_CATEGORIES:
        return matthews, None
    return matthews, float(metrics.cohen_kappa_score(known, said))


def categories(taxonomy: Taxonomy, known: Int32, said: Int32) -> tuple[Category, ...]:
    """Every category that occurs, the worst recall first, then the one of more products, then the row in the table."""
    occurring = np.unique(known)
    precision, _, f1, n = metrics.precision_recall_fscore_support(
        known, said, labels=occurring, average=None, zero_division=0
    )
    hits = np.bincount(known[known == said], minlength=taxonomy.classes)[occurring]
    times = np.bincount(said[said != NO_ANSWER], minlength=taxonomy.classes)[occurring]
    return tuple(
        Category(
            category_id=int(taxonomy.category_ids[occurring[row]]),
            path=taxonomy.paths[occurring[row]],
            recall=intervals.accuracy(int(hits[row]), int(n[row])),
            precision=float(precision[row]) if times[row] else None,
            f1=float(f1[row]),
            said=int(times[row]),
        )
        for row in np.lexsort((occurring, -n, hits / n)).tolist()
    )


def confusions(known: Int32, answers: Answers, most: int) -> list[Confusion]:
    """The pairs (known, said) that were mixed up most often, at most `most` of them."""
    rows = mistakes(known, answers)
    pairs = np.stack([known[rows], answers.class_index[rows]], axis=1)
    found, first, count = np.unique(pairs, axis=0, return_index=True, return_counts=True)
    return [
        Confusion(int(found[pair, 0]), int(found[pair, 1]), int(count[pair]), int(rows[first[pair]]))
        for pair in np.argsort(-count, kind="stable")[:most].tolist()
    ]


def mistakes(known: Int32, answers: Answers) -> Int64:
    """The rows of wrong answers, the most certain first; equally certain ones in their order."""
    rows = np.flatnonzero((answers.class_index != NO_ANSWER) & (answers.class_index != known))
    return rows[np.argsort(-answers.probability[rows], kind="stable")]
