import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from shared.domain import duplicates, stacking, views
from shared.domain import means as reference
from shared.domain.ensemble import Mean, Means
from shared.domain.fits import Fit, decide, worth
from shared.domain.predictions import predict
from tests.engine_parts import CLASSES, CPU, TAXONOMY, Rig, chunk, first_image, md5s, picture, random_picture
from workers.vision.decode import DecodeLimits, UndecodableError, decode
from workers.vision.forward import logits
from workers.vision.preprocessing import resize

BROKEN = b"\xff\xd8\xffthis is no picture"
SPECS = [views.parse("plain"), views.parse("hflip")]
NOISE = np.random.default_rng(20)
PICTURES = [random_picture(NOISE) for _ in range(8)]
A, B, C, D, E, F, G, H = PICTURES


def table_of(training: list[tuple[list[bytes], int]]) -> duplicates.DuplicateTable:
    pictures = [pictures for pictures, _ in training]
    contents = [content for product in pictures for content in product]
    labels = np.array([label for _, label in training], dtype=np.int32)
    return duplicates.build(labels, first_image(pictures), md5s(contents), CLASSES)


TRAINING = [([A], 0), ([B], 1), ([B], 1), ([B], 2), ([C, D], 3), ([BROKEN], 4), ([A, A], 0), ([C], 3), ([E, F], 2)]
TABLE = table_of(TRAINING)
PRODUCTS = [
    [A],  # unique key, unique image
    [B],  # a key and an image of two classes
    [A, G],  # one image known
    [C, D],  # the key of one training product
    [D, C, C],  # the same key: order and repeats do not count
    [A, C],  # contradicting duplicates
    [G, H],  # new
    [BROKEN, G],  # undecodable, but known
    [E, E, F, B, G, A],  # more images than a batch
    [BROKEN, A],  # nothing that the network could see, and known
]
NETWORKS = list(Rig().networks.values())
IMAGE_POLICIES = ("none", "unique", "majority", "l1", "l2", "softmax")
PRODUCT_POLICIES = ("none", "unique", "majority")


@functools.cache
def network_probabilities(content: bytes) -> np.ndarray | None:
    """[members, views, classes] of one picture by itself."""
    try:
        pixels = torch.from_numpy(decode(content, DecodeLimits()))
    except UndecodableError:
        return None
    outputs = [
        [
            logits(n.module, resize([pixels], n.input, CPU), spec, n.input, "float32").double().softmax(1)[0]
            for spec in SPECS
        ]
        for n in NETWORKS
    ]
    return np.array([[probabilities.numpy() for probabilities in of_views] for of_views in outputs])


def dense(overrides: duplicates.Overrides, image: int) -> np.ndarray:
    distribution = np.full(CLASSES, overrides.base[image], dtype=np.float64)
    entries = slice(overrides.start[image], overrides.start[image + 1])
    distribution[overrides.class_index[entries]] = overrides.value[entries]
    return distribution


def oracle(rig: Rig, products: list[list[bytes]]) -> list[tuple[np.ndarray | None, np.ndarray | None]]:
    """Per product the normalised answer and the network's alone, over all members; None for none."""
    first = first_image(products)
    contents = [content for product in products for content in product]
    decisions = duplicates.decide(rig.table, rig.images, rig.products, first, md5s(contents), None)
    found = []
    for product in range(len(products)):
        alone, answer = [], []
        for image in range(first[product], first[product + 1]):
            probabilities = network_probabilities(contents[image])
            if probabilities is not None:
                alone.append(probabilities)
            if decisions.overrides.known[image]:
                answer.append(np.broadcast_to(dense(decisions.overrides, image), (2, 2, CLASSES)))
            elif probabilities is not None:
                answer.append(probabilities)
        combined = _combined(answer, rig)
        network = _combined(alone, rig)
        if combined is not None and network is not None:
            combined = reference.fall_back(combined[None], network[None])[0]
        decided = max(decisions.product_class[product], decisions.decided[product])
        if decided >= 0:
            combined = np.eye(CLASSES)[decided]
        if decisions.decided[product] >= 0 and rig.skip_decided:
            network = None
        found.append((combined, network))
    return found


def _combined(images: list[np.ndarray], rig: Rig) -> np.ndarray | None:
    if not images:
        return None
    one_product = np.array([0, len(images)], dtype=np.int64)
    given, fit = np.array(images), rig.fit
    if fit.powers:
        alone = [reference.combine(given[:, [m]], one_product, rig.means, np.ones(1)) for m in range(2)]
        alone = np.stack([reference.normalise(one) for one in alone], axis=1)
        return stacking.stacked(alone, np.array([fit.powers["a"], fit.powers["b"]]), np.array(fit.biases))[0]
    weights = np.array([fit.weights.get(name, 1.0) for name in "ab"])
    if fit.rare:
        rare = np.array([fit.rare_weights[name] for name in "ab"])
        weights = np.where(fit.rare, rare[:, None], weights[:, None])
    combined = reference.normalise(reference.combine(given, one_product, rig.means, weights))
    return reference.temper(combined, fit.temperature)[0]


def assert_equal(found, probabilities: np.ndarray | None) -> None:
    if probabilities is None:
        assert found is None
        return
    (expected,) = predict(probabilities[None], TAXONOMY, CLASSES)
    assert found.class_index == expected.class_index
    np.testing.assert_allclose(found.probability, expected.probability, atol=1e-6)
    np.testing.assert_allclose(found.entropy, expected.entropy, atol=1e-5)
    assert dict(found.top).keys() == dict(expected.top).keys()
    for class_index, probability in expected.top:
        np.testing.assert_allclose(dict(found.top)[class_index], probability, atol=1e-6)


@pytest.mark.parametrize("power", [1.0, 0.0, -1.0, 0.5])
@pytest.mark.parametrize("images", IMAGE_POLICIES)
def test_every_policy_and_mean_agrees_with_the_reference(images, power):
    mean = Mean(power=power)
    for products, order in itertools.product(
        PRODUCT_POLICIES, (("views", "members", "images"), ("images", "views", "members"))
    ):
        means = Means(order=order, views=mean, members=mean, images=mean)
        rig = Rig(TABLE, images, products, skip_decided=False, means=means)
        found = rig.products_of(chunk(PRODUCTS))
        for result, (answer, network) in zip(found, oracle(rig, PRODUCTS), strict=True):
            assert_equal(result.predictions.get("all"), answer)
            assert_equal(result.model_only.get("all"), network)
            assert bool(result.error) == (answer is None)


THRESHOLDS = {"model": (0.6, 0.5, 0.2), "product duplicate": (0.95, 0.949999, None)}
WEIGHTS = {"weights": {"a": 0.25, "b": 0.75}, "temperature": 1.7}
APART = WEIGHTS | {
    "rare_weights": {"a": 0.9, "b": 0.1},
    "rare": (True, False) * (CLASSES // 2) + (True,) * (CLASSES % 2),
}
STACK = {"powers": {"a": 1.2, "b": 0.4}, "biases": tuple(np.linspace(-1, 1, CLASSES).tolist())}


@pytest.mark.parametrize("power", [1.0, 0.0, 0.5])
@pytest.mark.parametrize("of_members", [WEIGHTS, APART, STACK])
def test_a_fit_mixes_and_decides_as_the_reference(power, of_members):
    mean = Mean(power=power)
    means = Means(views=mean, members=mean, images=mean)
    fit = Fit(**of_members, thresholds=THRESHOLDS, precisions={"product duplicate": (0.9, 0.95, 1.0)})
    plain = Rig(TABLE, "unique", "unique", skip_decided=False, means=means).products_of(chunk(PRODUCTS))
    rig = Rig(TABLE, "unique", "unique", skip_decided=False, means=means, fit=fit)
    found = rig.products_of(chunk(PRODUCTS))
    for result, unfitted, (answer, network) in zip(found, plain, oracle(rig, PRODUCTS), strict=True):
        if result.source == "product duplicate":
            measured = worth(fit, result.source, unfitted.predictions["all"])
            assert result.predictions["all"] == replace(measured, decision="level 2")
        else:
            assert_equal(result.predictions.get("all"), answer)
        assert_equal(result.model_only.get("all"), network)
        assert result.predictions.get("one") == unfitted.predictions.get("one")  # of which there is no fit
        for name, prediction in result.predictions.items():
            assert prediction.decision == (decide(fit, result.source, prediction) if name == "all" else "")
        assert not any(prediction.decision for prediction in result.model_only.values())
    decisions = {result.source: result.predictions["all"].decision for result in found}
    assert decisions["product duplicate"] == "level 2"
    assert decisions["image duplicate"] == "review"  # it has no thresholds


@pytest.mark.parametrize("images", IMAGE_POLICIES)
@pytest.mark.parametrize("products", PRODUCT_POLICIES)
def test_skipping_decided_products_changes_no_prediction(images, products):
    skipping, scoring = (Rig(TABLE, images, products, skip_decided=skip) for skip in (True, False))
    (short,), (long,) = skipping.run(chunk(PRODUCTS)), scoring.run(chunk(PRODUCTS))

    decided = duplicates.decide(
        TABLE, images, products, first_image(PRODUCTS), md5s([c for p in PRODUCTS for c in p]), None
    ).decided
    assert short.decided == (decided >= 0).sum()
    assert long.decided == 0
    for class_index, a, b in zip(decided, short.products, long.products, strict=True):
        assert (a.predictions, a.source, a.overridden, a.error) == (b.predictions, b.source, b.overridden, b.error)
        if class_index >= 0:
            assert a.model_only == {}
            assert a.predictions["one"].top == ((class_index, 1.0),)
        else:
            assert a.model_only == b.model_only


def test_decided_products_do_not_reach_the_network():
    rig = Rig(TABLE, "unique", "unique")
    (result,) = rig.run(chunk([[A], [C, D], [E, F], [A, A, A]]))

    assert rig.shapes == []
    assert (result.decided, result.scored_images) == (4, 0)
    assert [p.predictions["all"].class_index for p in result.products] == [0, 3, 2, 0]
    assert [p.source for p in result.products] == ["product duplicate"] * 4


def test_sources_and_shares():
    found = Rig(TABLE, "unique", "unique").products_of(chunk(PRODUCTS))

    assert [(result.source, result.overridden) for result in found] == [
        ("product duplicate", 1.0),
        ("model", 0.0),
        ("image duplicate", 0.5),
        ("product duplicate", 1.0),
        ("product duplicate", 1.0),
        ("image duplicate", 1.0),
        ("model", 0.0),
        ("image duplicate", 0.5),
        ("image duplicate", 4 / 6),
        ("image duplicate", 1.0),
    ]


def test_images_that_all_agree_decide_as_image_duplicates():
    (result,) = Rig(TABLE, "unique", "none").products_of(chunk([[A]]))

    assert (result.source, result.overridden) == ("image duplicate", 1.0)


def test_contradicting_duplicates_fall_back_to_the_network():
    mean = Mean(power=0)
    (result,) = Rig(TABLE, "unique", "none", means=Means(images=mean)).products_of(chunk([[A, C]]))

    assert result.predictions == result.model_only
    assert (result.source, result.overridden) == ("model", 0.0)


def test_contradicting_duplicates_without_a_readable_image_are_an_error():
    mean = Mean(power=0)
    table = table_of([*TRAINING, ([b"x"], 1)])
    (result,) = Rig(table, "unique", "none", means=Means(images=mean)).products_of(chunk([[BROKEN, b"x"]]))
    assert result.error == "no image of it can be decoded, and its duplicates decide nothing"


def test_a_product_duplicate_answers_although_no_image_can_be_read():
    (result,) = Rig(TABLE, "none", "unique", skip_decided=False).products_of(chunk([[BROKEN]]))

    assert (result.predictions["all"].class_index, result.source, result.error) == (4, "product duplicate", "")
    assert result.model_only == {}


def test_on_its_own_source_a_product_does_not_answer_for_itself():
    labels = [int(TAXONOMY.category_ids[label]) for _, label in TRAINING]
    own = chunk([pictures for pictures, _ in TRAINING], category_ids=labels)

    found = Rig(TABLE, "unique", "unique", own_source=True).products_of(own)

    for place, result in enumerate(found):
        others = Rig(table_of(TRAINING[:place] + TRAINING[place + 1 :]), "unique", "unique")
        assert [result] == others.products_of(chunk([TRAINING[place][0]], first_id=place + 1))
    assert {result.source for result in found} == {"model", "image duplicate", "product duplicate"}


def test_kept_scores_hold_what_duplicates_decided():
    rig = Rig(TABLE, "unique", "unique", keep_scores=True)
    (result,) = rig.run(chunk([[G], [A], [BROKEN, A]]))

    assert result.scores["product"].tolist() == [1, 2, 3]
    assert result.scores["class_index"][1, :, 0].tolist() == [0, 0]
    assert result.scores["probability"][1].tolist() == [[1, 0, 0, 0, 0]] * 2
    for row, product in enumerate(result.products):
        assert result.scores["class_index"][row, 1, 0] == product.predictions["all"].class_index
        assert result.scores["probability"][row, 1, 0] == np.float32(product.predictions["all"].probability)


def test_a_striped_picture_differs_from_its_mirror_image():
    outputs = network_probabilities(picture((255, 0, 0), (0, 0, 255)))

    assert np.abs(outputs[:, 0] - outputs[:, 1]).max() > 0.01
