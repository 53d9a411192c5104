"""Figures of label sets against scikit-learn's, and what a page says of them."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from services.reports import confidence
from services.reports.answers import NO_ANSWER, LabelColumns
from services.reports.label_quality import ManyLabels
from shared.domain import label_sets, predictions, taxonomy
from shared.domain.fits import Fit
from shared.domain.label_sets import set_id

LABELS = 6
TREE = taxonomy.build(range(10, 10 + LABELS), [("a", "b", str(number)) for number in range(LABELS)])


class Sheet:
    """60 products: what they have and what each is answered with its probabilities, in arrays anyone can count."""

    def __init__(self, seed, thresholds=(0.5,) * LABELS, top_k=LABELS, errors=()):
        noise = np.random.default_rng(seed)
        self.true = noise.random((60, LABELS)) < 0.4
        self.true[:, LABELS - 1] = False  # a label that occurs nowhere
        self.p = np.clip(self.true * 0.35 + noise.random((60, LABELS)) * 0.6, 0, 1).round(6)
        self.said = self.p > np.array(thresholds)
        told = predictions.predict_labels(self.p, np.tile(thresholds, (60, 1)), TREE, top_k)
        column = LabelColumns(LABELS)
        for row, prediction in enumerate(told):
            column.add(None if row in errors else predictions.to_plain(prediction), 0)
        self.said[list(errors)] = False
        self.answers = column.answers()
        sets = [tuple((np.flatnonzero(row) + 10).tolist()) for row in self.true]
        self.sets = label_sets.build(label_sets.merge([{set_id(one): one for one in sets}]), TREE)
        self.known = self.sets.index_of(np.array([set_id(one) for one in sets]))
        self.task = ManyLabels(TREE, self.sets)

    def score(self, said, average, labels=range(LABELS - 1)):
        return f1_score(self.true, said, average=average, labels=list(labels), zero_division=0)


def test_figures_are_those_of_scikit_learn_and_an_error_answers_nothing(seed):
    sheet = Sheet(seed, errors=(3, 7))
    found = sheet.task.quality(sheet.known, sheet.answers)
    assert found.micro.f1 == found.micro_f1.mean == pytest.approx(sheet.score(sheet.said, "micro", range(LABELS)))
    assert found.macro.f1 == found.macro_f1.mean == pytest.approx(sheet.score(sheet.said, "macro"))
    assert found.macro.labels == LABELS - 1
    assert found.micro_f1.low < found.micro.f1 < found.micro_f1.high
    assert found.macro_f1.low < found.macro.f1 < found.macro_f1.high
    exact = (sheet.said == sheet.true).all(axis=1)
    exact[[3, 7]] = False
    assert (found.accuracy.n, found.accuracy.share) == (60, exact.mean())
    first = sheet.true[np.arange(60), sheet.p.argmax(axis=1)]
    first[[3, 7]] = False
    assert found.first.share == first.mean()
    assert sheet.answers.class_index[3] == NO_ANSWER
    assert sheet.task.quality(sheet.known[:0], sheet.answers.take(np.arange(0))) is None


def test_some_products_are_judged_as_if_there_were_no_others(seed):
    sheet = Sheet(seed)
    rows = np.arange(5, 60, 3)
    found = sheet.task.quality(sheet.known[rows], sheet.answers.take(rows))
    assert found.micro.f1 == pytest.approx(
        f1_score(sheet.true[rows], sheet.said[rows], average="micro", zero_division=0)
    )


def test_labels_the_worst_f1_first(seed):
    sheet = Sheet(seed)
    found = sheet.task.categories(sheet.known, sheet.answers)
    by_label = f1_score(sheet.true, sheet.said, average=None, zero_division=0)
    assert [one.f1.mean for one in found] == pytest.approx(sorted(by_label[: LABELS - 1]))
    for one in found:
        label = one.category_id - 10
        assert one.f1.mean == pytest.approx(by_label[label])
        assert (one.recall.n, one.said) == (sheet.true[:, label].sum(), sheet.said[:, label].sum())
        assert one.f1.low <= one.f1.mean <= one.f1.high
        assert one.f1.n == 60


def test_every_answered_label_is_an_answer_of_its_own(seed):
    sheet = Sheet(seed)
    probability, right, answered = sheet.task.sure(sheet.known, sheet.answers)
    assert sorted(probability) == pytest.approx(sorted(sheet.p[sheet.said]))
    assert right.sum() == (sheet.said & sheet.true).sum()
    assert answered.all()


def test_the_most_certain_wrong_label_of_each_product(seed):
    sheet = Sheet(seed)
    wrong = np.where(sheet.said & ~sheet.true, sheet.p, 0).max(axis=1)
    found = sheet.task.mistakes(sheet.known, sheet.answers)
    assert found.probability.tolist() == pytest.approx(sorted(wrong[wrong > 0], reverse=True))
    assert len(set(found.row.tolist())) == len(found.row) == (wrong > 0).sum()
    for row, label, probability in zip(found.row, found.said, found.probability, strict=True):
        assert probability == pytest.approx(wrong[row])
        assert not sheet.true[row, label]
    assert sheet.task.names(int(sheet.known[0])) == tuple((np.flatnonzero(sheet.true[0]) + 10).tolist())


@pytest.mark.parametrize("thresholds", [(0.3,) * LABELS, (0.7, 0.2, 0.5, 0.6, 0.4, 0.5)])
def test_thresholds_are_judged_beside_answers_above_a_half(seed, thresholds):
    sheet = Sheet(seed, thresholds)
    fit = Fit(label_thresholds=thresholds).plain()
    found = sheet.task.thresholds(sheet.known, sheet.answers, fit)
    assert list(found.by_label) == list(range(10, 10 + LABELS))
    assert found.without.mean == pytest.approx(sheet.score(sheet.p > 0.5, "micro", range(LABELS)))
    after = sheet.score(sheet.said, "micro", range(LABELS))
    assert found.gain.mean == pytest.approx(after - found.without.mean)
    assert found.macro_gain == pytest.approx(sheet.score(sheet.said, "macro") - sheet.score(sheet.p > 0.5, "macro"))
    assert sheet.task.thresholds(sheet.known, sheet.answers, {}) is None


def test_a_product_of_which_every_label_is_stored_hides_none():
    column = LabelColumns(3)
    every = {"labels": [], "top": [(0, 0.9), (1, 0.8), (2, 0.7)]}
    for prediction in (every, every | {"top": every["top"][:2]}):
        column.add(prediction, 0)
    assert column.answers().whole.tolist() == [True, True]
    column = LabelColumns(4)
    column.add(every, 0)
    assert column.answers().whole.tolist() == [False]


def test_no_gain_where_labels_above_a_half_may_not_be_stored(seed):
    sheet = Sheet(seed, (0.9,) * LABELS, top_k=2)
    assert (sheet.p > 0.5).sum(axis=1).max() > 2
    found = sheet.task.thresholds(sheet.known, sheet.answers, Fit(label_thresholds=(0.9,)).plain())
    assert (found.gain, found.without) == (None, None)
    assert list(found.by_label.values()) == pytest.approx([0.9] * LABELS)


def test_a_gain_is_paired(seed):
    sheet = Sheet(seed)
    undecided = np.full(60, -1)
    counts = sheet.task.counts(sheet.known, sheet.p, undecided, Fit())
    assert sheet.task.figure(counts).mean == pytest.approx(sheet.score(sheet.said, "micro", range(LABELS)))
    nothing = sheet.task.gain(counts, counts)
    assert (nothing.n, nothing.mean, nothing.low, nothing.high) == (60, 0, 0, 0)
    known = sheet.task.counts(sheet.known, sheet.p, sheet.known, Fit())
    assert sheet.task.figure(known).mean == 1, "what duplicates decide is exactly a set"
    assert sheet.task.gain(counts, known).low > 0


def test_products_that_all_have_an_error_have_figures_too(seed):
    sheet = Sheet(seed, errors=range(60))
    found = sheet.task.quality(sheet.known, sheet.answers)
    assert (found.micro_f1.mean, found.macro_f1.mean, found.accuracy.share, found.first.share) == (0, 0, 0, 0)
    probability, right, answered = sheet.task.sure(sheet.known, sheet.answers)
    assert confidence.coverage(probability, right, answered).curve == ()
    assert confidence.calibration(probability, right) is None
    assert len(sheet.task.mistakes(sheet.known, sheet.answers).row) == 0
    assert {one.said for one in sheet.task.categories(sheet.known, sheet.answers)} == {0}


def test_the_area_under_the_curve_is_a_mean_over_labels(seed):
    sheet = Sheet(seed)
    found = sheet.task.quality(sheet.known, sheet.answers, sheet.p.astype(np.float32))
    assert found.auc == pytest.approx(
        roc_auc_score(sheet.true[:, :5], sheet.p[:, :5].astype(np.float32), average="macro")
    )
