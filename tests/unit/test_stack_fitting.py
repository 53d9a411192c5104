"""Stacks that are fitted on made-up products: what is planted is found, and nothing else."""

import numpy as np
import pytest

from services.reports import stack_fitting
from services.reports.stack_fitting import StackFitter
from shared.domain import means

N, CLASSES = 3000, 4


def honest(noise: np.random.Generator, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [n, classes] that are right as often as they say, and the right classes."""
    said = noise.dirichlet(np.ones(CLASSES), n)
    return said, (said.cumsum(axis=1) < noise.random((n, 1))).sum(axis=1)


def fitter(*members: np.ndarray, known: np.ndarray) -> StackFitter:
    found = StackFitter(len(known), len(members), members[0].shape[1])
    alone = np.stack(members, axis=1)
    half = len(known) // 2
    for rows in (np.arange(half), np.arange(half, len(known))):
        found.take(rows, alone[rows], known[rows])
    return found


def test_a_member_that_is_too_sure_gets_a_lower_power_and_one_that_knows_nothing_none():
    noise = np.random.default_rng(1)
    said, known = honest(noise)
    members = (means.temper(said, 1 / 3), honest(noise)[0])
    powers, biases = fitter(*members, known=known).fitted(np.ones(N, np.bool_), biases=False)
    assert powers == pytest.approx([1 / 3, 0], abs=0.05)
    assert (powers >= 0).all()
    assert biases.size == 0


def test_a_category_that_all_say_too_seldom_gets_a_bias_and_those_of_few_products_almost_none():
    said, known = honest(np.random.default_rng(2))
    less = means.normalise(said * np.exp([-1.0, 0, 0, 0]))
    every = np.ones(N, np.bool_)
    powers, biases = fitter(less, known=known).fitted(every, biases=True)
    assert powers == pytest.approx([1], abs=0.1)
    assert biases[0] - biases[1:].mean() == pytest.approx(1, abs=0.15)
    _, biases = fitter(less[:10], known=known[:10]).fitted(every[:10], biases=True)
    assert np.abs(biases).max() < 0.3


def test_only_products_that_are_asked_for_count():
    said, known = honest(np.random.default_rng(3))
    wrong = np.arange(N) % 2 == 0
    known[wrong] = said[wrong].argmin(axis=1)
    both = fitter(said, known=known)
    assert both.fitted(~wrong, biases=False)[0] == pytest.approx([1], abs=0.1)
    assert both.fitted(wrong, biases=False)[0] == pytest.approx([0], abs=1e-6)


def test_of_many_products_some_are_taken_at_random(monkeypatch):
    monkeypatch.setattr(stack_fitting, "_BYTES", 4 * CLASSES * 500)
    said, known = honest(np.random.default_rng(4))
    found = fitter(said, known=known)
    assert len(found._rows) == 500
    assert found._rows.mean() == pytest.approx(N / 2, rel=0.1)
    assert found.fitted(np.ones(N, np.bool_), biases=False)[0] == pytest.approx([1], abs=0.2)
