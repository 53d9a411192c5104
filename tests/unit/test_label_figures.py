import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain import intervals, label_figures
from shared.domain.label_figures import Marks


def marks_of(said: np.ndarray, known: np.ndarray) -> Marks:
    """Of bool[n, labels] twice."""
    products, labels = known.shape
    return Marks.of(products, labels, np.nonzero(said), np.nonzero(known))


def sheet(frequent: int, rare: int, *, found: bool) -> Marks:
    """Five frequent labels, half of them missed, and labels of one product each, all `found` or all missed."""
    known = np.zeros((frequent + rare, 5 + rare), dtype=np.bool_)
    known[np.arange(frequent), np.arange(frequent) % 5] = True
    known[frequent + np.arange(rare), 5 + np.arange(rare)] = True
    said = known.copy()
    said[:frequent:2] = False
    said[frequent:] &= found
    return marks_of(said, known)


def percentiles(marks: Marks) -> tuple[float, float]:
    noise, n = np.random.default_rng(1), marks.products
    times = [np.bincount(noise.integers(0, n, n), minlength=n) for _ in range(400)]
    low, high = np.quantile([label_figures.macro(marks._sums(one))["f1"] for one in times], [0.025, 0.975])
    return float(low), float(high)


@pytest.mark.parametrize("found", [False, True])
def test_labels_that_a_draw_lacks_do_not_move_the_interval_away(*, found: bool) -> None:
    marks = sheet(200, 150, found=found)
    low, high = percentiles(marks)
    told = marks.macro_f1()
    assert told.mean < low if not found else high < told.mean, "what an interval of percentiles would leave out"
    assert told.low < told.mean < told.high
    assert told.mean - told.low == pytest.approx(min(told.high, 1) - told.mean, rel=0.2)
    assert told.high - told.low == pytest.approx(high - low, rel=0.2)


def test_without_rare_labels_it_is_what_percentiles_say() -> None:
    marks = sheet(600, 0, found=True)
    assert (marks.macro_f1().low, marks.macro_f1().high) == pytest.approx(percentiles(marks), abs=0.004)


@settings(max_examples=30)
@given(st.integers(1, 12), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_the_figure_is_never_outside(products: int, labels: int, seed: int) -> None:
    noise = np.random.default_rng(seed)
    known, said = noise.random((2, products, labels)) < 0.3
    known[0, 0] = True
    found = marks_of(said, known).macro_f1()
    assert 0 <= found.low <= found.mean <= found.high <= 1
    assert found.n == products


def test_it_is_as_wide_as_other_products_would_have_made_the_figure_vary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 200)
    noise = np.random.default_rng(3)
    shares = 0.3 / np.arange(1, 41)
    told = []
    for _ in range(60):
        known = noise.random((150, 40)) < shares
        told.append(marks_of(noise.random((150, 40)) < np.where(known, 0.7, shares / 5), known).macro_f1())
    vary = np.std([one.mean for one in told], ddof=1)
    assert np.mean([one.high - one.low for one in told]) / (2 * 1.96) == pytest.approx(vary, rel=0.3)
