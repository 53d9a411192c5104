"""Fitting weights, temperature and thresholds on products that were held out; every result is deterministic."""

from typing import Any

import numpy as np
import numpy.typing as npt

from shared.domain import intervals
from shared.domain.digests import UInt64, scatter, seed_of
from shared.domain.fits import DECISIONS, Thresholds

Float = npt.NDArray[np.floating[Any]]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

TEMPERATURES: Float64 = 2.0 ** (np.arange(-16, 17) / 8)
"""Those that are tried: 1/4 to 4 in steps of 9 %, 1 among them."""

LEAST = 2.0**-25
"""Taken for a probability that is 0 when its logarithm is asked: half of the smallest that a stored score can be."""

_GAP = 1e-6  # nats of log loss that weights may lie above the best ones
_MOST_STEPS = 10_000


def groups(first_image: Int64, image_md5: UInt64) -> Int64:
    """Numbers of n products, int64[n]: equal where they share an image, or each shares one with a third, and so on.

    `first_image` int64[n + 1], `image_md5` uint64[m, 2]. Products of one product key share their images.
    """
    product = np.repeat(np.arange(len(first_image) - 1), np.diff(first_image))
    distinct, image = np.unique(image_md5, axis=0, return_inverse=True)
    group = np.arange(len(first_image) - 1)
    while True:
        lowest = np.full(len(distinct), len(group))
        np.minimum.at(lowest, image, group[product])
        joined = group.copy()
        np.minimum.at(joined, product, lowest[image])
        joined = joined[joined]  # its group may have joined another meanwhile
        if (joined == group).all():
            return group
        group = joined


def folds(group: Int64, count: int) -> Int64:
    """A fold below `count` for each of n products, int64[n]: whole groups, in a scattered order, dealt out in turn."""
    numbers, place = np.unique(group, return_inverse=True)
    turn = np.empty(len(numbers), np.int64)
    turn[np.argsort(scatter(seed_of("fold"), numbers), kind="stable")] = np.arange(len(numbers)) % count
    return turn[place]


def mixture_weights(known: Float64) -> Float64:
    """The weights float64[m] on the simplex under which a mean of m members has the least log loss.

    `known` float64[n, m] is the probability that each member alone gives to the right class, n at least 1. The
    multiplicative steps of Cover ("An algorithm for maximizing expected log investment return", 1984), which are those
    of EM for a mixture's shares: none makes the loss higher, and the largest factor bounds what is left to gain.
    """
    known = np.maximum(known, LEAST)
    weights = np.full(known.shape[1], 1 / known.shape[1])
    for _ in range(_MOST_STEPS):
        factors = (known / (known @ weights)[:, None]).mean(axis=0)
        if factors.max() - 1 < _GAP:
            break
        weights = weights * factors
    return np.asarray(weights / weights.sum())


def mixture_losses(known: Float64, weights: Float64) -> Float64:
    """The log loss in nats of each of n products under a mean of members, from what `mixture_weights` takes: [n]."""
    return np.asarray(-np.log(np.maximum(known @ (weights / weights.sum()), LEAST)))


def tempered_losses(probabilities: Float, known: Int64) -> Float64:
    """The log loss in nats of float[n, classes] at each temperature: float64[n, len(TEMPERATURES)].

    `known` int64[n] are the right classes; rows of `probabilities` sum to 1, or are 0 where every class is vetoed,
    which costs as much as `LEAST`. Temperature scaling: Guo et al., "On calibration of modern neural networks", 2017.
    """
    with np.errstate(divide="ignore"):
        logs = np.log(probabilities.astype(np.float64))
    right = np.maximum(logs[np.arange(len(logs)), known], np.log(LEAST))
    losses = np.empty((len(logs), len(TEMPERATURES)))
    for place, temperature in enumerate(TEMPERATURES.tolist()):
        total = np.exp(logs / temperature).sum(axis=1)
        losses[:, place] = np.where(
            total > 0, np.log(np.where(total > 0, total, 1)) - right / temperature, -np.log(LEAST)
        )
    return losses


def best_temperature(losses: Float64) -> float:
    """The temperature of the least mean of `tempered_losses`."""
    return float(TEMPERATURES[losses.mean(axis=0).argmin()])


def thresholds(probability: Float64, right: Bool, accuracy: float) -> Thresholds:
    """The lowest probability of each decision at which those it is made for are right often enough.

    Both [n, 3], by decision: the probability of the category, of the best node of level 2 and of level 1, and whether
    it is right. Often enough: the lower end of Wilson's 95 % interval is at least `accuracy`, above 0. A coarser
    decision is fitted on the products that no finer one is made for.
    """
    left = np.ones(len(probability), np.bool_)
    found: list[float | None] = []
    for step in range(len(DECISIONS) - 1):
        least = _threshold(probability[left, step], right[left, step], accuracy)
        found.append(least)
        if least is not None:
            left &= probability[:, step] < least
    accept, second, first = found
    return accept, second, first


def _threshold(probability: Float64, right: Bool, accuracy: float) -> float | None:
    order = np.argsort(-probability, kind="stable")
    ordered = probability[order]
    last = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True][: len(ordered)])  # of equal probabilities
    low = intervals.lower_bounds(np.cumsum(right[order], dtype=np.int64)[last], last + 1)
    reached = np.flatnonzero(low >= accuracy)
    return float(ordered[last[reached[-1]]]) if len(reached) else None


def decisions(found: Thresholds, probability: Float64) -> Int64:
    """The place in `DECISIONS` of each of n products, int64[n], from the probabilities that `thresholds` takes."""
    decided = np.full(len(probability), len(DECISIONS) - 1)
    for step in reversed(range(len(found))):
        least = found[step]
        if least is not None:
            decided[probability[:, step] >= least] = step
    return decided
