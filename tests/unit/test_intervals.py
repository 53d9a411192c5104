import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.intervals import Accuracy, accuracy, wilson

counts = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (8, 10, 0.4902, 0.9433), (229, 290, 0.7391, 0.8326)],
)
def test_wilson_gives_the_known_figures(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=1e-4)


@given(counts, st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=100)
def test_the_bounds_are_the_shares_whose_score_test_just_fails(case: tuple[int, int], level: float) -> None:
    successes, n = case
    z = {0.8: 1.281552, 0.95: 1.959964, 0.99: 2.575829}[level]
    low, high = wilson(successes, n, level)
    assert 0 <= low <= successes / n <= high <= 1
    for bound in (low, high):
        if 0 < bound < 1:
            assert abs(successes / n - bound) == pytest.approx(z * math.sqrt(bound * (1 - bound) / n), rel=1e-4)


@given(counts)
@settings(max_examples=50)
def test_a_higher_level_is_wider_and_failures_mirror_successes(case: tuple[int, int]) -> None:
    successes, n = case
    low, high = wilson(successes, n)
    wide_low, wide_high = wilson(successes, n, 0.99)
    assert wide_low <= low
    assert high <= wide_high
    assert wilson(n - successes, n) == pytest.approx((1 - high, 1 - low))


def test_nothing_seen_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert str(accuracy(0, 0)) == "no figure (n=0)"
    assert math.isnan(accuracy(0, 0).share)


def test_more_successes_than_trials_are_a_defect() -> None:
    with pytest.raises(ValueError, match="3 successes of 2"):
        wilson(3, 2)


def test_the_text_names_share_interval_and_n() -> None:
    assert str(accuracy(236, 290)) == "0.814 (0.765-0.854, n=290)"


@pytest.mark.parametrize(
    ("successes", "n", "plain"),
    [
        (
            3,
            4,
            {"accuracy": 0.75, "n": 4, "interval": [pytest.approx(0.3006, abs=1e-4), pytest.approx(0.9544, abs=1e-4)]},
        ),
        (0, 0, {"accuracy": None, "n": 0, "interval": None}),
    ],
)
def test_what_a_run_stores_comes_back(successes: int, n: int, plain: dict[str, object]) -> None:
    found = accuracy(successes, n)
    assert found.plain() == plain
    assert str(Accuracy.from_plain(found.plain())) == str(found)
