"""Fitting weights of members and thresholds of labels by F1; every result is deterministic."""

import numpy as np
import numpy.typing as npt

from shared.domain import label_figures, means, swarm
from shared.domain.ensemble import Mean
from shared.domain.fits import SURE

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


def mixed(alone: Float32, learnt: Bool, weights: Float64, mean: Mean) -> Float64:
    """The mean of m members for n products: float32[n, m, labels], bool[m, labels], float64[m] -> float64[n, labels].

    A label's mean is over the members that have learnt it, as in scoring.
    """
    shares = means.of_labels(weights, learnt)
    shares = shares / shares.sum(axis=0)
    with np.errstate(invalid="ignore"):  # what has no share may be infinite
        terms = np.where(shares > 0, means.transform(alone.astype(np.float64), mean.power) * shares, 0)
    return np.asarray(means.inverse(terms.sum(axis=1), mean.power), dtype=np.float64)


def weights(alone: Float32, learnt: Bool, known: Bool, mean: Mean) -> Float64:
    """The weights float64[m], whose sum is 1, under which answers at `SURE` have the highest micro F1 that a particle
    swarm finds; `known` bool[n, labels]."""

    def score(given: Float64) -> float:
        if not given.sum():
            return -1.0
        said = mixed(alone, learnt, given, mean) > SURE
        return float(label_figures.f1(label_figures.counts(said, known).sum(axis=1)))

    found = swarm.best(score, alone.shape[1])
    return np.asarray(found / found.sum())


def one_threshold(probabilities: Float64, known: Bool) -> float:
    """The threshold of all labels with the highest micro F1; both [n, labels]. `SURE` where no label is known."""
    return _threshold(probabilities.ravel(), known.ravel())


def thresholds(probabilities: Float64, known: Bool) -> Float64:
    """The threshold of each label with its highest F1, `SURE` for one that no product has: float64[labels]."""
    return np.array([_threshold(*of) for of in zip(probabilities.T, known.T, strict=True)])


def _threshold(probability: Float64, known: Bool) -> float:
    """In the middle between the least probability that is answered and the next one below it."""
    if not known.any():
        return SURE
    order = np.argsort(-probability, kind="stable")
    ordered, right = probability[order], np.cumsum(known[order])
    last = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True][: len(ordered)])  # of equal probabilities
    scores = 2 * right[last] / (last + 1 + right[-1])
    place = int(scores.argmax())
    below = ordered[last[place] + 1] if last[place] + 1 < len(ordered) else 0.0
    return float((ordered[last[place]] + below) / 2)
