"""Members that see only products of some numbers of images: in files, means, the engine, training and reports."""

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared import layout
from shared.domain import means as reference
from shared.domain import taxonomy
from shared.domain.ensemble import Mean, Means, Member
from shared.domain.errors import BadInputError
from shared.domain.product_images import EVERY_PRODUCT, ImageRange, uncovered
from shared.holdout_scores import scores_key
from tests.engine_parts import CPU, SETTINGS, TAXONOMY, Colours, Network, chunk, ensemble, random_picture
from tests.ensemble_texts import kept, parse, refusal
from tests.unit.test_accumulate import COMBINATIONS, FIRST, IMAGES, MEMBERS, ORDERS, VIEWS, WEIGHTS
from workers.scoring.accumulate import DeviceMeans
from workers.scoring.chunks import Policies, ProductResult
from workers.scoring.engine import Device, Engine
from workers.training.dataset import divide
from workers.vision.sums import add_in_order

Bench = Any
RANGES = st.builds(
    lambda least, width: ImageRange(least=least, most=0 if width is None else least + width),
    st.integers(1, 6),
    st.none() | st.integers(0, 4),
)
FILE = """
name: special
splits: {A: {seed: 1, holdout: 0.1}}
defaults: {epochs: 1, model: resnet18}
members:
  all: {}
  one: {images: 1}
  more: {images: {least: 2}}
means: {members: square_roots}
combinations: {numbers: [one, more], all: [all, one, more]}
"""


def test_a_file_says_which_products_a_member_sees() -> None:
    found = kept(FILE)
    assert [member.images for member in found.members.values()] == [
        EVERY_PRODUCT,
        ImageRange(least=1, most=1),
        ImageRange(least=2),
    ]
    assert found.means.members == Mean(power=0.5)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[one, more]", "[more]", "line 10: combinations.numbers: no member sees products of 1 image; add one of"),
        ("{least: 2}", "{least: 3}", "line 10: combinations.numbers: no member sees products of 2 images; add one of"),
        ("images: 1}", "images: few}", "line 7: members.one.images: expected a whole number, found 'few'"),
        ("images: 1}", "images: 0}", "line 7: members.one.images: 0 is not from 1 to 10000"),
        ("{least: 2}", "{least: 2, most: 1}", "line 8: members.more.images: no number is between these two; write"),
        ("{least: 2}", "{from: 2}", "line 8: members.more.images: unknown key 'from'; known: least, most"),
    ],
)
def test_mistakes_are_told_with_their_line(old: str, new: str, said: str) -> None:
    assert said in refusal(FILE.replace(old, new, 1))


def test_without_combinations_all_members_together_see_every_product() -> None:
    text = FILE[: FILE.index("combinations")].replace("  all: {}\n", "")
    assert parse(text).combinations == {"all": ("one", "more")}
    with pytest.raises(BadInputError, match=r"line 6: members: no member sees products of 1 image"):
        parse(text.replace("  one: {images: 1}\n", ""))


@given(st.lists(RANGES, max_size=4))
def test_the_first_number_that_no_range_holds(ranges: list[ImageRange]) -> None:
    numbers = np.arange(1, 50)
    held = np.array([one.holds(numbers) for one in ranges]).any(axis=0) if ranges else numbers < 0
    assert [n for n in numbers if all(n < one.least or (one.most and n > one.most) for one in ranges)] == list(
        numbers[~held]
    )
    assert uncovered(ranges) == (0 if held.all() else numbers[~held][0])


APPLIES = np.array([[True, True, False], [False, True, True], [True, True, True]])  # products x members


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("powers", [(1, 1, 1), (0, 0, 0), (1, 0.5, -1)])
def test_the_device_leaves_out_members_that_do_not_see_a_product(order: Any, powers: tuple[float, ...]) -> None:
    noise = np.random.default_rng(6)
    logits = noise.normal(0, 2, (IMAGES, len(MEMBERS), VIEWS, 7))
    views, members, images = (Mean(power=power) for power in powers)
    means = Means(order=order, views=views, members=members, images=images, weights=WEIGHTS)
    device = DeviceMeans(means, MEMBERS, COMBINATIONS, VIEWS, CPU)
    product = np.repeat(np.arange(3), np.diff(FIRST))
    entered = [[device.enter(torch.from_numpy(logits[:, m, v])) for v in range(VIEWS)] for m in range(3)]
    stacked = torch.stack([torch.stack(views) for views in entered])
    stacked[torch.from_numpy(~APPLIES.T[:, product])[:, None].expand(-1, VIEWS, -1)] = torch.nan  # is not looked at
    terms = device.of_images(stacked, torch.from_numpy(APPLIES.T[:, product]))
    sums = torch.zeros(device.keys, 3, 7, dtype=device.dtype)
    add_in_order(sums, terms, product, np.arange(IMAGES))

    found, sound = device.of_products(sums, torch.from_numpy(np.diff(FIRST)), torch.from_numpy(APPLIES.T))

    exponentials = np.exp(logits)
    probabilities = exponentials / exponentials.sum(axis=-1, keepdims=True)
    for place, combination in enumerate(COMBINATIONS):
        rows = [MEMBERS.index(name) for name in combination]
        weights = np.array([WEIGHTS.get(name, 1.0) for name in combination])
        expected = reference.combine_applying(probabilities[:, rows], FIRST, means, weights, APPLIES[:, rows])
        np.testing.assert_allclose(found[place], reference.normalise(expected), rtol=1e-5, atol=1e-9)
        for p in range(3):  # and that is the mean of those members alone
            mine = [row for row in rows if APPLIES[p, row]]
            images_of = probabilities[FIRST[p] : FIRST[p + 1]][:, mine]
            given = np.array([WEIGHTS.get(MEMBERS[row], 1.0) for row in mine])
            alone = reference.combine(images_of, np.array([0, len(images_of)]), means, given)[0]
            np.testing.assert_allclose(expected[p], alone, rtol=1e-9)
    assert sound.all()


def test_a_product_that_no_member_sees_has_no_answer() -> None:
    nobody = np.array([[False, False], [True, False]])
    p = np.full((2, 2, 1, 3), 1 / 3)
    found = reference.combine_applying(p, np.array([0, 1, 2]), Means(), np.ones(2), nobody)
    assert found.tolist() == [[0, 0, 0], pytest.approx([1 / 3] * 3)]
    for power in (1.0, 0.0):
        device = DeviceMeans(Means(members=Mean(power=power)), ["a", "b"], [["a", "b"]], 1, CPU)
        terms = device.of_images(torch.full((2, 1, 2, 3), 1 / 3, dtype=device.dtype), torch.from_numpy(nobody.T))
        assert device.of_products(terms, torch.ones(2), torch.from_numpy(nobody.T))[1].tolist() == [[False, True]]


SEES = {"all": EVERY_PRODUCT, "one": ImageRange(least=1, most=1), "more": ImageRange(least=2, most=3)}


def catalog(products: int = 25) -> list[list[bytes]]:
    noise = np.random.default_rng(1)
    return [[random_picture(noise) for _ in range(count)] for count in noise.integers(1, 6, products)]


def engine(sees: dict[str, ImageRange], batch_images: int = 4, **means: Any) -> tuple[Engine, dict[str, Network]]:
    """Equal networks whatever they see."""
    networks = {name: Network(Colours(seed)) for seed, name in enumerate(SEES, 1)}
    small = ensemble(tuple(sees), Means(**means))
    members = {name: replace(member, images=sees[name]) for name, member in small.members.items()}
    small = replace(small, members=members, combinations={"all": tuple(sees)})
    policies = Policies("none", "none", skip_decided=False, own_source=False)
    on = Device(CPU, "float32", batch_images)
    return Engine(small, TAXONOMY, networks, None, policies, on=on, settings=SETTINGS), networks


def answers(of: Engine, products: Sequence[Sequence[bytes]]) -> list[ProductResult]:
    return [replace(one, product=0) for result in of.run(iter([chunk(products)])) for one in result.products]


def test_the_engine_asks_those_who_see_a_product_whatever_its_neighbours_are() -> None:
    products = catalog()
    by_number = {number: engine({n: EVERY_PRODUCT for n, one in SEES.items() if one.holds(np.array(number))})[0]
                 for number in range(1, 6)}  # fmt: skip
    expected = [answers(by_number[len(product)], [product])[0] for product in products]
    for order in (("views", "members", "images"), ("views", "images", "members"), ("images", "members", "views")):
        for batch_images in (1, 4, 64):
            found = answers(engine(SEES, batch_images, order=order)[0], products)
            assert [one.predictions["all"].category_id for one in found] == [
                one.predictions["all"].category_id for one in expected
            ]
            for one, other in zip(found, expected, strict=True):
                assert one.predictions["all"].probability == pytest.approx(other.predictions["all"].probability)
    assert answers(engine(SEES)[0], products[::-1])[::-1] == answers(engine(SEES)[0], products)
    assert replace(engine(SEES)[0].answer(products[0])[0], product=0) == answers(engine(SEES)[0], products)[0]


def test_a_network_that_sees_no_picture_of_a_batch_does_not_run() -> None:
    of, networks = engine(SEES, batch_images=4)
    answers(of, [[random_picture(np.random.default_rng(2))] for _ in range(8)])
    assert [len(network.module.shapes) for network in networks.values()] == [4, 4, 0]


def test_only_products_that_it_sees_are_trained_on_and_all_are_held_out(bench: Bench, tiny: Member) -> None:
    key = layout.categories("tiny")
    table = taxonomy.parse(bench.objects.read(key), key)
    everything = divide(bench.objects, bench.manifest, table, tiny.split)
    special = divide(bench.objects, bench.manifest, table, tiny.split, ImageRange(least=2))
    assert set(special.training.product_id) == {p for p in everything.training.product_id if p % 2}
    assert set(special.watch.product_id) == {p for p in everything.watch.product_id if p % 2}
    assert special.held_out.row.tolist() == everything.held_out.row.tolist()
    assert special.seen.tolist() == everything.seen.tolist()
    assert special.applies.tolist() == (special.held_out.product_id % 2 == 1).tolist()
    assert everything.applies.all()
    with pytest.raises(BadInputError, match="at least 2 are needed; correct the member's key 'images', lower the"):
        divide(bench.objects, bench.manifest, table, tiny.split, ImageRange(least=3))


def test_a_trained_one_is_judged_on_what_it_sees(bench: Bench, tiny: Member) -> None:
    run = bench.declare(replace(tiny, images=ImageRange(least=2)))
    bench.train(run)
    scores = np.load(BytesIO(bench.objects.read(scores_key(run, 0))))
    product = np.load(BytesIO(bench.file(run, "holdout/product_id.npy")))
    assert np.isnan(scores).any(axis=(1, 2)).tolist() == (product % 2 == 0).tolist()
    holdout = bench.metrics(run)["holdout"]
    assert holdout["products"]["all"]["n"] == len({p for p in product.tolist() if p % 2})
    assert holdout["undecodable"] == 0
