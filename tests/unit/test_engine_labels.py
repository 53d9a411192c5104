"""Label sets through the engine, against the means of the pure reference."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from shared.domain import duplicates, label_sets, views
from shared.domain import means as reference
from shared.domain.ensemble import Mean, Means
from shared.domain.fits import Fit
from shared.domain.label_sets import LabelSets, set_id
from shared.domain.predictions import predict_labels
from tests.engine_parts import (
    CLASSES,
    CPU,
    SETTINGS,
    TAXONOMY,
    Colours,
    Network,
    chunk,
    ensemble,
    first_image,
    md5s,
    random_picture,
)
from workers.scoring import results, summaries
from workers.scoring.chunks import Policies
from workers.scoring.engine import Device, Engine
from workers.vision.decode import DecodeLimits, decode
from workers.vision.forward import logits
from workers.vision.preprocessing import resize

NOISE = np.random.default_rng(20)
A, B, C, D = (random_picture(NOISE) for _ in range(4))
SPECS = [views.parse("plain"), views.parse("hflip")]
LEARNT = {"a": (), "b": (0, 1, 2), "c": (3,)}  # label 4 is the first one's alone
NETWORKS = {name: Network(Colours(seed), labels=LEARNT[name]) for seed, name in enumerate(LEARNT, 1)}
COMBINATIONS = {"one": ("b",), "two": ("b", "c"), "all": ("a", "b", "c")}
SETS: LabelSets = label_sets.build(
    label_sets.merge([{set_id(one): one for one in [(100,), (100, 103), (), (101, 104)]}]), TAXONOMY
)


def rows(*labels: tuple[int, ...]) -> np.ndarray:
    return SETS.index_of(np.array([set_id(one) for one in labels])).astype(np.int32)


TABLE = duplicates.build(rows((100, 103), (100, 103), (100,)), first_image([[A], [B], [B]]), md5s([A, B, B]), 4)


def engine(
    means: Means, images: str = "none", products: str = "none", fit: Fit | None = None, *, keep_scores: bool = False
) -> Engine:
    small = replace(ensemble(("a", "b", "c"), means), task="multilabel", combinations=COMBINATIONS)
    return Engine(
        small,
        TAXONOMY,
        NETWORKS,
        TABLE,
        Policies(images, products, skip_decided=False, own_source=False),
        on=Device(CPU, "float32", 4),
        settings=SETTINGS,
        fits={"all": fit or Fit()},
        sets=SETS,
        keep_scores=keep_scores,
    )


def of_picture(content: bytes) -> np.ndarray:
    """[members, views, labels]."""
    pixels = torch.from_numpy(decode(content, DecodeLimits()))
    outputs = [
        [logits(n.module, resize([pixels], n.input, CPU), s, n.input, "float32").double().sigmoid()[0] for s in SPECS]
        for n in NETWORKS.values()
    ]
    found = np.array([[probabilities.numpy() for probabilities in of_views] for of_views in outputs])
    for place, learnt in enumerate(LEARNT.values()):
        if learnt:
            found[place][:, [label for label in range(CLASSES) if label not in learnt]] = 0
    return found


def expected(products: list[list[bytes]], members: tuple[str, ...], means: Means, told: dict[bytes, np.ndarray]):
    scores = np.stack([of_picture(one) for product in products for one in product])
    for place, one in enumerate(one for product in products for one in product):
        if one in told:
            scores[place] = told[one]
    chosen = [list(NETWORKS).index(name) for name in members]
    learnt = np.stack([np.isin(np.arange(CLASSES), LEARNT[name] or np.arange(CLASSES)) for name in members])
    weights = reference.of_labels(np.ones(len(members)), learnt)
    return reference.combine(scores[:, chosen], first_image(products), means, weights)


PRODUCTS = [[A], [B, C], [C, D, C, D, C], [D]]
ORDERS = [("views", "members", "images"), ("views", "images", "members"), ("images", "members", "views")]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("power", [1, 0, -1])
def test_a_labels_mean_is_over_the_members_that_have_learnt_it(order, power) -> None:
    means = Means(order=order, members=Mean(power=power), images=Mean(power=power))
    fit = Fit(label_thresholds=(0.9, 0.2, 0.5, 0.5, 0.1))
    found = engine(means, fit=fit).run(iter([chunk(PRODUCTS)]))
    (result,) = found
    for name, members in COMBINATIONS.items():
        probabilities = expected(PRODUCTS, members, means, {})
        thresholds = (fit if name == "all" else Fit()).of_labels(CLASSES)
        wanted = predict_labels(probabilities, np.tile(thresholds, (4, 1)), TAXONOMY, CLASSES)
        for product, want in zip(result.products, wanted, strict=True):
            got = product.predictions[name]
            assert not product.error
            assert [index for index, _ in got.labels or ()] == [index for index, _ in want.labels or ()]
            assert dict(got.top) == pytest.approx(dict(want.top), abs=1e-6)
            assert got.entropy == pytest.approx(want.entropy, abs=1e-4)
            assert got.nodes == ()
    assert (expected(PRODUCTS, ("b", "c"), means, {})[:, 4] == 0).all()  # nobody there has learnt it


def test_an_image_known_with_one_set_stands_for_its_labels_in_every_member() -> None:
    means = Means()
    (result,) = engine(means, "unique").run(iter([chunk([[A, C], [B]])]))
    told = {A: SETS.dense(rows((100, 103)))[0]}
    probabilities = expected([[A, C], [B]], COMBINATIONS["two"], means, told)
    first, second = result.products
    assert (first.source, first.overridden, second.source) == ("image duplicate", 0.5, "model")
    assert dict(first.predictions["two"].top) == pytest.approx(
        {label: p for label, p in enumerate(probabilities[0]) if p > 0}, abs=1e-6
    )
    assert first.model_only["two"] != first.predictions["two"]
    (shared,) = engine(means, "l1").run(iter([chunk([[B]])]))
    assert dict(shared.products[0].predictions["all"].top)[0] == 1.0  # both of its sets have it
    assert dict(shared.products[0].predictions["all"].top)[3] == pytest.approx(0.5)


def test_a_product_with_the_images_of_one_set_is_answered_by_exactly_this_set() -> None:
    (result,) = engine(Means(), "none", "unique").run(iter([chunk([[A, A], [C]])]))
    first, second = result.products
    assert (first.source, second.source) == ("product duplicate", "model")
    for prediction in first.predictions.values():
        assert prediction.labels == ((0, 1.0), (3, 1.0))
        assert (prediction.category_id, prediction.entropy) == (100, 0.0)
    assert first.model_only["all"].labels != first.predictions["all"].labels


def test_scores_are_kept_of_labels_and_of_what_duplicates_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "KEPT", 3)
    monkeypatch.setattr(results, "KEPT", 3)
    (result,) = engine(Means(), "none", "unique", keep_scores=True).run(iter([chunk([[A, A], [C, D]])]))
    scores = result.scores
    assert scores is not None
    assert scores["class_index"].shape == scores["probability"].shape == (2, 3, 3)
    assert scores["class_index"][0].tolist() == [[0, 3, 1]] * 3
    assert scores["probability"][0].tolist() == [[1, 1, 0]] * 3
    for place, members in enumerate(COMBINATIONS.values()):
        (want,) = expected([[C, D]], members, Means(), {})
        best = np.argsort(-want, kind="stable")
        assert scores["class_index"][1, place].tolist() == best[:3].tolist()
        np.testing.assert_allclose(scores["probability"][1, place], want[best[:3]], atol=1e-6)
        assert scores["rest"][1, place] == pytest.approx(want[best[3:]].sum(), abs=1e-6)
    assert scores["rest"][0].tolist() == [0, 0, 0]
