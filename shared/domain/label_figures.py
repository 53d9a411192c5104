"""Figures of label sets: what was answered against what is known, per label, over all (micro) and as means (macro)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.domain import intervals
from shared.domain.intervals import Average

Bool = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

Entries = tuple[Int64, Int64]


def counts(said: Bool, known: Bool) -> Int64:
    """Per label how often it was answered rightly, wrongly, and missed: bool[n, labels] -> int64[3, labels]."""
    both = (said & known).sum(axis=0, dtype=np.int64)
    return np.stack([both, said.sum(axis=0, dtype=np.int64) - both, known.sum(axis=0, dtype=np.int64) - both])


def f1(counted: npt.NDArray[Any]) -> Float64:
    """F1 of counts [3, ...]: twice the right ones among all that were answered or known; 0 where there is none."""
    right, wrong, missed = counted.astype(np.float64)
    total = 2 * right + wrong + missed
    return np.asarray(np.divide(2 * right, total, out=np.zeros_like(right), where=total > 0))


def micro(counted: npt.NDArray[Any]) -> dict[str, float]:
    """Precision, recall and F1 of int64[3, labels] over all labels together; each 0 where it is not defined."""
    return {name: float(value[0]) for name, value in _scores(counted.sum(axis=1)[:, None]).items()}


def macro(counted: npt.NDArray[Any]) -> dict[str, float]:
    """The same as means over the labels that occur among the known ones; 0 where none does."""
    occurring = counted[:, counted[0] + counted[2] > 0]
    return {name: float(value.mean()) if len(value) else 0.0 for name, value in _scores(occurring).items()}


def _scores(counted: npt.NDArray[Any]) -> dict[str, Float64]:
    right, wrong, missed = counted.astype(np.float64)
    return {
        "precision": right / np.maximum(right + wrong, 1),
        "recall": right / np.maximum(right + missed, 1),
        "f1": f1(counted),
    }


def f1_average(by_product: npt.NDArray[np.integer[Any]]) -> Average:
    """The micro F1 of n products (counts int64[n, 3]) with its 95 % interval, as `intervals.statistic` draws it."""
    return intervals.statistic(by_product, f1)


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """All that n products were answered or have, one entry per product and label: e of them."""

    products: int
    labels: int
    product: Int64  # int64[e]
    label: Int64  # int64[e]
    kind: Int64  # int64[e]: answered rightly, wrongly, or missed

    @classmethod
    def of(cls, products: int, labels: int, said: Entries, known: Entries) -> "Marks":
        """From the places among the products and the labels of what was answered, and of what is known."""
        answered, true = (product * labels + label for product, label in (said, known))
        missed = ~np.isin(true, answered)
        kind = np.append(np.where(np.isin(answered, true), 0, 1), np.full(missed.sum(), 2))
        both = np.append(answered, true[missed])
        return cls(products, labels, both // labels, both % labels, kind)

    def by_product(self) -> Int64:
        """Counts int64[n, 3]."""
        return np.bincount(self.product * 3 + self.kind, minlength=3 * self.products).reshape(-1, 3)

    def by_label(self) -> Int64:
        """Counts int64[3, labels]."""
        return self._sums(np.ones(self.products)).astype(np.int64)

    def macro_f1(self) -> Average:
        """Mean F1 over the labels that occur among the n products, one or more, with the interval of a bootstrap.

        A draw lacks every third of the labels that one product has, and they are left out of its mean: draws are about
        the mean of fewer labels, frequent ones above all. How far they lie apart is right, where they lie is not:
        percentiles may be all above the mean, or below, and what corrects them by the share of draws below it (BCa)
        then has none to go by.
        """
        n = self.products
        noise = np.random.default_rng(0)
        drawn = (np.bincount(noise.integers(0, n, n), minlength=n) for _ in range(intervals.RESAMPLES))
        draws = np.array([macro(self._sums(times))["f1"] for times in drawn])
        return intervals.around(macro(self.by_label())["f1"], draws, n)

    def _sums(self, times: npt.NDArray[Any]) -> Float64:
        """Counts [3, labels] of products that stand there so often."""
        place = self.kind * self.labels + self.label
        found = np.bincount(place, weights=times[self.product], minlength=3 * self.labels)
        return found.reshape(3, -1).astype(np.float64)
