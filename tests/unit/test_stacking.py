"""Stacks of members' probabilities, and what a fit of one minimises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain import means, stacking
from shared.domain.ensemble import Mean, Means
from shared.domain.fitting import LEAST


@st.composite
def products(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities [n, members, classes], powers and biases."""
    n, members, classes = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(2, 5))
    noise = np.random.default_rng(draw(st.integers(0, 2**32)))
    powers = draw(st.lists(st.sampled_from([0.0, 0.3, 1.0, 2.5]), min_size=members, max_size=members))
    return noise.dirichlet(np.full(classes, 0.3), (n, members)), np.array(powers), noise.normal(0, 1, classes)


@given(products())
def test_a_stack_is_a_product_of_powers_times_a_factor_per_category(case):
    alone, powers, biases = case
    found = stacking.stacked(alone, powers, biases)
    for of_members, answer in zip(alone, found, strict=True):
        factors = [np.maximum(of, LEAST) ** power for of, power in zip(of_members, powers, strict=True)]
        expected = np.prod(factors, axis=0) * np.exp(biases)
        np.testing.assert_allclose(answer, expected / expected.sum(), rtol=1e-9)


@given(products())
def test_equal_powers_of_sum_1_are_the_geometric_mean(case):
    alone, powers, _ = case
    equal = np.full(len(powers), 1 / len(powers))
    alone = np.maximum(alone, LEAST)
    first = np.arange(len(alone) + 1)
    expected = means.combine(alone[:, :, None], first, Means(members=Mean(power=0)), np.ones(len(powers)))
    np.testing.assert_allclose(stacking.stacked(alone, equal, np.zeros(1)), means.normalise(expected), rtol=1e-9)


def test_a_member_that_is_vetoed_vetoes_the_product_unless_it_takes_no_part():
    alone = np.array([[[0.0, 0.0], [0.2, 0.8]], [[0.5, 0.5], [0.2, 0.8]]])
    assert stacking.stacked(alone, np.ones(2), np.zeros(1)) == pytest.approx(np.array([[0, 0], [0.2, 0.8]]))
    alone[0, 0] = np.nan
    assert stacking.stacked(alone, np.array([0.0, 1.0]), np.zeros(1)) == pytest.approx(np.array([[0.2, 0.8]] * 2))


@given(products(), st.booleans())
@settings(max_examples=50)
def test_the_objective_is_the_log_loss_of_what_is_counted_and_its_gradient_is_right(case, with_biases):
    alone, powers, biases = case
    logs = stacking.logarithms(alone).astype(np.float32)
    known = np.arange(len(alone)) % alone.shape[2]
    counted = np.arange(len(alone)) % 2 == 0
    biases = biases if with_biases else biases[:0]
    at = stacking.objective(logs, known, counted)
    parameters = np.r_[powers, biases]
    loss, gradient = at(parameters)

    answers = stacking.stacked(alone, powers, biases if with_biases else np.zeros(1))
    losses = -np.log(answers[np.arange(len(alone)), known])[counted]
    prior = ((powers - 1 / len(powers)) ** 2).sum() / 2 + ((biases / stacking.BIAS) ** 2).sum() / 2
    assert loss == pytest.approx(losses.mean() + prior / counted.sum(), rel=1e-4)
    for place, step in enumerate(np.eye(len(parameters)) * 1e-2):
        slope = (at(parameters + step)[0] - at(parameters - step)[0]) / 2e-2
        assert gradient[place] == pytest.approx(slope, rel=2e-2, abs=5e-3)
