"""Nested means over views, members and images: the reference that every device mirrors.

Accumulate `transform(x, k)` times the weight, divide by the sum of weights, then apply `inverse`: for every k, zeros
included, that is the power mean (a zero under k <= 0 becomes infinite on the way and 0 at the end, never NaN).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from shared.domain.ensemble import VOTE_REST, Mean, Means

Float = npt.NDArray[np.floating[Any]]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


def transform(values: Float, power: float) -> Float:
    """What a power mean averages: the values (1), their logarithms (0) or their powers. Values are 0 or above."""
    if power == 1:
        return values
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        return np.log(values) if power == 0 else values**power


def inverse(values: Float, power: float) -> Float:
    """The power mean of an average of transformed values."""
    if power == 1:
        return values
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        return np.exp(values) if power == 0 else values ** (1 / power)


def votes(values: Float) -> Float:
    """Each distribution (last axis) as a vote for its best class, the lower one of equals, and a rest of itself."""
    best = np.zeros_like(values)
    np.put_along_axis(best, values.argmax(axis=-1)[..., None], 1, axis=-1)
    return (1 - VOTE_REST) * best + VOTE_REST * values


def combine(probabilities: Float, first_image: Int64, means: Means, weights: Float) -> Float64:
    """The nested mean of float[images, members, views, classes] for each product: float64[products, classes].

    `first_image` int64[products + 1], at least one image each; `weights` float[members], 0 or above, not all 0 (a
    member of weight 0 takes no part), or float[members, classes], not all 0 for any class. The result need not sum to
    1, see `normalise`; a row may be all zero, see `fall_back`.
    """
    by_class = weights.ndim > 1
    taking_part = weights.max(axis=1) > 0 if by_class else weights > 0
    if not taking_part.any():
        raise ValueError("every member has weight 0")
    values: Float = probabilities[:, taking_part].astype(np.float64)
    for axis in means.order:
        if axis == "images":
            values = _mean_by_product(values, first_image, means.images)
        elif axis == "members":
            values = _mean(
                votes(values) if means.members.votes else values,
                1,
                weights[taking_part].astype(np.float64),
                means.members,
            )
        else:
            values = _mean(values, 2, np.ones(values.shape[2]), means.views)
    return values[:, 0, 0].astype(np.float64)


def combine_applying(probabilities: Float, first_image: Int64, means: Means, weights: Float, applies: Bool) -> Float64:
    """As `combine`, each product by the members that apply to it alone: bool[products, members].

    What the others hold is not looked at. A product that no member applies to is a row of zeros.
    """
    combined = np.zeros((len(applies), probabilities.shape[-1]))
    lengths = np.diff(first_image)
    for members in np.unique(applies, axis=0):
        products = (applies == members).all(axis=1)
        if not members.any():
            continue
        images = np.repeat(products, lengths)
        starts = np.append(0, np.cumsum(lengths[products])).astype(np.int64)
        combined[products] = combine(probabilities[images][:, members], starts, means, weighing(weights[members]))
    return combined


def weighing(weights: Float) -> Float64:
    """Weights float[members] or float[members, classes] of those members that are left; where all are 0, equal ones."""
    return np.where(weights.sum(axis=0) > 0, weights, 1.0)


def _mean(values: Float, axis: int, weights: Float64, mean: Mean) -> Float:
    """The weighted mean along member axis 1 or view axis 2, which stays with length 1."""
    shares = weights / weights.sum(axis=0)
    shape = [*([1] * values.ndim)]
    shape[axis] = len(shares)
    if shares.ndim > 1:
        shape[-1] = shares.shape[1]
    shares = shares.reshape(shape)
    with np.errstate(invalid="ignore"):  # what has no share may be infinite
        terms = np.where(shares > 0, transform(values, mean.power) * shares, 0)
    return inverse(terms.sum(axis=axis, keepdims=True), mean.power)


def of_labels(weights: Float64, learnt: Bool) -> Float64:
    """Weights float64[members] as those of each label, float64[members, labels]: of the members that have learnt it.

    `learnt` bool[members, labels]. A label that nobody has learnt keeps all of them: each gives it probability 0.
    """
    found = weights[:, None] * learnt
    return np.where(found.sum(axis=0) > 0, found, weights[:, None])


def _mean_by_product(values: Float, first_image: Int64, mean: Mean) -> Float:
    lengths = np.diff(first_image)
    if (lengths < 1).any():
        raise ValueError("a product has no image")
    sums = np.add.reduceat(transform(values, mean.power), first_image[:-1], axis=0)
    return inverse(sums / lengths.reshape(-1, *[1] * (values.ndim - 1)), mean.power)


def vetoed(combined: Float) -> Bool:
    """The rows that are zero in every class: bool[n]. No class is an answer there, class 0 least of all."""
    return np.asarray(np.max(combined, axis=1) <= 0)


def fall_back(combined: Float, network_alone: Float) -> Float:
    """`combined` float[n, classes], with vetoed rows replaced by the same products without duplicate overrides.

    Duplicates that contradict each other leave nothing under a mean of power 0 or below; the network alone answers
    then. `network_alone` is the `combine` of what the networks said, before any override.
    """
    return np.where(vetoed(combined)[:, None], network_alone, combined)


def normalise(combined: Float) -> Float:
    """Rows divided by their sums, to be probabilities; a row of zeros stays one."""
    sums = combined.sum(axis=1, keepdims=True)
    return combined / np.where(sums > 0, sums, 1)


def temper(probabilities: Float, temperature: float) -> Float:
    """Probabilities float[n, classes] at a temperature: their powers 1 / temperature, to sum to 1 again."""
    return normalise(probabilities ** (1 / temperature))
