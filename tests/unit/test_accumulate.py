import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain import means as reference
from shared.domain import stacking
from shared.domain.ensemble import Mean, Means
from shared.domain.fits import Fit
from tests.engine_parts import CPU
from workers.scoring.accumulate import DeviceMeans
from workers.vision.sums import add_in_order

MEMBERS = ("a", "b", "c")
COMBINATIONS = (("b",), ("c", "a"), MEMBERS)
WEIGHTS = {"a": 0.5, "c": 3.0}
FIRST = np.array([0, 1, 4, 6], dtype=np.int64)
IMAGES, VIEWS, CLASSES = 6, 2, 7
ORDERS = list(itertools.permutations(("views", "members", "images")))


def means_of(order, views: float, members: float, images: float) -> Means:
    """The mean of each axis, by its power."""
    powers = {"views": Mean(power=views), "members": Mean(power=members), "images": Mean(power=images)}
    return Means(order=order, weights=WEIGHTS, **powers)


def on_device(
    logits: np.ndarray, overrides: dict[int, np.ndarray], means: Means, fits: Sequence[Fit] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Logits [images, members, views, classes] through `DeviceMeans`, some images overridden."""
    device = DeviceMeans(means, MEMBERS, COMBINATIONS, VIEWS, CPU, fits)
    entered = [[device.enter(torch.from_numpy(logits[:, m, v])) for v in range(VIEWS)] for m in range(len(MEMBERS))]
    terms = device.of_images(torch.stack([torch.stack(views) for views in entered]))
    assert terms.shape == (device.keys, IMAGES, CLASSES)
    for image, distribution in overrides.items():
        terms[:, image] = device.of_overrides(torch.from_numpy(distribution[None]))[0]
    sums = torch.zeros(device.keys, len(FIRST) - 1, CLASSES, dtype=device.dtype)
    add_in_order(sums, terms, np.repeat(np.arange(3), np.diff(FIRST)), np.arange(IMAGES))
    probabilities, sound = device.of_products(sums, torch.from_numpy(np.diff(FIRST)))
    return probabilities.numpy(), sound.numpy()


def outputs_of(logits: np.ndarray, overrides: dict[int, np.ndarray], combination: tuple[str, ...]) -> np.ndarray:
    rows = [MEMBERS.index(name) for name in combination]
    exponentials = np.exp(logits[:, rows].astype(np.float64))
    probabilities = exponentials / exponentials.sum(axis=-1, keepdims=True)
    for image, distribution in overrides.items():
        probabilities[image] = distribution
    return probabilities


def oracle(logits: np.ndarray, overrides: dict[int, np.ndarray], means: Means, combination: tuple[str, ...]):
    weights = np.array([WEIGHTS.get(name, 1.0) for name in combination])
    return reference.combine(outputs_of(logits, overrides, combination), FIRST, means, weights)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("images", [1, 0])
def test_votes_agree_with_the_reference(order, images):
    noise = np.random.default_rng(4)
    logits = noise.normal(0, 2, (IMAGES, len(MEMBERS), VIEWS, CLASSES))
    logits[0] = 0.0  # equal everywhere: the lower class
    one_hot, spread = np.eye(CLASSES)[2], np.array([0, 0.8, 0, 0.6, 0, 0, 0])
    means = Means(order=order, members=Mean(votes=True), images=Mean(power=images), weights=WEIGHTS)
    for overrides in ({}, {2: one_hot}, {0: one_hot, 1: spread, 3: spread}):
        probabilities, sound = on_device(logits, overrides, means)
        for place, combination in enumerate(COMBINATIONS):
            expected = oracle(logits, overrides, means, combination)
            np.testing.assert_allclose(probabilities[place], reference.normalise(expected), atol=1e-6)
        assert sound.all()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "powers", [(1, 1, 1), (0, 0, 0), (-1, -1, -1), (0.5, 1, 0), (0, 1, 0.5), (1, 0, -2), (2, -1, 1), (0, 0, 1)]
)
def test_every_order_and_mean_agrees_with_the_reference(order, powers):
    noise = np.random.default_rng(1)
    logits = noise.normal(0, 2, (IMAGES, len(MEMBERS), VIEWS, CLASSES))
    one_hot, spread = np.eye(CLASSES)[2], np.array([0, 0.8, 0, 0.6, 0, 0, 0])
    means = means_of(order, *powers)
    for overrides in ({}, {2: one_hot}, {0: one_hot, 1: spread, 3: spread}):
        probabilities, sound = on_device(logits, overrides, means)
        assert sound.all()
        for combination, found in zip(COMBINATIONS, probabilities, strict=True):
            expected = reference.normalise(oracle(logits, overrides, means, combination))
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("power", [0.0, -1.0])
def test_contradicting_duplicates_veto_a_product_and_only_it(order, power):
    logits = np.random.default_rng(2).normal(0, 2, (IMAGES, len(MEMBERS), VIEWS, CLASSES))
    means = means_of(order, power, power, power)

    probabilities, sound = on_device(logits, {1: np.eye(CLASSES)[0], 3: np.eye(CLASSES)[5]}, means)

    assert (sound == [True, False, True]).all()
    assert (probabilities[:, 1] == 0).all()


@pytest.mark.parametrize("powers", [(1, 1, 1), (0, 0, 0), (1, 0.5, -1)])
def test_a_temperature_of_one_combination_leaves_the_others_as_they_are(powers):
    logits = np.random.default_rng(5).normal(0, 2, (IMAGES, len(MEMBERS), VIEWS, CLASSES))
    means = means_of(ORDERS[0], *powers)
    plain, _ = on_device(logits, {}, means)
    found, sound = on_device(logits, {}, means, [Fit(), Fit(temperature=0.4), Fit()])
    assert sound.all()
    assert found[0].tobytes() + found[2].tobytes() == plain[0].tobytes() + plain[2].tobytes()
    expected = reference.temper(reference.normalise(oracle(logits, {}, means, COMBINATIONS[1])), 0.4)
    np.testing.assert_allclose(found[1], expected, rtol=1e-5, atol=1e-9)


shares = st.sampled_from([0.0, 0.1, 0.4, 0.9, 1.0])
biases = st.lists(st.sampled_from([-1.0, 0.0, 0.3]), min_size=CLASSES, max_size=CLASSES).map(tuple)
temperatures = st.sampled_from([0.5, 1.0, 1.7])
ONE_HOT, SPREAD = np.eye(CLASSES)[2], np.array([0, 0.8, 0, 0.6, 0, 0, 0])


@st.composite
def inputs(draw: st.DrawFn) -> tuple[np.ndarray, dict[int, np.ndarray], Means]:
    """Logits, overrides and means."""
    logits = np.random.default_rng(draw(st.integers(0, 2**32))).normal(0, 2, (IMAGES, len(MEMBERS), VIEWS, CLASSES))
    overrides = draw(st.sampled_from([{}, {2: ONE_HOT}, {0: ONE_HOT, 1: SPREAD, 3: SPREAD}]))
    powers = draw(st.sampled_from([(1, 1, 1), (1, 1, 1), (0, 0, 0), (1, 0.5, -1)]))
    return logits, overrides, means_of(draw(st.sampled_from(ORDERS)), *powers)


@st.composite
def apart(draw: st.DrawFn) -> Fit:
    """Weights of `c` and `a` by whether a category is rare."""
    some = shares.filter(bool)
    frequent, rare = ({"c": draw(shares), "a": draw(some)}, {"c": draw(some), "a": draw(shares)})
    which = draw(st.lists(st.booleans(), min_size=CLASSES, max_size=CLASSES))
    return Fit(weights=frequent, rare_weights=rare, rare=tuple(which), temperature=draw(temperatures))


@given(inputs(), apart())
@settings(max_examples=40)
def test_rare_categories_have_weights_of_their_own(case, fit):
    logits, overrides, means = case
    plain, _ = on_device(logits, overrides, means)
    found, sound = on_device(logits, overrides, means, [Fit(), fit, Fit()])
    assert sound.all()
    assert found[0].tobytes() + found[2].tobytes() == plain[0].tobytes() + plain[2].tobytes()
    weights = [[of[name] for name in COMBINATIONS[1]] for of in (fit.rare_weights, fit.weights)]
    by_class = np.array([weights[0] if rare else weights[1] for rare in fit.rare]).T
    expected = reference.combine(outputs_of(logits, overrides, COMBINATIONS[1]), FIRST, means, by_class)
    expected = reference.temper(reference.normalise(expected), fit.temperature)
    np.testing.assert_allclose(found[1], expected, rtol=1e-5, atol=1e-9)


def stacks(members: Sequence[str]) -> st.SearchStrategy[Fit]:
    powers = st.fixed_dictionaries({name: st.sampled_from([0.0, 0.4, 1.0, 1.6]) for name in members})
    return st.builds(Fit, powers=powers, biases=st.one_of(st.just(()), biases), temperature=temperatures)


@given(inputs(), stacks(COMBINATIONS[1]), stacks(MEMBERS))
@settings(max_examples=40)
def test_stacks_of_any_members_agree_with_the_reference(case, two, three):
    logits, overrides, means = case
    plain, _ = on_device(logits, overrides, means)
    found, sound = on_device(logits, overrides, means, [Fit(), two, three])
    assert sound.all()
    assert found.shape == plain.shape
    assert found[0].tobytes() == plain[0].tobytes()
    for place, fit in ((1, two), (2, three)):
        expected = reference.temper(stack_of(logits, overrides, means, COMBINATIONS[place], fit), fit.temperature)
        np.testing.assert_allclose(found[place], expected, rtol=1e-5, atol=1e-8)


def stack_of(logits, overrides, means: Means, combination: tuple[str, ...], fit: Fit) -> np.ndarray:
    alone = [reference.normalise(oracle(logits, overrides, means, (name,))) for name in combination]
    powers = np.array([fit.powers[name] for name in combination])
    return stacking.stacked(np.stack(alone, axis=1), powers, np.array(fit.biases or (0.0,)))


@pytest.mark.parametrize("order", ORDERS)
def test_contradicting_duplicates_veto_a_stack_too(order):
    logits = np.random.default_rng(8).normal(0, 2, (IMAGES, len(MEMBERS), VIEWS, CLASSES))
    overrides = {1: np.eye(CLASSES)[0], 3: np.eye(CLASSES)[5]}
    fit = Fit(powers={"c": 0.9, "a": 0.4})
    probabilities, sound = on_device(logits, overrides, means_of(order, 1, 1, 0), [Fit(), fit, Fit()])
    assert (sound == [True, False, True]).all()
    assert (probabilities[:, 1] == 0).all()
    expected = stack_of(logits, overrides, means_of(order, 1, 1, 0), COMBINATIONS[1], fit)
    np.testing.assert_allclose(probabilities[1], expected, rtol=1e-5, atol=1e-9)


def test_confident_contradictions_survive_a_geometric_mean():
    logits = np.zeros((IMAGES, len(MEMBERS), VIEWS, CLASSES))
    for member in range(3):
        logits[:, member, :, member] = 2000
    means = Means(views=Mean(power=0), members=Mean(power=0), images=Mean(power=0))

    probabilities, sound = on_device(logits, {}, means)

    assert sound.all()
    np.testing.assert_allclose(probabilities[2, 0], [1 / 3] * 3 + [0] * 4, atol=1e-6)


def test_outputs_that_are_not_finite_are_not_sound():
    logits = np.zeros((IMAGES, len(MEMBERS), VIEWS, CLASSES))
    logits[0, 0, 0, 0] = np.nan

    probabilities, sound = on_device(logits, {}, Means())

    assert sound.tolist() == [[True] * 3, [False, True, True], [False, True, True]]
    assert (probabilities[1, 0] == 0).all()


def test_a_product_without_images_is_not_sound():
    device = DeviceMeans(Means(), MEMBERS, COMBINATIONS, VIEWS, CPU)

    assert not device.of_products(torch.zeros(device.keys, 1, CLASSES), torch.zeros(1))[1].any()


def test_a_member_of_weight_zero_takes_no_part():
    logits = np.random.default_rng(3).normal(0, 2, (IMAGES, len(MEMBERS), VIEWS, CLASSES))
    logits[:, 1] = np.nan
    means = Means(members=Mean(power=0), weights={"b": 0.0})
    device = DeviceMeans(means, MEMBERS, [MEMBERS], VIEWS, CPU)
    terms = device.of_images(torch.stack([device.enter(torch.from_numpy(logits[:, m, 0]))[None] for m in range(3)]))

    assert terms.isfinite().all()


def test_additions_follow_the_order_of_images_across_any_cut():
    noise = np.random.default_rng(4)
    terms = torch.from_numpy(noise.normal(0, 1, (2, 40, 3)).astype(np.float32) * 10.0 ** noise.integers(-3, 4, (40, 1)))
    rows = np.sort(noise.integers(0, 5, 40))
    expected = torch.zeros(2, 5, 3, dtype=terms.dtype)
    for image, row in enumerate(rows):
        expected[:, row] += terms[:, image]
    for cut in (0, 1, 17, 40):
        sums = torch.zeros_like(expected)
        add_in_order(sums, terms, rows[:cut], np.arange(cut))
        add_in_order(sums, terms, rows[cut:], np.arange(cut, 40))
        assert torch.equal(sums, expected)
