"""Networks that answer once for a product, against slow ones that look at its images one by one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shared.domain import duplicates, views
from shared.domain import means as reference
from shared.domain.ensemble import Head, Input, Mean, Means
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
    random_picture,
)
from workers.scoring.chunks import Policies, ProductResult
from workers.scoring.engine import Device, Engine
from workers.vision.decode import DecodeLimits, decode
from workers.vision.forward import logits
from workers.vision.heads import Fusing, Headed
from workers.vision.joint import Running, joint_logits, tiled, view_tiles
from workers.vision.preprocessing import resize, view

ORDER = ("views", "images", "members")
GIVEN = Input(size=8, mean=(0.5, 0.4, 0.3), std=(0.5, 0.5, 0.5), pad_colour=(250, 240, 230))
SPECS = [views.parse(name) for name in ("plain", "hflip", "crop_top_left")]
TILED, GATED, MAXIMUM = Joint(kind="tiled"), Joint(kind="fused", most=3), Joint(kind="fused", by="maximum", most=2)
BROKEN = b"\xff\xd8\xffthis is no picture"


class Corners(nn.Module):
    """Logits from a few pixels, by operations that round alike in any batch; bright places say more."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.weights = torch.from_numpy(np.random.default_rng(seed).normal(0, 1, (3, 4, CLASSES)).astype(np.float32))
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.shapes.append(tuple(inputs.shape))
        found = torch.zeros(len(inputs), CLASSES)
        for channel in range(3):
            for place, (y, x) in enumerate(((0, 0), (0, 4), (4, 0), (4, 4))):
                found = found + inputs[:, channel, y, x, None] * self.weights[channel, place]
        return found


class Pixels(nn.Module):
    """A feature map of 3 channels, 2 x 2: the pixels of the four corners of what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.shapes.append(tuple(inputs.shape))
        return inputs[:, :, ::7, ::7] * self.scale


def fused_network(joint: Joint) -> Headed:
    torch.manual_seed(5)
    kind = "average" if joint.by == "gated" else "max"
    return Headed(Pixels(), Head(kind=kind, hidden=4), CLASSES, 8, joint).eval()


def network(joint: Joint) -> nn.Module:
    return Corners(3) if joint.kind == "tiled" else fused_network(joint)


def slow_tiles(pictures: Sequence[Tensor], joint: Joint, spec: views.ViewSpec) -> Tensor:
    """One product's input, pixel by pixel."""
    edge = GIVEN.size // joint.side
    out = torch.tensor(GIVEN.pad_colour, dtype=torch.float32).view(3, 1, 1).repeat(1, GIVEN.size, GIVEN.size)
    tile = replace(GIVEN, size=edge)
    for place, picture in enumerate(pictures[: joint.most]):
        (resized,) = view(resize([picture], tile, CPU), spec, tile)
        for y in range(edge):
            for x in range(edge):
                out[:, place // joint.side * edge + y, place % joint.side * edge + x] = resized[:, y, x]
    return out


def slow(module: nn.Module, joint: Joint, pictures: Sequence[Tensor], spec: views.ViewSpec) -> np.ndarray:
    """Logits of one product."""
    shift, scale = (torch.tensor(values).view(3, 1, 1) * 255 for values in (GIVEN.mean, GIVEN.std))
    with torch.no_grad():
        if joint.kind == "tiled":
            return module((slow_tiles(pictures, joint, spec)[None] - shift) / scale)[0].numpy()
        assert isinstance(module, Headed)
        assert isinstance(module.head, Fusing)
        said = []
        for picture in pictures[: joint.most]:
            (seen,) = view(resize([picture], GIVEN, CPU), spec, GIVEN)
            corners = ((seen - shift) / scale)[:, ::7, ::7].flatten(1)
            pooled = corners.mean(1) if joint.by == "gated" else corners.amax(1)
            if module.head.gate is not None:
                pooled = pooled * torch.sigmoid(module.head.gate.weight @ pooled + module.head.gate.bias)
            said.append(pooled)
        fused = torch.stack(said).sum(0) if joint.by == "gated" else torch.stack(said).amax(0)
        return module.head.answer(fused[None])[0].numpy()


def decoded(content: bytes) -> Tensor:
    return torch.from_numpy(decode(content, DecodeLimits()))


def products_of(seed: int, counts: Sequence[int]) -> list[list[bytes]]:
    noise = np.random.default_rng(seed)
    return [[random_picture(noise) for _ in range(count)] for count in counts]


@pytest.mark.parametrize("joint", [TILED, Joint(kind="tiled", most=1), GATED, MAXIMUM], ids=str)
@pytest.mark.parametrize("batch", [1, 3, 64])
def test_logits_are_those_of_each_product_alone(joint: Joint, batch: int) -> None:
    products = products_of(1, [1, 4, 2, 7, 1, 3])
    pictures = [decoded(one) for product in products for one in product]
    product = np.repeat(np.arange(6), [len(one) for one in products])
    running = Running(network(joint), joint, GIVEN, CPU, "float32", batch)
    found = joint_logits(running, pictures, product, SPECS).numpy()
    assert found.shape == (3, 6, CLASSES)
    for place, contents in enumerate(products):
        for of_view, spec in zip(found, SPECS, strict=True):
            expected = slow(running.module, joint, [decoded(one) for one in contents], spec)
            np.testing.assert_allclose(of_view[place], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("joint", [GATED, MAXIMUM], ids=str)
def test_training_fuses_as_scoring_does_and_learns_from_every_image(joint: Joint) -> None:
    module = fused_network(joint)
    pictures = torch.rand(6, 3, 8, 8)
    product = torch.tensor([0, 0, 1, 2, 2, 2])
    found = module(pictures, product)
    assert found.shape == (3, CLASSES)
    for place in range(3):
        alone = module(pictures[product == place], torch.zeros(int((product == place).sum()), dtype=torch.int64))
        torch.testing.assert_close(found[place], alone[0])
    torch.testing.assert_close(module(pictures), module(pictures, torch.arange(6)))
    found.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in module.parameters())


def test_grids_of_a_batch_are_those_of_each_product() -> None:
    tiles = torch.rand(5, 3, 4, 4) * 255
    grids = tiled(tiles, np.array([0, 0, 0, 1, 1]), GIVEN, TILED)
    expected = torch.tensor(GIVEN.pad_colour, dtype=torch.float32).view(1, 3, 1, 1).repeat(2, 1, 8, 8)
    for tile, (row, y, x) in zip(tiles, ((0, 0, 0), (0, 0, 4), (0, 4, 0), (1, 0, 0), (1, 0, 4)), strict=True):
        expected[row, :, y : y + 4, x : x + 4] = tile
    assert torch.equal(grids, expected)
    mirrored = view_tiles(grids, views.parse("hflip"), GIVEN, TILED)
    assert torch.equal(mirrored[:, :, :, :4], grids[:, :, :, :4].flip(3))
    assert torch.equal(mirrored[:, :, :, 4:], grids[:, :, :, 4:].flip(3))


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
