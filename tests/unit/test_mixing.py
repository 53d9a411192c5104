"""What a fit finds of members whose strengths are planted, and what it leaves where there are none."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.reports import comparison
from shared.domain import apart, means
from shared.packs import Manifest
from tests.unit.test_fit_report import Shelf


@pytest.fixture
def shelf(tmp_path: Path, make_dataset: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """Every fourth product is of class 0, which is rare; 304 products are fitted on."""
    monkeypatch.setattr(apart, "PRODUCTS", 50)
    found = Shelf(tmp_path, make_dataset)
    ids = found.index.product_id
    found.label(np.where(ids % 4 == 2, 0, 1 + ids % 2))
    return found


def truth(shelf: Shelf) -> np.ndarray:
    """The class of each product of the dataset."""
    ids = shelf.index.product_id
    return np.where(ids % 4 == 2, 0, 1 + ids % 2)


def good_at_either(shelf: Shelf, noise: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One member tells classes 1 and 2 apart and knows nothing of the rare one; another knows the rare one alone."""
    known = truth(shelf)
    rows, n = np.arange(len(known)), len(known)
    frequent, rare = np.zeros((n, 3)), np.zeros((n, 3))
    frequent[:, 0] = noise.uniform(0, 0.6, n)
    said = np.where(known == 0, noise.integers(1, 3, n), np.where(noise.random(n) < 0.85, known, 3 - known))
    frequent[rows, said] = (1 - frequent[:, 0]) * 0.85
    frequent[rows, 3 - said] = (1 - frequent[:, 0]) * 0.15
    rare[:, 0] = np.where(known == 0, noise.uniform(0.6, 0.95, n), noise.uniform(0.02, 0.3, n))
    rare[:, 1:] = noise.dirichlet([0.3, 0.3], n) * (1 - rare[:, :1])
    return frequent, rare


def test_a_member_that_is_good_on_rare_categories_alone_has_its_weight_there(shelf: Shelf) -> None:
    frequent, rare = good_at_either(shelf, np.random.default_rng(1))
    shelf.say(good=frequent, noise=rare)
    found = shelf.fit()
    taken = {step.name: step.taken for step in found.steps}
    assert taken == {
        "weights": False,
        "weights apart": True,
        "temperature": True,
        "stacking": False,
        "stacking with biases": False,
    }
    assert found.fit.rare == (True, False, False)
    assert shelf.images[0] < found.fit.frequent_from == min(shelf.images[1:])
    assert found.fit.weights["good"] > 0.8
    assert found.fit.rare_weights["noise"] > 0.8
    assert found.fitted.low > found.unfitted.high

    *_, table = comparison.compare(shelf.objects, replace(shelf.version, fits={"both": found.fit.plain()})).tables
    _, after = table.rows
    assert after.name == "both, fitted: weights apart, temperature"
    assert after.all == found.fitted


def test_weights_apart_need_products_of_both_groups(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    frequent, rare = good_at_either(shelf, np.random.default_rng(1))
    shelf.say(good=frequent, noise=rare)
    monkeypatch.undo()
    found = shelf.fit()
    words = "they are fitted where 300 products of frequent and of rare categories each were held out"
    assert found.left_out == {"weights apart": words}
    assert found.fit.rare_weights == {}


def too_sure(shelf: Shelf, noise: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two members that each know something else; the second claims three times as much as it knows."""
    signal = noise.normal(0, 1, (2, len(shelf.index), 3))
    signal[:, np.arange(len(shelf.index)), truth(shelf)] += 1.5
    first, second = np.exp(1.5 * signal)
    return means.normalise(first), means.temper(means.normalise(second), 1 / 3)


def test_a_member_that_is_too_sure_of_itself_is_stacked_with_a_lower_power(shelf: Shelf) -> None:
    first, second = too_sure(shelf, np.random.default_rng(2))
    shelf.say(good=first, noise=second)
    found = shelf.fit()
    taken = {step.name for step in found.steps if step.taken}
    assert "stacking" in taken
    assert found.fit.powers["noise"] < found.fit.powers["good"] / 2
    assert found.fit.powers["good"] == pytest.approx(1, abs=0.35)
    assert (found.fit.weights, found.fit.rare_weights, found.fit.temperature) == ({}, {}, 1.0)
    assert found.fitted.share > found.unfitted.share


def test_a_category_that_all_members_neglect_gets_a_bias(shelf: Shelf) -> None:
    first, second = (means.normalise(of * np.exp([-2.0, 0, 0])) for of in too_sure(shelf, np.random.default_rng(3)))
    shelf.say(good=first, noise=second)
    found = shelf.fit()
    assert found.steps[-1].taken
    assert found.fit.biases[0] > 0.3 > max(found.fit.biases[1:])
    assert found.fit.words() == "stacking with biases"


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_taken_of_members_that_are_as_sure_as_they_are_right_and_agree(shelf: Shelf, seed: int) -> None:
    noise = np.random.default_rng(seed)
    said = noise.dirichlet([1.0] * 3, len(shelf.index))
    shelf.label((said.cumsum(axis=1) < noise.random((len(said), 1))).sum(axis=1))
    shelf.say(good=said, noise=said)
    found = shelf.fit()
    assert not [step.name for step in found.steps if step.taken]
    assert found.fit.words() == ""
    assert found.difference.mean == 0
