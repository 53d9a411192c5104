"""Weights apart for frequent and rare categories: what is tried, and what a fit of them minimises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import apart, means
from shared.domain.ensemble import Means


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_rare_categories_have_at_most_a_share_of_the_training_images(counts):
    images = np.array(counts)
    limits = apart.limits(images)
    assert list(limits) == sorted(set(limits))
    for limit in limits:
        rare = images < limit
        assert 0 < rare.sum() < len(images)
        assert images[rare].sum() <= images.sum() / 2
    for share in apart.SHARES:  # nothing larger would keep to it
        possible = [value for value in counts if images[images < value].sum() <= images.sum() * share]
        assert not images.any() or max(possible) == min(counts) or max(possible) in limits


def test_categories_of_as_many_images_are_one_group():
    assert apart.limits(np.full(5, 7)) == ()
    assert apart.limits(np.array([10, 100, 1000])) == (100, 1000)


@st.composite
def products(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities [n, members, classes], right classes, which are rare, and parameters."""
    n, members, classes = draw(st.integers(1, 6)), draw(st.integers(1, 4)), draw(st.integers(2, 5))
    noise = np.random.default_rng(draw(st.integers(0, 2**32)))
    rare = np.arange(classes) < draw(st.integers(1, classes - 1))
    return (
        noise.dirichlet(np.ones(classes), (n, members)),
        noise.integers(0, classes, n),
        rare,
        noise.normal(0, 1, 2 * members),
    )


@given(products())
def test_losses_are_those_of_the_normalised_mean_under_the_weights_of_each_category(case):
    alone, known, rare, parameters = case
    weights = apart.weights(parameters)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    of_class = np.where(rare, weights[1][:, None], weights[0][:, None])
    rows = np.arange(len(alone))
    mixed = means.normalise(means.combine(alone[:, :, None], np.arange(len(alone) + 1), Means(), of_class))
    given_to = alone[rows, :, known], alone[:, :, rare].sum(axis=2), rare[known]
    losses = apart.losses(*given_to, weights)
    np.testing.assert_allclose(losses, -np.log(mixed[rows, known]), rtol=1e-6)

    at = apart.objective(*given_to)
    loss, gradient = at(parameters)
    assert loss == pytest.approx(losses.mean())
    for place, step in enumerate(np.eye(len(parameters)) * 1e-5):
        slope = (at(parameters + step)[0] - at(parameters - step)[0]) / 2e-5
        assert gradient[place] == pytest.approx(slope, rel=1e-4, abs=1e-7)


def test_it_begins_with_the_same_weights_in_both_groups():
    np.testing.assert_allclose(apart.weights(apart.start(np.array([0.25, 0.75]))), [[0.25, 0.75]] * 2)
    assert (apart.weights(apart.start(np.array([0.0, 1.0])))[:, 0] > 0).all()
