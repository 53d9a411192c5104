import numpy as np
import pytest
from sklearn.metrics import f1_score

from shared.domain import label_figures, label_fitting, swarm
from shared.domain.ensemble import Mean
from shared.domain.fits import SURE, Fit, from_plain


def test_a_swarm_finds_the_top_of_a_hill_again() -> None:
    top = np.array([0.2, 0.9, 0.0])
    found = swarm.best(lambda at: -float(((at - top) ** 2).sum()), 3)
    np.testing.assert_allclose(found, top, atol=1e-3)
    np.testing.assert_array_equal(found, swarm.best(lambda at: -float(((at - top) ** 2).sum()), 3))


def test_a_swarm_is_never_worse_than_the_middle_or_a_corner() -> None:
    assert swarm.best(lambda at: float(at.tolist() == [0.0, 1.0, 0.0]), 3).tolist() == [0.0, 1.0, 0.0]
    assert swarm.best(lambda at: float(at.tolist() == [0.5, 0.5]), 2).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("power", [1.0, 0.0, -1.0])
def test_weights_trust_the_member_that_knows(seed: int, power: float) -> None:
    noise = np.random.default_rng(seed)
    known = noise.random((200, 4)) < 0.4
    good, bad = np.where(known, 0.8, 0.3) + noise.normal(0, 0.05, known.shape), noise.random(known.shape)
    alone = np.clip(np.stack([bad, good], axis=1), 0.01, 0.99).astype(np.float32)
    learnt = np.ones((2, 4), np.bool_)
    weights = label_fitting.weights(alone, learnt, known, Mean(power=power))
    assert weights.sum() == pytest.approx(1)
    assert weights[1] > weights[0]

    def score(given: np.ndarray) -> float:
        said = label_fitting.mixed(alone, learnt, given, Mean(power=power)) > SURE
        return float(f1_score(known, said, average="micro"))

    assert score(weights) >= max(score(np.array([0.5, 0.5])), score(np.array([0.0, 1.0])))


def test_a_label_is_mixed_of_the_members_that_have_learnt_it() -> None:
    alone = np.array([[[0.4, 0.0, 0.0], [0.8, 0.6, 0.0]]], dtype=np.float32)
    learnt = np.array([[True, False, False], [True, True, False]])
    for power in (1.0, 0.0, -1.0):
        found = label_fitting.mixed(alone, learnt, np.array([1.0, 3.0]), Mean(power=power))
        assert found[0, 1:] == pytest.approx([0.6, 0.0])
    assert label_fitting.mixed(alone, learnt, np.array([1.0, 3.0]), Mean())[0, 0] == pytest.approx(0.7)


def test_thresholds_are_the_best_there_are(seed: int) -> None:
    noise = np.random.default_rng(seed)
    known = noise.random((60, 5)) < 0.3
    known[:, 4] = False  # no product has it
    probabilities = np.round(np.clip(known * 0.3 + noise.random(known.shape) * 0.6, 0, 1), 2)  # with ties
    found = label_fitting.thresholds(probabilities, known)
    assert found[4] == SURE
    tried = np.arange(-0.005, 1, 0.01)
    for label in range(4):
        best = max(f1_score(known[:, label], probabilities[:, label] > t, zero_division=0) for t in tried)
        assert f1_score(known[:, label], probabilities[:, label] > found[label]) == pytest.approx(best)
    one = label_fitting.one_threshold(probabilities, known)
    best = max(f1_score(known, probabilities > t, average="micro", zero_division=0) for t in tried)
    assert f1_score(known, probabilities > one, average="micro", zero_division=0) == pytest.approx(best)
    assert label_fitting.one_threshold(probabilities, np.zeros_like(known)) == SURE


def test_a_fit_keeps_its_thresholds_and_others_are_as_they_were() -> None:
    fit = Fit(weights={"a": 1.0}, label_thresholds=(0.25, 0.5))
    assert from_plain(fit.plain()) == fit
    assert "label_thresholds" not in Fit().plain()
    assert Fit(label_thresholds=(0.25,)).of_labels(3).tolist() == [0.25] * 3
    assert Fit().of_labels(2).tolist() == [SURE] * 2


def test_an_interval_of_f1_is_a_bootstrap_over_products(seed: int) -> None:
    noise = np.random.default_rng(seed)
    known, said = noise.random((2, 300, 3)) < 0.5
    counts = label_figures.counts(said.T, known.T).T
    found = label_figures.f1_average(counts)
    assert found.n == 300
    assert found.mean == pytest.approx(f1_score(known, said, average="micro"))
    assert found.low < found.mean < found.high
