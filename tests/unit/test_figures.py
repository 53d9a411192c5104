import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.training import figures

ROWS = st.lists(st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]), min_size=7, max_size=7), min_size=1, max_size=20)


@settings(max_examples=60)
@given(ROWS, st.integers(0, 6))
def test_places_are_those_of_a_sorted_list(rows: list[list[float]], true_class: int) -> None:
    expected = [sorted(range(7), key=lambda c: (-row[c], c)).index(true_class) for row in rows]
    classes = np.full(len(rows), true_class)
    assert figures.places(np.array(rows), classes).tolist() == expected
    answers = figures.answers(np.array(rows), classes)
    assert ((answers[:, 0] == 0) == (answers[:, 1] == answers[:, 2])).all()


def test_macro_figures_by_hand() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2])
    answer = np.array([0, 0, 1, 1, 3, 0])  # class 3 never occurs: it is no class of the mean
    found = figures.macro(truth, answer)
    assert found["precision"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert found["recall"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert found["f1"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_only_answers_above_one_half_count() -> None:
    truth = np.array([0, 1, 2, 0, 1])
    answer = np.array([0, 1, 5, 1, 1])  # class 5 never occurs, and is wrong all the same
    probability = np.array([0.9, 0.51, 0.8, 0.7, 0.5])
    found = figures.half(truth, answer, probability)
    assert found["precision"] == pytest.approx(2 / 4)
    assert found["recall"] == pytest.approx(2 / 5)
    assert found["f1"] == pytest.approx(2 * 0.5 * 0.4 / 0.9)


def test_without_any_sure_answer_all_is_zero() -> None:
    found = figures.half(np.array([0, 1]), np.array([0, 1]), np.array([0.4, 0.5]))
    assert found == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
