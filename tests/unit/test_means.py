"""Nested means against loops over plain numbers."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.ensemble import Axis, Mean, Means
from shared.domain.means import combine, fall_back, normalise, vetoed

ORDERS: list[tuple[Axis, Axis, Axis]] = [(a, b, c) for a, b, c in itertools.permutations(get_args(Axis))]
AXES = {"images": 0, "members": 1, "views": 2}
powers = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0])
probabilities = st.sampled_from([0.0, 1e-9, 0.1, 0.25, 0.7, 1.0])


def power_mean(values: Sequence[float], weights: Sequence[float], k: float) -> float:
    pairs = [(v, w) for v, w in zip(values, weights, strict=True) if w > 0]
    total = sum(w for _, w in pairs)
    if k <= 0 and any(v == 0 for v, _ in pairs):
        return 0.0
    if k == 0:
        return math.exp(sum(w * math.log(v) for v, w in pairs) / total)
    return math.pow(sum(w * v**k for v, w in pairs) / total, 1 / k)


def slow(values: Callable[[dict[str, int]], float], sizes: dict[str, int], means: Means, weights: list[float]) -> float:
    """The nested mean of one class of one product, the last axis of the order outermost."""

    def at(depth: int, place: dict[str, int]) -> float:
        if depth < 0:
            return values(place)
        axis = means.order[depth]
        inner = [at(depth - 1, {**place, axis: i}) for i in range(sizes[axis])]
        return power_mean(inner, weights if axis == "members" else [1.0] * len(inner), getattr(means, axis).power)

    return at(2, {})


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, Means, list[float]]:
    lengths = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    members, views, classes = (draw(st.integers(1, 3)) for _ in range(3))
    size = sum(lengths) * members * views * classes
    flat = draw(st.lists(probabilities, min_size=size, max_size=size))
    weights = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=members, max_size=members).filter(any))
    order = draw(st.sampled_from(ORDERS))
    means = Means(order=order, views=Mean(power=draw(powers)), members=Mean(power=draw(powers)))
    means = Means(order=order, views=means.views, members=means.members, images=Mean(power=draw(powers)))
    first = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return np.array(flat).reshape(sum(lengths), members, views, classes), first, means, weights


@given(cases())
@settings(max_examples=150)
def test_nested_means_agree_with_loops(case: tuple[np.ndarray, np.ndarray, Means, list[float]]) -> None:
    p, first, means, weights = case
    combined = combine(p, first, means, np.array(weights))
    for product, c in np.ndindex(combined.shape):

        def value(at: dict[str, int], product: int = product, c: int = c) -> float:
            return float(p[first[product] + at["images"], at["members"], at["views"], c])

        sizes = {"images": int(first[product + 1] - first[product]), "members": p.shape[1], "views": p.shape[2]}
        assert combined[product, c] == pytest.approx(slow(value, sizes, means, weights), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("power", [-2.0, -1.0, 0.0])
def test_one_zero_gives_zero_under_powers_up_to_zero(power: float) -> None:
    p = np.array([[0.0, 0.5, 1.0], [0.4, 0.5, 0.0]], dtype=np.float32).reshape(2, 1, 1, 3)
    combined = combine(p, np.array([0, 2]), Means(images=Mean(power=power)), np.ones(1))
    assert combined[0].tolist() == [0, pytest.approx(0.5), 0]


@pytest.mark.parametrize("power", [-1.0, 0.0])
def test_contradicting_duplicates_are_vetoed_and_fall_back_to_the_network(power: float) -> None:
    means, first = Means(images=Mean(power=power)), np.array([0, 2, 4])
    network = np.full((4, 1, 1, 3), 1 / 3) + np.array([0.1, -0.2, 0.1])
    overridden = network.copy()
    overridden[0], overridden[1] = np.eye(3)[1], np.eye(3)[2]
    combined = combine(overridden, first, means, np.ones(1))
    alone = combine(network, first, means, np.ones(1))
    assert vetoed(combined).tolist() == [True, False]
    assert combined[0].tolist() == [0, 0, 0]
    assert fall_back(combined, alone) == pytest.approx(alone)
    assert fall_back(combined, alone * 0)[1] == pytest.approx(combined[1])


def test_vectors_that_sum_to_more_than_one_enter_as_they_are() -> None:
    l2 = np.array([0.8, 0.6, 0.0])
    network = np.array([0.0, 0.0, 1.0])
    p = np.stack([l2, network]).reshape(2, 1, 1, 3)
    combined = combine(p, np.array([0, 2]), Means(), np.ones(1))
    assert combined[0] == pytest.approx([0.4, 0.3, 0.5])
    assert normalise(combined)[0] == pytest.approx([1 / 3, 0.25, 5 / 12])


def test_normalise_keeps_zeros_and_makes_every_other_row_sum_to_one() -> None:
    rows = normalise(np.array([[0.0, 0.0], [0.2, 0.6], [1e-30, 0.0]]))
    assert rows == pytest.approx(np.array([[0, 0], [0.25, 0.75], [1, 0]]))


def test_a_member_of_weight_zero_takes_no_part_even_with_zeros() -> None:
    p = np.array([[0.2, 0.8], [1.0, 0.0]]).reshape(1, 2, 1, 2)
    means = Means(members=Mean(power=0.0))
    assert combine(p, np.array([0, 1]), means, np.array([2.0, 0.0]))[0] == pytest.approx([0.2, 0.8])
    with pytest.raises(ValueError, match="every member has weight 0"):
        combine(p, np.array([0, 1]), means, np.zeros(2))


def test_a_product_without_images_is_a_defect() -> None:
    with pytest.raises(ValueError, match="has no image"):
        combine(np.ones((1, 1, 1, 2)), np.array([0, 1, 1]), Means(), np.ones(1))


def test_plurality_counts_weighted_votes_and_decides_ties_by_probability() -> None:
    p = np.array([[0.6, 0.4, 0.0], [0.0, 0.55, 0.45], [0.0, 0.3, 0.7]])[None, :, None]  # one image, three members
    first = np.array([0, 1])
    means = Means(members=Mean(votes=True))
    equal = combine(p, first, means, np.ones(3))[0]
    assert equal.argmax() == 1  # each has one vote, and the second class most of the probabilities
    np.testing.assert_allclose(equal, [1 / 3] * 3, atol=1e-4)
    weighted = combine(p, first, means, np.array([2.0, 1.0, 1.0]))[0]
    assert weighted.argmax() == 0
    assert combine(p[:, :2], first, means, np.ones(2))[0].argmax() == 1
    np.testing.assert_allclose(combine(np.full((1, 2, 1, 3), 1 / 3), first, means, np.ones(2))[0].argmax(), 0)
