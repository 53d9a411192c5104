import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from services.reports.confidence import BIN_PRODUCTS, MOST_BINS, calibration, coverage
from shared.domain.intervals import wilson

ANSWERS = st.lists(
    st.tuples(st.integers(0, 20).map(lambda v: v / 20), st.booleans(), st.booleans()), min_size=1, max_size=80
)


def columns(rows):
    p, right, answered = zip(*rows, strict=True)
    answered = np.array(answered)
    return np.where(answered, np.array(p, dtype=float), 0.0), np.array(right) & answered, answered


def test_coverage_of_ten_products_by_hand():
    # surest first: right, right, wrong (0.8 twice, so together), right, wrong, ..., and two without an answer
    p = np.array([0.9, 0.8, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.0, 0.0])
    right = np.array([1, 1, 0, 1, 0, 1, 1, 0, 0, 0], dtype=bool)
    answered = np.array([1] * 8 + [0] * 2, dtype=bool)
    found = coverage(p, right, answered)
    assert found.n == 10
    assert [one.coverage for one in found.curve] == [0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    assert [(one.accuracy.n, one.accuracy.share) for one in found.curve][:3] == [(1, 1.0), (3, 2 / 3), (4, 3 / 4)]
    assert (found.curve[2].accuracy.low, found.curve[2].accuracy.high) == wilson(3, 4)
    half, most, *rest = found.shares
    assert half.accepted is not None
    assert (half.accepted.probability, half.accepted.coverage, half.accepted.accuracy.share) == (0.6, 0.5, 3 / 5)
    assert most.accepted is not None
    assert most.accepted.coverage == 0.8
    assert [one.accepted for one in rest] == [None, None, None], "two of ten have no answer"
    assert [one.accepted.coverage if one.accepted else None for one in found.targets] == [0.1, 0.1, 0.1]


def test_a_target_is_reached_by_the_most_products_and_not_the_first():
    right = np.array([0] + [1] * 99, dtype=bool)  # the surest answer is the only wrong one
    found = coverage(np.linspace(1, 0.5, 100), right, np.ones(100, dtype=bool))
    assert [one.accepted and one.accepted.coverage for one in found.targets] == [1.0, 1.0, 1.0]
    wrong = coverage(np.array([0.9, 0.8]), np.array([False, True]), np.ones(2, dtype=bool))
    assert [one.accepted for one in wrong.targets] == [None] * 3


def test_nobody_has_an_answer():
    none = np.zeros(3, dtype=bool)
    found = coverage(np.zeros(3), none, none)
    assert (found.curve, [one.accepted for one in found.shares]) == ((), [None] * 5)
    assert calibration(np.zeros(0), np.zeros(0, dtype=bool)) is None


def test_a_million_products_give_a_short_curve_that_ends_with_all():
    p = np.linspace(0, 1, 1_000_000)
    found = coverage(p, p > 0.25, np.ones(len(p), dtype=bool))
    assert 190 <= len(found.curve) <= 200
    assert found.curve[-1].coverage == 1.0


@settings(max_examples=60)
@given(ANSWERS, st.randoms(use_true_random=False))
def test_the_order_of_products_does_not_matter(rows, order):
    shuffled = list(rows)
    order.shuffle(shuffled)
    assert coverage(*columns(rows)) == coverage(*columns(shuffled))


@settings(max_examples=60)
@given(ANSWERS)
def test_every_point_of_the_curve_is_what_its_threshold_accepts(rows):
    p, right, answered = columns(rows)
    for one in coverage(p, right, answered).curve:
        accepted = answered & (p >= one.probability)
        assert one.accuracy.n == accepted.sum()
        assert one.coverage == accepted.sum() / len(p)
        assert one.accuracy.share == right[accepted].mean()


def test_calibration_by_hand():
    p = np.array([0.9] * 10 + [0.6] * 10)
    right = np.array([1] * 8 + [0] * 2 + [1] * 6 + [0] * 4, dtype=bool)
    one = calibration(p, right)
    assert one is not None
    assert len(one.bins) == 1, "20 products are one bin"
    assert one.error == pytest.approx(abs(14 / 20 - 0.75))
    many = calibration(np.repeat(p, 3), np.repeat(right, 3))  # 60 products: 2 bins
    assert many is not None
    assert [(b.accuracy.n, b.accuracy.share) for b in many.bins] == [(30, 0.6), (30, 0.8)]
    assert (many.n, many.error) == (60, pytest.approx((30 * 0.0 + 30 * 0.1) / 60))


def test_bins_are_those_of_scikit_learn_where_all_probabilities_differ():
    random = np.random.default_rng(5)
    p = random.permutation(np.linspace(0.01, 0.99, MOST_BINS * BIN_PRODUCTS))
    right = random.random(len(p)) < p
    found = calibration(p, right)
    assert found is not None
    shares, means = calibration_curve(right, p, n_bins=MOST_BINS, strategy="quantile")
    assert [b.accuracy.share for b in found.bins] == pytest.approx(shares.tolist())
    assert [b.probability for b in found.bins] == pytest.approx(means.tolist())
    assert found.error == pytest.approx(float(np.abs(shares - means).mean()))


@settings(max_examples=60)
@given(ANSWERS, st.integers(1, 30))
def test_bins_hold_every_answer_once_and_equal_probabilities_together(rows, times):
    p, right, _ = columns(rows * times)
    found = calibration(p, right)
    assert found is not None
    assert sum(one.accuracy.n for one in found.bins) == found.n == len(p)
    assert all(a.highest < b.lowest for a, b in zip(found.bins, found.bins[1:], strict=False))
    assert all(math.isclose(one.accuracy.n, ((p >= one.lowest) & (p <= one.highest)).sum()) for one in found.bins)
    assert 0 <= found.error <= 1
