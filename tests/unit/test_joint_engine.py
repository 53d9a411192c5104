"""The engine with members that answer once for a product, beside those that answer for its images."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shared.domain import duplicates, views
from shared.domain import means as reference
from shared.domain.ensemble import Mean, Means
from shared.domain.product_images import Joint
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
)
from tests.joint_parts import BROKEN, GATED, GIVEN, MAXIMUM, TILED, decoded, network, products_of, slow
from workers.scoring.chunks import Policies, ProductResult
from workers.scoring.engine import Device, Engine
from workers.vision.forward import logits
from workers.vision.heads import Headed
from workers.vision.preprocessing import resize

ORDER = ("views", "images", "members")
MEMBERS = {"grid": TILED, "each": Joint(), "sum": GATED, "largest": MAXIMUM}
COMBINATIONS = {"joint": ("grid", "sum"), "all": ("grid", "each", "sum", "largest")}


def engine(
    batch_images: int = 4,
    means: Means | None = None,
    table: duplicates.DuplicateTable | None = None,
    members: Sequence[str] = tuple(MEMBERS),
) -> tuple[Engine, dict[str, Network]]:
    networks = {
        name: Network(Colours(1) if joint == Joint() else network(joint), GIVEN)  # type: ignore[arg-type]
        for name, joint in MEMBERS.items()
    }
    small = ensemble(tuple(members), means or Means(order=ORDER))
    given = {name: replace(member, joint=MEMBERS[name]) for name, member in small.members.items()}
    combinations = {
        name: tuple(one for one in of if one in members) for name, of in COMBINATIONS.items() if {*of} & {*members}
    }
    small = replace(small, members=given, combinations=combinations)
    policies = Policies("unique" if table else "none", "none", skip_decided=False, own_source=False)
    on = Device(CPU, "float32", batch_images)
    return Engine(small, TAXONOMY, networks, table, policies, on=on, settings=SETTINGS), networks


def answers(of: Engine, products: Sequence[Sequence[bytes]]) -> list[ProductResult]:
    return [replace(one, product=0) for result in of.run(iter([chunk(products)])) for one in result.products]


def softmax(values: np.ndarray) -> np.ndarray:
    exponentials = np.exp(values.astype(np.float64) - values.max())
    return np.asarray(exponentials / exponentials.sum())


def expected_of(
    networks: dict[str, Network], product: Sequence[bytes], means: Means, combination: str, told: dict[int, int]
) -> np.ndarray:
    """The reference's mean, a joint member saying the same of every image; `told` images have a class."""
    specs = [views.parse("plain"), views.parse("hflip")]
    pictures = [decoded(one) for one in product]
    rows = np.zeros((len(pictures), len(COMBINATIONS[combination]), 2, CLASSES))
    for m, name in enumerate(COMBINATIONS[combination]):
        for v, spec in enumerate(specs):
            for i, picture in enumerate(pictures):
                module = networks[name].module
                if MEMBERS[name] != Joint():
                    rows[i, m, v] = softmax(slow(module, MEMBERS[name], pictures, spec))
                elif i in told:
                    rows[i, m, v] = np.eye(CLASSES)[told[i]]
                else:
                    rows[i, m, v] = softmax(
                        logits(module, resize([picture], GIVEN, CPU), spec, GIVEN, "float32")[0].numpy()
                    )
    combined = reference.combine(rows, np.array([0, len(pictures)]), means, np.ones(rows.shape[1]))
    return reference.normalise(combined)[0]


@pytest.mark.parametrize("order", [ORDER, ("images", "views", "members"), ("images", "members", "views")])
@pytest.mark.parametrize("power", [1.0, 0.0, 0.5])
def test_the_engine_mixes_what_is_said_of_products_and_of_images(order: Any, power: float) -> None:
    products = products_of(2, [1, 2, 5, 3, 1, 4])
    table = duplicates.build(np.array([3], np.int32), first_image([[products[2][1]]]), md5s([products[2][1]]), CLASSES)
    means = Means(order=order, views=Mean(power=power), members=Mean(power=power), images=Mean(power=1.0))
    of, networks = engine(means=means, table=table)
    for place, found in enumerate(answers(of, products)):
        for combination in COMBINATIONS:
            told = {1: 3} if place == 2 else {}
            expected = expected_of(networks, products[place], means, combination, told)
            (best, probability), *_ = found.predictions[combination].top
            assert best == expected.argmax()
            assert probability == pytest.approx(expected[best], rel=1e-5)
            alone = expected_of(networks, products[place], means, combination, {})
            assert found.model_only[combination].top[0][1] == pytest.approx(alone.max(), rel=1e-5)


@pytest.mark.parametrize("members", [tuple(MEMBERS), ("grid",), ("sum", "each")])
def test_answers_do_not_depend_on_neighbours_order_or_cuts(members: Sequence[str]) -> None:
    products = products_of(3, [*np.random.default_rng(3).integers(1, 6, 40)])
    together = answers(engine(members=members)[0], products)
    assert answers(engine(members=members)[0], products[::-1])[::-1] == together
    alone, _ = engine(members=members)
    assert [answers(alone, [product])[0] for product in products[:9]] == together[:9]
    for batch_images in (1, 7, 100):
        for found, expected in zip(answers(engine(batch_images, members=members)[0], products), together, strict=True):
            for name, prediction in expected.predictions.items():
                assert found.predictions[name].category_id == prediction.category_id
                assert found.predictions[name].probability == pytest.approx(prediction.probability, abs=1e-5)
    asked, _ = engine(members=members)
    for product, expected in zip(products[:5], together, strict=False):
        found = asked.answer(product)[0]
        assert found.predictions["all"].probability == pytest.approx(expected.predictions["all"].probability, abs=1e-5)


def test_a_chunk_of_more_products_than_there_are_rows() -> None:
    """Products are finished in whole batches; those that wait, and the one that is cut, are carried over."""
    few = products_of(7, [1, 2, 3, 5, 4])
    table = duplicates.build(np.array([3], np.int32), first_image([[few[1][0]]]), md5s([few[1][0]]), CLASSES)
    expected = answers(engine(table=table)[0], few)
    places = np.random.default_rng(7).integers(0, len(few), 600)
    for batch_images in (4, 33, 100):
        found = answers(engine(batch_images, table=table)[0], [few[place] for place in places])
        for one, place in zip(found, places, strict=True):
            for said, wanted in ((one.predictions, "predictions"), (one.model_only, "model_only")):
                for name, prediction in getattr(expected[place], wanted).items():
                    assert said[name].top[0][0] == prediction.top[0][0]
                    assert said[name].probability == pytest.approx(prediction.probability, abs=1e-5)
        assert batch_images > 4 or found == [expected[place] for place in places]


def test_every_pass_has_the_same_shape() -> None:
    of, networks = engine(batch_images=6)
    answers(of, products_of(4, [3, 1, 5, 2, 2, 1, 1]))
    modules = {name: one.module for name, one in networks.items()}
    assert set(modules["grid"].shapes) == {(6, 3, 8, 8)}
    assert isinstance(modules["sum"], Headed)
    assert set(modules["sum"].backbone.shapes[1:]) == {(6, 3, 8, 8)}  # the first tells the map's size
    of.warm_up()


def test_images_that_cannot_be_decoded_are_left_out() -> None:
    ((first, second, third),) = products_of(5, [3])
    of, _ = engine()
    whole, holes, late = answers(
        of, [[first, second, third], [BROKEN, first, second, BROKEN, third], [BROKEN] * 5 + [first, second, third]]
    )
    assert whole.predictions == holes.predictions == late.predictions
    nothing, empty = answers(of, [[BROKEN], []])
    assert nothing.error.startswith("no image of it can be decoded; the first")
    assert empty.error == "it has no images"


def test_image_duplicates_do_not_tell_joint_members_what_they_cannot_see() -> None:
    table = duplicates.build(np.array([3], np.int32), first_image([[BROKEN]]), md5s([BROKEN]), CLASSES)
    of, _ = engine(table=table)
    ((other,),) = products_of(6, [1])
    (found,) = answers(of, [[BROKEN, BROKEN + b"2"]])
    assert found.error == "no image of it can be decoded, and its duplicates decide nothing"  # of the joint combination
    (found,) = answers(of, [[BROKEN, other]])
    (alone,) = answers(of, [[other]])
    assert found.predictions["joint"] == alone.predictions["joint"]
    assert found.model_only == alone.model_only
    assert found.predictions["all"].probability != alone.predictions["all"].probability
    each, _ = engine(table=table, members=("each",))
    (found,) = answers(each, [[BROKEN, BROKEN + b"2"]])
    assert found.predictions["all"].class_index == 3
