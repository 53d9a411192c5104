from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from random import Random

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.product_images import EACH_IMAGE, Joint
from tests.engine_parts import SETTINGS, TAXONOMY, Network, ensemble, random_picture
from tests.joint_parts import GIVEN, Corners
from tests.tiny_member import MEMBER
from tests.unit.test_units import some_images
from workers.scoring.chunks import Policies
from workers.scoring.engine import Device, Engine
from workers.training.filling import UnitSource
from workers.training.pictures import PictureBatch
from workers.training.units import Units


class Numbers:
    """Pictures that say their rows; `broken` ones cannot be decoded. What was asked for is remembered."""

    def __init__(self, broken: Collection[int]) -> None:
        self.broken = set(broken)
        self.asked: list[list[int]] = []

    def batches(self, batches: Iterable[np.ndarray]) -> Iterator[PictureBatch]:
        for rows in batches:
            self.asked.append(rows.tolist())
            whole = np.array([row for row in rows.tolist() if row not in self.broken], dtype=np.int64)
            lost = {row: "it is broken" for row in rows.tolist() if row in self.broken}
            yield PictureBatch(whole, [torch.tensor([row]) for row in whole.tolist()], lost)


def test_a_later_image_comes_in_the_place_of_one_that_cannot_be_decoded() -> None:
    images = some_images([1, 1, 1, 4, 6, 6, 6, 6, 6, 9, 9])
    source = Numbers({1, 3, 5, 6, 9})
    filled = UnitSource(source, Units(images, Joint(kind="fused", most=2)))
    first, second, third = filled.batches(np.array(units) for units in ([2, 0], [1], [3, 3]))
    assert first.rows.tolist() == [4, 7, 0, 2], "of product 6 the first and the fourth, of product 1 all but the second"
    assert [int(picture) for picture in first.pictures] == first.rows.tolist()
    assert set(first.undecodable) == {1, 5, 6}
    assert (second.rows.tolist(), set(second.undecodable)) == ([], {3}), "there is no other"
    assert (third.rows.tolist(), set(third.undecodable)) == ([10, 10], {9})
    each = UnitSource(source, Units(images, EACH_IMAGE))
    source.asked.clear()
    (batch,) = each.batches([np.array([6, 0, 5])])
    assert (batch.rows.tolist(), set(batch.undecodable), source.asked) == ([0], {5, 6}, [[6, 0, 5]])


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(1, 4), st.randoms(use_true_random=False))
def test_of_each_product_the_first_that_can_be_decoded(counts: list[int], most: int, chance: Random) -> None:
    images = some_images(np.repeat(np.arange(len(counts)), counts).tolist())
    broken = {row for row in range(len(images)) if chance.random() < 0.4}
    filled = UnitSource(Numbers(broken), Units(images, Joint(kind="fused", most=most)))
    order = chance.sample(range(len(counts)), len(counts))
    (batch,) = filled.batches([np.array(order)])
    expected = []
    for product in order:
        mine = np.flatnonzero(images.product_id == product).tolist()
        expected += [row for row in mine if row not in broken][:most]
    assert batch.rows.tolist() == expected


def test_training_takes_the_images_of_a_product_that_the_engine_takes() -> None:
    """The engine says of a product with broken pictures what it says of those alone that a training learns from."""
    noise = np.random.default_rng(4)
    pictures = [random_picture(noise) for _ in range(6)]
    for broken in (1, 2):
        pictures[broken] = b"this is no picture"
    source = Numbers({1, 2})
    (batch,) = UnitSource(source, Units(some_images([7] * 6), Joint(kind="tiled"))).batches([np.array([0])])
    member = replace(MEMBER, name="joint", input=GIVEN, joint=Joint(kind="tiled"))
    small = replace(ensemble(("joint",)), members={"joint": member}, combinations={"all": ("joint",)})
    engine = Engine(
        replace(small, means=replace(small.means, order=("views", "images", "members"))),
        TAXONOMY,
        {"joint": Network(Corners(3), GIVEN)},
        None,
        Policies("none", "none", skip_decided=False, own_source=False),
        on=Device(torch.device("cpu"), "float32", 4),
        settings=SETTINGS,
    )

    def answer(rows: Sequence[int]) -> float:
        return engine.answer([pictures[row] for row in rows])[0].predictions["all"].probability

    assert batch.rows.tolist() == [0, 3, 4, 5]
    assert answer(range(6)) == answer(batch.rows.tolist()) != answer([0, 3])
    engine.close()
