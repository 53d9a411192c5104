"""Right and wrong answers: places of the true class, and precision, recall and F1 by scikit-learn."""

from typing import Any

import numpy as np
import numpy.typing as npt

from shared.domain import intervals

Bool = npt.NDArray[np.bool_]
Float = npt.NDArray[np.floating]
Int64 = npt.NDArray[np.int64]

TOP = 5
_UNSURE = -1


def places(probabilities: Float, class_index: Int64) -> Int64:
    """How many classes are ahead of the true one (among equals the lower index): [n, classes], int64[n] -> int64[n].

    0 means right, less than `TOP` among the best five.
    """
    own = np.take_along_axis(probabilities, class_index[:, None], axis=1)
    earlier = np.arange(probabilities.shape[1]) < class_index[:, None]
    return np.asarray(((probabilities > own) | ((probabilities == own) & earlier)).sum(axis=1), dtype=np.int64)


def answers(probabilities: Float, class_index: Int64) -> Int64:
    """Place of the true class, answer and true class: [n, classes], int64[n] -> int64 [n, 3]."""
    return np.stack([places(probabilities, class_index), probabilities.argmax(axis=1), class_index], axis=1)


def accuracy(right: Bool) -> dict[str, Any]:
    """The share of right answers among all, bool[n], as a run's files hold it."""
    return intervals.accuracy(int(right.sum()), len(right)).plain()


def macro(truth: Int64, answer: Int64) -> dict[str, float]:
    """Precision, recall and F1, each the mean over the classes that occur in `truth`; int64[n], n > 0."""
    return _scores(truth, answer, np.unique(truth), "macro")


def half(truth: Int64, answer: Int64, probability: Float) -> dict[str, float]:
    """Micro precision, recall and F1 when only answers of a probability above 0.5 count; [n] each, n > 0.

    System 2 reports its F1 this way, which is why it lies above its accuracy.
    """
    sure = np.where(probability > 0.5, answer, _UNSURE)
    return _scores(truth, sure, np.union1d(truth, sure[sure != _UNSURE]), "micro")


def _scores(truth: Int64, answer: Int64, labels: Int64, average: str) -> dict[str, float]:
    from sklearn.metrics import precision_recall_fscore_support  # a second, which not every rank or attempt needs

    found = precision_recall_fscore_support(truth, answer, labels=labels, average=average, zero_division=0)
    return {name: float(value) for name, value in zip(("precision", "recall", "f1"), found[:3], strict=True)}
