"""A member that answers for products: trained, interrupted, scored on the holdout, and scored by the engine alike."""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from shared.domain.ensemble import Augmentation, Head, Init, Input, Member, Schedule, Split
from shared.domain.errors import BadInputError
from shared.domain.product_images import EACH_IMAGE, Joint
from shared.holdout_scores import VIEWS, scores_key
from shared.packs import read_index, read_taxonomy
from tests.engine_parts import SETTINGS, TAXONOMY, Network, ensemble, random_picture
from tests.tiny_member import MEMBER, Preempted
from tests.unit.test_joint import GIVEN, Corners
from workers.scoring.chunks import ChunkInput, Policies
from workers.scoring.engine import Device as ScoringDevice
from workers.scoring.engine import Engine
from workers.training.answering import whole_products
from workers.training.augment import EpochAugmentation
from workers.training.dataset import Images, divide
from workers.training.device import Device
from workers.training.filling import UnitSource
from workers.training.learner import Learner
from workers.training.pictures import PictureBatch
from workers.training.preemption import PreemptedError
from workers.training.units import Units
from workers.vision.exporting import export
from workers.vision.heads import Headed
from workers.vision.joint import grouped
from workers.vision.model import load_member

Bench = Any
CPU = torch.device("cpu")
WATCHED = Split(seed=26, holdout=0.25)
AVERAGE = Head(kind="average", hidden=16)
JOINTS = {
    "tiled": {"joint": Joint(kind="tiled"), "input": Input(size=64)},
    "gated": {"joint": Joint(kind="fused"), "head": AVERAGE},
    "maximum": {"joint": Joint(kind="fused", by="maximum", most=1), "head": Head(kind="max")},
}


@pytest.fixture(params=JOINTS)
def member(request: pytest.FixtureRequest, tiny: Member) -> Member:
    return replace(tiny, split=WATCHED, **JOINTS[request.param])


def some_images(product_id: Sequence[int]) -> Images:
    ids = np.array(product_id)
    rows = np.arange(len(ids))
    return Images((), np.zeros(len(ids), np.int32), rows, rows, ids, rows - np.searchsorted(ids, ids), ids % 3, rows)


def test_units_are_products_of_a_joint_member_and_images_of_another() -> None:
    images = some_images([1, 1, 1, 4, 6, 6, 6, 6, 6, 9])
    each, joint = Units(images, EACH_IMAGE), Units(images, Joint(kind="fused", most=3))
    assert (len(each), len(joint)) == (10, 4)
    assert joint.first.tolist() == [0, 3, 4, 9]
    assert joint.heads.product_id.tolist() == [1, 4, 6, 9]
    assert joint.rows(np.array([2, 0, 3])).tolist() == [4, 5, 6, 0, 1, 2, 9]
    assert joint.rows(np.array([2, 0, 3]), {5, 1, 9}).tolist() == [4, 6, 7, 0, 2]
    assert each.rows(np.array([7, 2])).tolist() == [7, 2]
    assert each.rows(np.array([7, 2]), {2, 3}).tolist() == [7]
    assert (each.count(np.array([7, 2])), joint.count(np.array([4, 6, 0, 9])), joint.count(np.zeros(0, int))) == (
        2,
        3,
        0,
    )
    assert len(Units(some_images([]), Joint(kind="tiled"))) == 0
    drawn = joint.rows(np.array([2, 2, 1, 1, 0]))  # by sampling, which may draw a product twice in succession
    assert joint.count(drawn) == 5
    assert grouped(images.product_id[drawn], drawn)[1].tolist() == [0, 0, 0, 1, 1, 1, 2, 3, 4, 4, 4]
    assert [(s.start, s.stop) for s in whole_products(images.product_id, 4)] == [(0, 4), (4, 9), (9, 10)]


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
        on=ScoringDevice(CPU, "float32", 4),
        settings=SETTINGS,
    )

    def answer(rows: Sequence[int]) -> float:
        return engine.answer([pictures[row] for row in rows])[0].predictions["all"].probability

    assert batch.rows.tolist() == [0, 3, 4, 5]
    assert answer(range(6)) == answer(batch.rows.tolist()) != answer([0, 3])
    engine.close()


def scores_of(bench: Bench, run: str) -> tuple[np.ndarray, np.ndarray]:
    scores = np.load(BytesIO(bench.objects.read(scores_key(run, 0))))
    return scores, np.load(BytesIO(bench.file(run, "holdout/product_id.npy")))


def test_it_trains_and_every_image_of_a_product_has_its_answer(bench: Bench, member: Member) -> None:
    run = bench.declare(replace(member, epochs=6))
    bench.train(run)
    scores, product = scores_of(bench, run)
    assert np.isfinite(scores).all()
    for one in np.unique(product):
        mine = scores[product == one]
        assert (mine == mine[:1]).all()
    metrics = bench.metrics(run)
    assert metrics["holdout"]["products"]["all"]["n"] == len(np.unique(product))
    epochs = [line for line in bench.log(run) if line["kind"] == "epoch"]
    training = divide(bench.objects, bench.manifest, read_taxonomy(bench.objects, "tiny"), member.split).training
    assert metrics["steps"] == 6 * (len(np.unique(training.product_id)) // member.batch_size)
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    assert epochs[0]["watch"]["products"] == 5
    assert all(0 <= line["accuracy"] <= line["top5"] <= 1 for line in epochs)
    card = json.loads(bench.file(run, "card.json"))
    assert card["accuracy"]["float32"]["n"] > 0


def test_an_interrupted_training_ends_the_same(bench: Bench, member: Member) -> None:
    augment = (Augmentation(name="hflip"), Augmentation(name="rotate", amount=15))
    run = bench.declare(replace(member, accumulate=2, ema=0.5, augment=augment))
    bench.train(run)
    files = ("weights.safetensors", "holdout/product_id.npy", "holdout/scores-00000.npy")
    undisturbed = [bench.file(run, name) for name in files]
    watched = [line["watch"] for line in bench.log(run) if line["kind"] == "epoch"]
    bench.forget(run)
    for attempt, after in enumerate((2, 3, 1000), 1):
        try:
            bench.train(run, attempt, Preempted(after))
        except PreemptedError:
            continue
    assert [bench.file(run, name) for name in files] == undisturbed
    assert [line["watch"] for line in bench.log(run) if line["kind"] == "epoch"] == watched


def test_the_engine_says_what_the_holdout_scores_say(bench: Bench, member: Member) -> None:
    run = bench.declare(member)
    bench.train(run)
    scores, product = scores_of(bench, run)
    loaded = load_member(bench.objects, run, CPU)
    small = replace(ensemble(("joint",)), members={"joint": member}, combinations={"all": ("joint",)}, views=VIEWS)
    means = replace(small.means, order=("views", "images", "members"))
    index = read_index(bench.objects, "tiny", bench.manifest.packs[0])
    content = bench.objects.read("datasets/tiny/packs/00000.bson")
    engine = Engine(
        replace(small, means=means),
        read_taxonomy(bench.objects, "tiny"),
        {"joint": loaded},
        None,
        Policies("none", "none", skip_decided=False, own_source=False),
        on=ScoringDevice(CPU, "float32", 8),
        settings=SETTINGS,
    )
    (result,) = engine.run(iter([ChunkInput("all", index, content, 0)]))
    found = {one.product: one.predictions["all"] for one in result.products}
    for one in np.unique(product):
        expected = scores[product == one][0].astype(float).mean(axis=0)
        top = dict(found[int(one)].top)
        np.testing.assert_allclose([top[c] for c in range(3)], expected, atol=2e-3)  # holdout scores are float16
    answer = engine.answer(
        [content[o : o + n] for o, n in zip(index.image_offset[:1], index.image_length[:1], strict=True)]
    )
    assert answer[0].predictions["all"].probability == pytest.approx(found[100].probability, abs=1e-4)


def test_it_starts_from_a_member_that_answers_for_images(bench: Bench, tiny: Member) -> None:
    parent = bench.declare(tiny)
    bench.train(parent)
    child = replace(tiny, name="fused", init=Init(kind="member"), trains=("head",), **JOINTS["gated"])
    run = bench.declare(child, parent=parent)
    bench.train(run)
    first, second = (load_member(bench.objects, one, CPU).module for one in (parent, run))
    assert isinstance(second, Headed)
    for name, tensor in second.backbone.state_dict().items():
        assert torch.equal(tensor, first.state_dict()[name])


def test_a_fused_head_learns_from_stored_features(bench: Bench, tiny: Member) -> None:
    given = {"augment": (), "head": AVERAGE, "trains": ("head",), "epochs": 15, "joint": Joint(kind="fused")}
    fused = replace(tiny, split=WATCHED, schedule=Schedule(kind="cosine", rate=1e-2), **given)
    runs = [bench.declare(replace(fused, features="stored")), bench.declare(fused)]
    for run in runs:
        bench.train(run)
    losses = [[line["loss"] for line in bench.log(run) if line["kind"] == "epoch"] for run in runs]
    assert losses[0] == pytest.approx(losses[1], rel=3e-2)
    watched = [[line["watch"]["loss"] for line in bench.log(run) if line["kind"] == "epoch"] for run in runs]
    assert watched[0] == pytest.approx(watched[1], rel=3e-2)


def test_it_is_not_exported(bench: Bench, tiny: Member) -> None:
    run = bench.declare(replace(tiny, epochs=1, **JOINTS["gated"]))
    bench.train(run)
    with pytest.raises(BadInputError, match=r"'tiny' answers for all images of a product, .* export a member without"):
        export(bench.objects, run, "tiny", "onnx")


class Mean(nn.Module):
    """A map of what is linear in the picture; without a batch norm parts add up to their batch."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * self.scale


@pytest.mark.parametrize("undecodable", [0, 3])
def test_a_batch_in_parts_teaches_what_the_whole_one_does(undecodable: int) -> None:
    """Products count, whatever their numbers of images; one whose only image is missing counts for nothing."""
    images = some_images([1, 1, 2, 3, 4, 4, 4, 5, 6, 6, 7, 7, 8])
    noise = np.random.default_rng(8)
    pictures = [torch.from_numpy(noise.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(len(images))]
    gained = []
    for parts in (1, 2, 4):
        given = Input(size=8, mean=(0.5,) * 3, std=(0.5,) * 3)
        member = replace(
            MEMBER, input=given, joint=Joint(kind="fused", most=2), optimizer="sgd", momentum=0.0,
            accumulate=parts, batch_size=8, augment=(), label_smoothing=0.0,
        )  # fmt: skip
        torch.manual_seed(1)
        module = Headed(Mean(), AVERAGE, 3, 8, member.joint)
        units = Units(images, member.joint)
        learner = Learner(member, module, Device(CPU, "float32"), images.class_index, product_id=images.product_id)
        of_parts = []
        for start in range(0, 8, 8 // parts):
            rows = units.rows(np.arange(start, start + 8 // parts))
            rows = rows[rows >= undecodable]
            of_parts.append(PictureBatch(rows, [pictures[row] for row in rows.tolist()], {}))
        augmentation = EpochAugmentation((), images, 1, 0)
        learner.learn(of_parts, 8, augmentation, step=0, rate=0.1)
        gained.append(({name: tensor.clone() for name, tensor in module.state_dict().items()}, learner.take_sums()))
    for weights, sums in gained[1 : 2 if undecodable else 3]:  # of a part with one product nothing is learnt
        for name, tensor in weights.items():
            torch.testing.assert_close(tensor, gained[0][0][name])
        assert sums == pytest.approx(gained[0][1])
