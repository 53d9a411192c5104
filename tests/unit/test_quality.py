import math
from dataclasses import replace

import numpy as np
import pytest

from services.reports import quality
from services.reports.answers import NO_ANSWER, Answers
from services.reports.quality import OneCategory
from shared.domain.intervals import wilson
from shared.domain.label_figures import Marks
from shared.domain.taxonomy import build

# The name "red" and "small" occur in two branches: nodes are their full paths.
TREE = build(
    [10, 20, 30, 40],
    [("fruit", "red", "small"), ("fruit", "red", "large"), ("fruit", "green", "small"), ("milk", "red", "small")],
)
TASK = OneCategory(TREE)


def answers(classes, probability=None, best=None):
    said = np.array(classes, dtype=np.int32)
    p = np.full(len(said), 0.9) if probability is None else np.array(probability, dtype=float)
    nothing = np.full(len(said), NO_ANSWER)
    return Answers(said, p, np.array(best if best is not None else [True] * len(said)), nothing, nothing)


def test_levels_are_nodes_by_full_path_and_an_error_is_wrong_in_all():
    known = np.zeros(5, dtype=np.int32)  # fruit / red / small
    said = np.array([0, 1, 2, 3, NO_ANSWER], dtype=np.int32)
    found = quality.levels(TREE, known, said)
    assert [(one.n, one.share) for one in found] == [(5, 3 / 5), (5, 2 / 5), (5, 1 / 5)]
    assert (found[0].low, found[0].high) == wilson(3, 5)


def test_a_decision_is_right_at_its_own_level():
    known = np.array([0, 0, 0, 0, 0, 0, 0])
    said = answers([0, 1, 1, 2, 3, 0, NO_ANSWER])
    accept, second, first, review = range(4)
    (red, milk_red), (fruit, milk) = (TREE.node_of[1][[0, 3]], TREE.node_of[0][[0, 3]])
    decided = [accept, second, second, first, first, review, NO_ANSWER]
    stops = [NO_ANSWER, red, milk_red, fruit, milk, NO_ANSWER, NO_ANSWER]
    said = replace(said, decision=np.array(decided, dtype=np.int8), stop=np.array(stops, dtype=np.int32))
    found, right = TASK.decided(known, said)
    assert found.tolist() == decided
    assert right.tolist() == [True, True, False, True, False, True, False]


def test_precision_recall_and_f1_by_hand():
    known = np.array([0, 0, 0, 1, 1, 2], dtype=np.int32)
    said = answers([0, 0, 1, 1, NO_ANSWER, 3])
    found = TASK.quality(known, said)
    assert found is not None
    assert (found.accuracy.n, found.accuracy.share) == (6, 3 / 6)
    # precision 1, 1/2 and 0 (never said), recall 2/3, 1/2 and 0, F1 4/5, 1/2 and 0
    macro = found.macro
    assert (macro.precision, macro.recall, macro.f1) == pytest.approx((1.5 / 3, (2 / 3 + 1 / 2) / 3, 1.3 / 3))
    assert (macro.categories, macro.n) == (3, 6)
    assert (found.macro_f1.mean, found.macro_f1.n) == (pytest.approx(macro.f1), 6)


@pytest.mark.parametrize(("n", "classes"), [(300, 3), (2000, 40)])
def test_the_interval_of_macro_f1_is_that_of_a_bootstrap(n, classes):
    noise = np.random.default_rng(n)
    known = np.r_[np.arange(classes), noise.integers(0, classes, n - classes) // noise.integers(1, 4, n - classes)]
    said = np.where(noise.random(n) < 0.6, known, noise.integers(0, classes, n)).astype(np.int32)
    said[noise.random(n) < 0.05] = NO_ANSWER
    found, rows = quality.macro_f1(known, said), np.flatnonzero(said != NO_ANSWER)
    drawn = Marks.of(n, classes, (rows, said[rows].astype(np.int64)), (np.arange(n), known)).macro_f1()
    assert (found.n, found.mean) == (n, pytest.approx(drawn.mean))
    assert found.high - found.low == pytest.approx(drawn.high - drawn.low, rel=0.12)
    assert found.low < found.mean < found.high


def test_answers_counted_above_a_half_only():
    known = np.zeros(8, dtype=np.int32)
    said = answers([0, 0, 0, 0, 1, 1, 0, NO_ANSWER], [0.9, 0.8, 0.7, 0.5, 0.6, 0.2, 0.4, 0.0])
    found = TASK.quality(known, said)
    assert found is not None
    counted = found.counted  # four answers above a half, three of them right; 0.5 itself does not count
    assert (counted.answers, counted.n) == (4, 8)
    assert (counted.precision, counted.recall, counted.f1) == pytest.approx((3 / 4, 3 / 8, 2 * 3 / (4 + 8)))
    assert found.counted_f1.mean == pytest.approx(counted.f1)
    assert found.counted_f1.low < counted.f1 < found.counted_f1.high
    unsure = TASK.quality(known, answers([0] * 8, [0.3] * 8))
    assert unsure is not None
    assert (unsure.counted.precision, unsure.counted.recall, unsure.counted.f1) == (None, 0.0, 0.0)


def test_agreement_beyond_chance():
    known = np.repeat(np.arange(4, dtype=np.int32), 5)
    perfect = TASK.quality(known, answers(known))
    assert perfect is not None
    assert (perfect.matthews, perfect.kappa) == pytest.approx((1.0, 1.0))
    said = np.zeros(20, dtype=np.int32)
    constant = TASK.quality(known, answers(said))
    assert constant is not None
    assert (constant.matthews, constant.kappa) == pytest.approx((0.0, 0.0))
    # kappa by hand: 2 x 2 table of 20 products, 12 agree; expected (10 * 8 + 10 * 12) / 400
    two = np.repeat(np.array([0, 1], dtype=np.int32), 10)
    mixed = answers([0] * 5 + [1] * 5 + [0] * 3 + [1] * 7)
    found = TASK.quality(two, mixed)
    assert found is not None
    assert found.kappa == pytest.approx((12 / 20 - 0.5) / (1 - 0.5))
    assert found.matthews == pytest.approx((5 * 7 - 5 * 3) / math.sqrt(10 * 10 * 8 * 12))


@pytest.mark.parametrize("said", [[0, 0], [1, 1], [NO_ANSWER, NO_ANSWER], [0, NO_ANSWER]])
def test_where_one_class_is_known_agreement_is_not_defined(said):
    found = TASK.quality(np.zeros(2, dtype=np.int32), answers(said))
    assert found is not None
    assert (found.matthews, found.kappa) == (None, None)
    assert found.macro.recall == found.accuracy.share == np.mean(np.array(said) == 0)


def test_nothing_to_judge():
    assert TASK.quality(np.zeros(0, dtype=np.int32), answers([])) is None


def test_kappa_is_left_out_where_its_matrices_would_be_large(monkeypatch):
    monkeypatch.setattr(quality, "MATRIX_CATEGORIES", 3)
    known = np.arange(4, dtype=np.int32)
    found = TASK.quality(known, answers(known))
    assert found is not None
    assert (found.matthews, found.kappa) == (pytest.approx(1.0), None)


def test_best_five_is_what_the_answers_say():
    found = TASK.quality(np.zeros(4, dtype=np.int32), answers([1, 1, 0, NO_ANSWER], best=[True, False, True, False]))
    assert found is not None
    assert (found.top5.n, found.top5.share) == (4, 2 / 4)


def test_categories_the_worst_first():
    known = np.array([0] * 4 + [1] * 2 + [2] * 4 + [3], dtype=np.int32)
    said = np.array([0, 0, 1, 1, 1, 1, 2, 2, 3, NO_ANSWER, 3], dtype=np.int32)
    found = TASK.categories(known, answers(said))
    # recall 2/4, 2/2, 2/4, 1/1: the larger first, then the row of the table
    assert [one.category_id for one in found] == [10, 30, 20, 40]
    assert [(one.recall.n, one.recall.share) for one in found] == [(4, 0.5), (4, 0.5), (2, 1.0), (1, 1.0)]
    assert [one.precision for one in found] == [1.0, 1.0, 0.5, 0.5]
    assert [one.f1.mean for one in found] == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2 / 3])
    assert [one.said for one in found] == [2, 2, 4, 2]
    assert found[0].path == ("fruit", "red", "small")


def test_a_category_that_is_never_said_has_no_precision():
    (one,) = TASK.categories(np.zeros(3, dtype=np.int32), answers([1, 1, NO_ANSWER]))
    assert (one.precision, one.f1.mean, one.recall.share) == (None, 0.0, 0.0)


def test_pairs_that_are_mixed_up_most_and_the_surest_of_each():
    known = np.array([0, 0, 0, 1, 2, 0, 3], dtype=np.int32)
    said = answers([1, 1, 2, 0, 2, 0, NO_ANSWER], [0.4, 0.7, 0.9, 0.8, 0.99, 0.99, 0.0])
    wrong = TASK.mistakes(known, said)
    found = TASK.confusions(known, wrong, most=2)
    assert [(one.known, one.said, one.count, wrong.row[one.surest]) for one in found] == [(0, 1, 2, 1), (0, 2, 1, 2)]
    assert wrong.row.tolist() == [2, 3, 1, 0]
    assert TASK.confusions(known, TASK.mistakes(known, answers(known)), most=2) == []
