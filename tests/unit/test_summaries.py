import numpy as np
import pytest
import torch

from shared.domain import predictions
from tests.engine_parts import CLASSES, CPU, TAXONOMY
from workers.scoring.summaries import Summariser, keep


def rows() -> np.ndarray:
    noise = np.random.default_rng(1)
    random = noise.dirichlet(np.full(CLASSES, 0.3), 50)
    tied = np.array([[0.25, 0.25, 0.25, 0.25, 0], [0, 0.5, 0, 0.5, 0], [0.2] * 5])
    return np.concatenate([random, tied, np.eye(CLASSES)]).astype(np.float32)


@pytest.mark.parametrize("top_k", [1, 3, CLASSES, 10])
def test_summaries_agree_with_the_reference(top_k):
    given = rows()
    found = Summariser(TAXONOMY, top_k, CPU).summarise(torch.from_numpy(given))
    expected = predictions.summarise(given, TAXONOMY, top_k)

    assert (found.class_index == expected.class_index).all()
    assert (found.probability == expected.probability).all()
    assert (found.node_index == expected.node_index).all()
    np.testing.assert_allclose(found.node_probability, expected.node_probability, atol=1e-6)
    np.testing.assert_allclose(found.margin, expected.margin, atol=1e-6)
    np.testing.assert_allclose(found.entropy, expected.entropy, atol=1e-6)


def test_one_hot_rows_make_the_prediction_that_duplicates_make():
    summary = Summariser(TAXONOMY, 3, CPU).summarise(torch.eye(CLASSES))

    assert predictions.assemble(summary, TAXONOMY) == [predictions.one_hot(i, TAXONOMY) for i in range(CLASSES)]


def test_kept_scores_are_the_highest_classes():
    given = rows()
    kept = keep(torch.from_numpy(given))

    assert (kept.probability == -np.sort(-given, axis=1)).all()
    assert (np.take_along_axis(given, kept.class_index.astype(np.int64), axis=1) == kept.probability).all()
