import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, precision_recall_fscore_support

from shared.domain import label_figures, label_sets, taxonomy
from shared.domain.label_sets import set_id
from workers.training.dataset import Images, drawn_order
from workers.training.objectives import ManyLabels, balanced_weights, products_of, rarity

TABLE = taxonomy.build([10, 20, 30, 40], [("a", "b", str(number)) for number in range(4)])
SETS = [(), (10,), (10, 20), (10, 30)]
KNOWN = label_sets.build(label_sets.merge([{set_id(one): one for one in SETS}]), TABLE)
ROWS = KNOWN.index_of(np.array([set_id(one) for one in SETS]))


def test_the_loss_is_the_binary_cross_entropy_of_the_labels_learnt() -> None:
    logits = torch.tensor([[1.0, -2.0, 0.5, 9.0], [-1.0, 3.0, 0.0, 9.0]], dtype=torch.float64)
    truth = torch.from_numpy(ROWS[[2, 3]])
    p = torch.sigmoid(logits)[:, :3]
    known = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
    plain = -(known * p.log() + (1 - known) * (1 - p).log()).mean(1)
    objective = ManyLabels(KNOWN, [0, 1, 2], None, 0.0)
    torch.testing.assert_close(objective.losses(logits, truth), plain, rtol=1e-6, atol=0)
    torch.testing.assert_close(objective.loss(logits, truth), plain.mean(), rtol=1e-6, atol=0)
    weights = np.array([2.0, 3.0, 5.0, 7.0], dtype=np.float32)
    smooth = 0.9 * known + 0.05
    weighted = -(torch.from_numpy(weights[:3]) * smooth * p.log() + (1 - smooth) * (1 - p).log()).mean()
    found = ManyLabels(KNOWN, [0, 1, 2], weights, 0.1).loss(logits, truth)
    torch.testing.assert_close(found, weighted, rtol=1e-6, atol=0)


def test_what_is_not_learnt_is_never_answered_and_learns_nothing() -> None:
    logits = torch.tensor([[2.0, 5.0, -5.0, 5.0]], requires_grad=True)
    objective = ManyLabels(KNOWN, [0, 2], None, 0.0)
    found = objective.probabilities(logits).detach().numpy()
    assert found[0, [1, 3]].tolist() == [0.0, 0.0]
    assert objective.right(found, ROWS[[1]]).tolist() == [True]
    assert objective.right(found, ROWS[[2]]).tolist() == [False]  # the label that it cannot know is missed
    right, nearly = objective.counts(logits, torch.from_numpy(ROWS[[2]]))
    assert (int(right), int(nearly)) == (0, 1)
    torch.autograd.backward(objective.loss(logits, torch.from_numpy(ROWS[[2]])))
    assert logits.grad is not None
    assert (logits.grad[0] != 0).tolist() == [True, False, True, False]


def test_products_count_once_and_rare_labels_are_drawn_more_often() -> None:
    # 6 products of 2 images: four of {10}, one of {10, 20}, one of no label
    rows = np.repeat(ROWS[[1, 1, 1, 1, 2, 0]], 2)
    product, number = np.divmod(np.arange(12), 2)
    images = Images(("pack",), np.zeros(12, np.int32), number, number, product, number, rows, np.arange(12))
    assert products_of(images, KNOWN).tolist() == [5, 1, 0, 0]
    np.testing.assert_allclose(balanced_weights(images, KNOWN), [0.2, 5.0, 6.0, 6.0], rtol=1e-6)
    weights = rarity(images, KNOWN, [0, 1])
    assert weights.tolist() == [0.2] * 8 + [1.0] * 2 + [0.2] * 2
    drawn = np.bincount(np.concatenate([drawn_order(images, 7, epoch, weights) for epoch in range(500)]), minlength=12)
    np.testing.assert_allclose(drawn / drawn.sum(), weights / weights.sum(), atol=0.015)
    np.testing.assert_array_equal(drawn_order(images, 7, 3, weights), drawn_order(images, 7, 3, weights))


@pytest.mark.parametrize("n", [1, 40])
def test_figures_are_those_of_scikit_learn(seed: int, n: int) -> None:
    generator = np.random.default_rng(seed)
    said, known = generator.random((2, n, 5)) < 0.4
    counted = label_figures.counts(said, known)
    np.testing.assert_allclose(label_figures.f1(counted), f1_score(known, said, average=None, zero_division=0))
    occurring = np.flatnonzero(known.any(axis=0))
    for found, average, labels in (
        (label_figures.micro(counted), "micro", None),
        (label_figures.macro(counted), "macro", occurring),
    ):
        if labels is None or len(labels):
            expected = precision_recall_fscore_support(known, said, average=average, labels=labels, zero_division=0)
            assert tuple(found.values()) == pytest.approx(expected[:3])
