"""Fits of weights, temperature and thresholds: what they promise, whatever the products."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain import fits, fitting, intervals, means
from shared.domain.errors import NewerSchemaError
from shared.domain.fits import DECISIONS, Fit, decide, worth
from shared.domain.predictions import one_hot, predict
from shared.domain.records import Prediction
from tests.engine_parts import CLASSES, TAXONOMY

images = st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=3), min_size=1, max_size=25)
shares = st.sampled_from([0.0, 1e-6, 0.1, 0.3, 0.5, 0.9, 1.0])


def md5s(products: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    flat = np.array([image for product in products for image in product], dtype=np.uint64)
    return np.cumsum([0, *map(len, products)]).astype(np.int64), np.stack([flat, flat // 2], axis=1)


@given(images)
def test_groups_are_what_a_search_from_product_to_product_finds(products):
    found = fitting.groups(*md5s(products)).tolist()
    left = list(range(len(products)))
    while left:
        reached = {left[0]}
        while more := {
            i for i in left if i not in reached and any(set(products[i]) & set(products[j]) for j in reached)
        }:
            reached |= more
        assert len({found[i] for i in reached}) == 1
        left = [i for i in left if i not in reached]
        assert not {found[i] for i in left} & {found[i] for i in reached}


@given(images, st.integers(2, 6))
def test_folds_keep_groups_whole_and_are_even(products, count):
    group = fitting.groups(*md5s(products))
    fold = fitting.folds(group, count)
    assert len(set(zip(group.tolist(), fold.tolist(), strict=True))) == len(set(group.tolist()))
    sizes = [len(set(group[fold == number].tolist())) for number in range(count)]
    assert max(sizes) - min(sizes) <= 1


@given(st.lists(st.tuples(shares, shares, shares), min_size=1, max_size=30))
@settings(max_examples=50)
def test_no_other_weights_have_less_log_loss(rows):
    known = np.array(rows)
    weights = fitting.mixture_weights(known)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    least = fitting.mixture_losses(np.maximum(known, fitting.LEAST), weights).mean()
    for steps in itertools.product(range(5), repeat=3):
        if any(steps):
            other = fitting.mixture_losses(np.maximum(known, fitting.LEAST), np.array(steps, dtype=float))
            assert least <= other.mean() + 1e-4


def test_weights_leave_out_a_member_that_knows_nothing():
    good = np.random.default_rng(1).uniform(0.5, 1, 200)
    weights = fitting.mixture_weights(np.column_stack([good, good / 100]))
    assert weights[0] > 0.99


@given(st.lists(st.tuples(shares, shares, shares).filter(any), min_size=1, max_size=20), st.integers(0, 2))
def test_losses_are_those_of_tempered_probabilities(rows, known):
    probabilities = means.normalise(np.array(rows))
    right = np.full(len(rows), known)
    losses = fitting.tempered_losses(probabilities, right)
    for temperature, found in zip(fitting.TEMPERATURES.tolist(), losses.T, strict=True):
        tempered = means.temper(probabilities, temperature)[:, known]
        sure = probabilities[:, known] > 0
        np.testing.assert_allclose(found[sure], -np.log(tempered[sure]), rtol=1e-6, atol=1e-9)
    assert np.isfinite(losses).all()


def test_a_vetoed_product_costs_the_same_at_every_temperature():
    losses = fitting.tempered_losses(np.zeros((1, 3)), np.zeros(1, np.int64))
    np.testing.assert_allclose(losses, -np.log(fitting.LEAST))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_temperature_of_a_sharpened_distribution_is_found(temperature):
    noise = np.random.default_rng(3)
    honest = noise.dirichlet(np.ones(5), 4000)
    known = np.array([noise.choice(5, p=row) for row in honest])
    losses = fitting.tempered_losses(means.temper(honest, 1 / temperature), known)
    assert fitting.best_temperature(losses) == pytest.approx(temperature, rel=0.1)


@st.composite
def answers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(0, 200))
    noise = np.random.default_rng(draw(st.integers(0, 2**32)))
    probability = np.sort(noise.integers(0, 21, (n, 3)) / 20, axis=1)
    return probability, noise.random((n, 3)) < probability ** draw(st.sampled_from([0.1, 1.0, 4.0]))


@given(answers(), st.sampled_from([0.5, 0.8, 0.95]))
def test_thresholds_reach_their_accuracy_and_lower_ones_do_not(found, accuracy):
    probability, right = found
    thresholds = fitting.thresholds(probability, right, accuracy)
    left = np.ones(len(probability), np.bool_)
    for step, least in enumerate(thresholds):
        reached = [
            value
            for value in set(probability[left, step].tolist())
            if intervals.wilson(
                int(right[(these := left & (probability[:, step] >= value)), step].sum()), int(these.sum())
            )[0]
            >= accuracy
        ]
        assert least == (min(reached) if reached else None)
        if least is not None:
            left &= probability[:, step] < least


@given(answers(), st.tuples(*[st.one_of(st.none(), shares)] * 3))
def test_one_decision_is_as_many_at_once(found, thresholds):
    probability, _ = found
    fit = Fit(thresholds={"model": thresholds})
    for row, place in zip(probability.tolist(), fitting.decisions(thresholds, probability).tolist(), strict=True):
        assert decide(fit, "model", prediction(*row)) == DECISIONS[place]


def prediction(category: float, second: float, first: float) -> Prediction:
    nodes = ((0, first), (0, second), (0, category))
    return Prediction(7, 0, category, ((0, category),), nodes, category, 0.0)


def test_without_thresholds_nothing_is_decided_and_unknown_sources_are_for_review():
    sure = prediction(1.0, 1.0, 1.0)
    assert decide(Fit(), "model", sure) == ""
    assert decide(Fit(thresholds={"model": (0.5, None, None)}), "image duplicate", sure) == "review"


@given(st.integers(0, 1000), st.integers(0, CLASSES - 1))
def test_what_duplicates_decide_is_as_probable_as_one_other_class_leaves_it(right, class_index):
    certain, share = one_hot(class_index, TAXONOMY), right / 1000
    fit = Fit(precisions={"product duplicate": (share, 0.75, 0.875)})
    assert worth(fit, "image duplicate", certain) == certain
    assert worth(Fit(precisions={"product duplicate": (1.0, 1.0, 1.0)}), "product duplicate", certain) == certain
    found = worth(fit, "product duplicate", certain)
    assert (found.category_id, found.top) == (certain.category_id, ((class_index, share),))
    assert [node for node, _ in found.nodes] == [node for node, _ in certain.nodes]
    assert [probability for _, probability in found.nodes] == [0.875, 0.75, share]
    if share >= 0.5:
        answers = np.zeros((1, CLASSES))
        answers[0, class_index], answers[0, class_index - 1] = share, 1 - share
        (expected,) = predict(answers, TAXONOMY, 1)
        assert (found.probability, found.margin, found.entropy) == pytest.approx(
            (expected.probability, expected.margin, expected.entropy), abs=2e-7
        )


def test_a_fit_survives_being_stored():
    fit = Fit(weights={"a": 0.25, "b": 0.75}, temperature=2.0, thresholds={"model": (0.5, None, 0.1)}, products=3)
    apart = replace(fit, rare_weights={"a": 1.0, "b": 0.0}, rare=(True, False), frequent_from=7)
    stack = Fit(powers={"a": 1.2, "b": 0.0}, biases=(0.5, -0.25), precisions={"image duplicate": (0.9, 0.95, 1.0)})
    for one in (fit, apart, stack):
        assert fits.from_plain(one.plain()) == one
        assert fits.from_plain(yaml.safe_load(yaml.safe_dump(json.loads(json.dumps(one.plain()))))) == one
    assert [one.words() for one in (Fit(), fit, apart, stack)] == [
        "",
        "weights, temperature",
        "weights apart, temperature",
        "stacking with biases",
    ]


def test_a_fit_of_a_newer_shelver_is_left_to_one():
    with pytest.raises(NewerSchemaError, match="a fit has 'moods'"):
        fits.from_plain(Fit().plain() | {"moods": [1.0]})


def test_a_document_of_before_there_were_stacks_is_read_and_written_as_it_is():
    """Its digest is in the version of an ensemble."""
    document = {
        "weights": {"a": 0.25, "b": 0.75},
        "temperature": 2.0,
        "thresholds": {"model": [0.5, None, 0.1]},
        "accuracy": 0.95,
        "products": 3,
    }
    fit = fits.from_plain(document)
    assert fit == Fit(
        weights=document["weights"], temperature=2.0, thresholds={"model": (0.5, None, 0.1)}, accuracy=0.95, products=3
    )
    assert fit.plain() == document


def test_averages_hold_their_mean_and_equal_values_are_certain():
    found = intervals.average(np.random.default_rng(5).normal(0.5, 1, 400))
    assert found.low < found.mean < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 / 20, rel=0.15)
    assert intervals.average(np.ones(3)) == intervals.Average(3, 1.0, 1.0, 1.0)


@given(st.integers(1, 1000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_lower_bounds_are_those_of_wilson(pair):
    successes, n = pair
    (found,) = intervals.lower_bounds(np.array([successes]), np.array([n]))
    assert found == pytest.approx(intervals.wilson(successes, n)[0], abs=1e-9)
