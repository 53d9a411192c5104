"""A member that answers for products: trained, interrupted, scored on the holdout, and scored by the engine alike."""

import json
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from shared.domain.ensemble import Augmentation, Head, Init, Input, Member, Schedule, Split
from shared.domain.product_images import Joint
from shared.holdout_scores import VIEWS, scores_key
from shared.packs import read_index, read_taxonomy
from tests.engine_parts import SETTINGS, ensemble
from tests.tiny_member import MEMBER, Preempted
from tests.unit.test_units import some_images
from workers.scoring.chunks import ChunkInput, Policies
from workers.scoring.engine import Device as ScoringDevice
from workers.scoring.engine import Engine
from workers.training.augment import EpochAugmentation
from workers.training.dataset import divide
from workers.training.device import Device
from workers.training.learner import Learner
from workers.training.pictures import PictureBatch
from workers.training.preemption import PreemptedError
from workers.training.units import Units
from workers.vision.heads import Headed
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
