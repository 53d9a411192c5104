"""What a probability is worth: accuracy against coverage, and calibration."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.domain import intervals
from shared.domain.intervals import Accuracy

Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

SHARES = (0.5, 0.8, 0.9, 0.95, 1.0)
TARGETS = (0.95, 0.98, 0.99)
CURVE_POINTS = 200
MOST_BINS, BIN_PRODUCTS = 15, 25  # a bin of fewer products says little


@dataclass(frozen=True, slots=True)
class Accepted:
    """All answers of at least this probability: which share of all products they are, and how many are right."""

    probability: float
    coverage: float
    accuracy: Accuracy


@dataclass(frozen=True, slots=True)
class Share:
    """What accepting at least the surest `asked` of all products gives; None where so many have no answer."""

    asked: float
    accepted: Accepted | None


@dataclass(frozen=True, slots=True)
class Target:
    """The most products that can be accepted at this accuracy; None where no number of them reaches it."""

    asked: float
    accepted: Accepted | None


@dataclass(frozen=True, slots=True)
class Coverage:
    """Accuracy against coverage. `curve` thins out the thresholds to about `CURVE_POINTS`."""

    n: int
    curve: tuple[Accepted, ...]
    shares: tuple[Share, ...]
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of neighbouring probabilities: their mean probability and how many are right."""

    probability: float
    lowest: float
    highest: float
    accuracy: Accuracy


@dataclass(frozen=True, slots=True)
class Calibration:
    """A reliability diagram over n answers, and the expected calibration error over its bins."""

    n: int
    error: float
    bins: tuple[Bin, ...]


def coverage(probability: Float64, right: Bool, answered: Bool) -> Coverage:
    """Accuracy among the answers that a probability threshold accepts, against their share of all n products.

    All three [n]. A product without an answer is never accepted, but it is one of the n: the curve of a job with
    errors ends before 100 %. Equal probabilities are accepted together or not at all, so the order of products does
    not matter. The targets are read off the products they are judged on: their intervals say how far to trust them.
    """
    n = len(probability)
    values, accepted, hits = _thresholds(probability[answered], right[answered])

    def at(place: int) -> Accepted:
        count = int(accepted[place])
        return Accepted(float(values[place]), count / n, intervals.accuracy(int(hits[place]), count))

    def share(asked: float) -> Share:
        place = int(np.searchsorted(accepted, np.ceil(asked * n - 1e-9)))
        return Share(asked, at(place) if place < len(accepted) else None)

    def target(asked: float) -> Target:
        reached = np.flatnonzero(hits >= asked * accepted - 1e-9)
        return Target(asked, at(int(reached[-1])) if len(reached) else None)

    places = (
        np.unique(np.searchsorted(accepted, np.linspace(1, accepted[-1], CURVE_POINTS))) if len(accepted) else accepted
    )
    return Coverage(
        n=n,
        curve=tuple(at(place) for place in places.tolist()),
        shares=tuple(map(share, SHARES)),
        targets=tuple(map(target, TARGETS)),
    )


def _thresholds(probability: Float64, right: Bool) -> tuple[Float64, Int64, Int64]:
    """The distinct probabilities, highest first; how many answers reach it, and how many of those are right."""
    order = np.argsort(-probability, kind="stable")
    ordered = probability[order]
    last = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True]) if len(ordered) else np.zeros(0, np.int64)
    return ordered[last], last.astype(np.int64) + 1, np.cumsum(right[order], dtype=np.int64)[last]


def calibration(probability: Float64, right: Bool) -> Calibration | None:
    """How often answers of a probability are right; None without answers.

    The expected calibration error is the mean of |accuracy - mean probability| over the bins, weighted by their size
    (Naeini, Cooper and Hauskrecht, 2015; Guo et al., 2017), over bins of equal count, of which there are at most
    `MOST_BINS`. Equal probabilities share a bin, so bins may differ in size: answers that duplicates decided are
    all certain. The error of few products is mostly noise and biased upwards: read it with its n.
    """
    n = len(probability)
    if not n:
        return None
    order = np.argsort(probability, kind="stable")
    p, hits = probability[order], right[order]
    wanted = min(MOST_BINS, max(1, n // BIN_PRODUCTS))
    ends = [int(np.searchsorted(p, p[n * (number + 1) // wanted - 1], side="right")) for number in range(wanted)]
    edges = np.unique([0, *ends]).tolist()
    bins = tuple(_bin(p[start:stop], hits[start:stop]) for start, stop in itertools.pairwise(edges))
    return Calibration(n, _expected_error(bins, n), bins)


def _bin(p: Float64, hits: Bool) -> Bin:
    return Bin(float(p.mean()), float(p[0]), float(p[-1]), intervals.accuracy(int(hits.sum()), len(p)))


def _expected_error(bins: Sequence[Bin], n: int) -> float:
    return sum(one.accuracy.n * abs(one.accuracy.share - one.probability) for one in bins) / n
