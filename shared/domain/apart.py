"""Weights of members apart for categories with many training images and with few: a member may be good at either alone.

A product's answer is the mean under the weights that each category has, divided by its sum. Weights sum to 1 in both
groups, so what all members agree on stays as it is, a duplicate's label above all.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from shared.domain.fitting import LEAST

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

PRODUCTS = 300
"""That each group needs: its weights are a fit of their own, and a fit needs as many (I10)."""

SHARES = (1 / 2, 1 / 4, 1 / 8, 1 / 16)
"""Of the training images, that rare categories have together at most."""

_START = 1e-3  # the lowest weight to begin with: from 0 none comes back


def limits(images: Int64) -> tuple[int, ...]:
    """The numbers of training images that are tried as those from which a category is frequent, by those of each.

    Ascending; none leaves all categories in one group.
    """
    ordered = np.sort(images)
    held = np.cumsum(ordered) / max(ordered.sum(), 1)
    places = np.searchsorted(held, SHARES, side="right").clip(max=len(ordered) - 1)
    return tuple(sorted({limit for limit in ordered[places].tolist() if limit > ordered[0]}))


def losses(known: Float64, mass: Float64, rare: Bool, weights: Float64) -> Float64:
    """The log loss in nats of each of n products, float64[n], under weights float64[2, members]: frequent, rare.

    `known` float64[n, members] is what each member alone gives to the right category, `mass` float64[n, members] to all
    rare ones together, `rare` bool[n] whether the right one is rare.
    """
    right, total = _mixed(known, mass, rare, weights)
    return np.asarray(np.log(total / right))


def objective(known: Float64, mass: Float64, rare: Bool) -> Callable[[Float64], tuple[float, Float64]]:
    """The mean of `losses`, and its gradient, as a function of what `weights` takes."""
    rest = 1 - mass

    def at(parameters: Float64) -> tuple[float, Float64]:
        given = weights(parameters)
        right, total = _mixed(known, mass, rare, given)
        slope = np.stack(
            [rest.T @ (1 / total) - known.T @ (~rare / right), mass.T @ (1 / total) - known.T @ (rare / right)]
        ) / len(rare)
        slope = given * (slope - (given * slope).sum(axis=1, keepdims=True))
        return float(np.log(total / right).mean()), slope.ravel()

    return at


def weights(parameters: Float64) -> Float64:
    """Any float64[2 * members] as weights above 0: float64[2, members] whose rows sum to 1."""
    rows = parameters.reshape(2, -1)
    found = np.exp(rows - rows.max(axis=1, keepdims=True))
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def start(given: Float64) -> Float64:
    """What gives both groups these weights float64[members]."""
    return np.tile(np.log(np.maximum(given, _START)), 2)


def _mixed(known: Float64, mass: Float64, rare: Bool, given: Float64) -> tuple[Float64, Float64]:
    right = np.where(rare, known @ given[1], known @ given[0])
    total = (1 - mass) @ given[0] + mass @ given[1]
    return np.maximum(right, LEAST), np.maximum(total, LEAST)
