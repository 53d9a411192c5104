"""Stacking: the answer is the product of members' probabilities to learnt powers, times a factor for each category.

A logistic regression on the logarithms of what members say of a product, whose coefficients all categories share
(Wolpert, "Stacked generalization", 1992; without negative ones, see Breiman, "Stacked regressions", 1996). Powers need
not sum to 1, so a member that is too sure of itself gets a lower one; all 1 / m and no bias is the geometric mean.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.domain.fitting import LEAST
from shared.domain.means import normalise

Float = npt.NDArray[np.floating[Any]]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

BIAS = 0.25
"""The deviation of a bias before data speak, in nats, of a normal distribution: a category of few products keeps one
near 0, and even as many categories as products cost by chance no more than about 0.01 nats."""


def logarithms(alone: Float) -> Float:
    """Of probabilities; 0 counts as `LEAST`."""
    return np.log(np.maximum(alone, LEAST))


def stacked(alone: Float, powers: Float64, biases: Float64) -> Float64:
    """Members' probabilities of products float[n, members, classes] as one answer that sums to 1, float64[n, classes].

    `powers` float64[members], 0 or above; `biases` float64[classes] or [1] are the logarithms of the factors. A member
    of power 0 takes no part. A row is 0 where one that takes part is vetoed, see `means.vetoed`.
    """
    given = alone[:, powers > 0].astype(np.float64)
    scores = powers[powers > 0] @ logarithms(given) + biases
    answers = normalise(np.exp(scores - scores.max(axis=1, keepdims=True)))
    sound = np.all(given.max(axis=2, initial=0) > 0, axis=1)
    return np.where(sound[:, None], answers, 0)


def objective(logs: Float32, known: Int64, counted: Bool) -> Callable[[Float64], tuple[float, Float64]]:
    """The mean log loss in nats of stacked answers, and its gradient, as a function of the powers and, behind them, the
    biases, or no biases.

    Of those of n products that are `counted`, bool[n]; `logs` float32[n, members, classes], `known` int64[n]. With a
    normal distribution for each bias (`BIAS`) and for each power, of mean 1 / members and deviation 1.
    """
    members, rows, count = logs.shape[1], np.arange(len(known)), counted.sum()

    def at(parameters: Float64) -> tuple[float, Float64]:
        powers, biases = parameters[:members], parameters[members:]
        scores = (powers.astype(np.float32) @ logs).astype(np.float64)
        if len(biases):
            scores += biases
        scores -= scores.max(axis=1, keepdims=True)
        losses = -scores[rows, known]
        np.exp(scores, out=scores)
        total = scores.sum(axis=1)
        losses += np.log(total)
        residual = scores / total[:, None]
        residual[rows, known] -= 1
        residual[~counted] = 0
        of_powers = (logs @ residual.astype(np.float32)[:, :, None])[:, :, 0].sum(axis=0, dtype=np.float64)
        of_biases = residual.sum(axis=0)[: len(biases)]
        off = np.r_[powers - 1 / members, biases / BIAS**2]
        loss = losses[counted].sum() + off[:members] @ off[:members] / 2 + off[members:] @ biases / 2
        return float(loss / count), (np.r_[of_powers, of_biases] + off) / count

    return at


def start(members: int, biases: int) -> Float64:
    """The geometric mean."""
    return np.concatenate([np.full(members, 1 / members), np.zeros(biases)])
