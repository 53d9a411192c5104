"""Figures of label sets: what was answered against what is known, per label, over all (micro) and as means (macro)."""

from typing import Any

import numpy as np
import numpy.typing as npt

from shared.domain import intervals
from shared.domain.intervals import Average

Bool = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


def counts(said: Bool, known: Bool) -> Int64:
    """Per label how often it was answered rightly, wrongly, and missed: bool[n, labels] -> int64[3, labels]."""
    both = (said & known).sum(axis=0, dtype=np.int64)
    return np.stack([both, said.sum(axis=0, dtype=np.int64) - both, known.sum(axis=0, dtype=np.int64) - both])


def f1(counted: npt.NDArray[Any]) -> Float64:
    """F1 of counts [3, ...]: twice the right ones among all that were answered or known; 0 where there is none."""
    right, wrong, missed = counted.astype(np.float64)
    total = 2 * right + wrong + missed
    return np.asarray(np.divide(2 * right, total, out=np.zeros_like(right), where=total > 0))


def micro(counted: Int64) -> dict[str, float]:
    """Precision, recall and F1 of int64[3, labels] over all labels together; each 0 where it is not defined."""
    return {name: float(value[0]) for name, value in _scores(counted.sum(axis=1)[:, None]).items()}


def macro(counted: Int64) -> dict[str, float]:
    """The same as means over the labels that occur among the known ones; 0 where none does."""
    occurring = counted[:, counted[0] + counted[2] > 0]
    return {name: float(value.mean()) if len(value) else 0.0 for name, value in _scores(occurring).items()}


def _scores(counted: Int64) -> dict[str, Float64]:
    right, wrong, missed = counted.astype(np.float64)
    return {
        "precision": right / np.maximum(right + wrong, 1),
        "recall": right / np.maximum(right + missed, 1),
        "f1": f1(counted),
    }


def f1_average(by_product: Int64) -> Average:
    """The micro F1 of n products (counts int64[n, 3]) with its 95 % interval, as `intervals.average` draws it."""
    return intervals.statistic(by_product, lambda sums: float(f1(sums)))


def f1_gain(before: Int64, after: Int64) -> Average:
    """How much higher the micro F1 of the same n products is `after`: the paired bootstrap."""
    return intervals.statistic(np.hstack([before, after]), lambda sums: float(f1(sums[3:]) - f1(sums[:3])))
