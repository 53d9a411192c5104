"""Networks that answer once for a product, against slow ones that look at its images one by one."""

import numpy as np
import pytest
import torch

from shared.domain import views
from shared.domain.product_images import Joint
from tests.engine_parts import CLASSES, CPU
from tests.joint_parts import (
    GATED,
    GIVEN,
    MAXIMUM,
    SPECS,
    TILED,
    decoded,
    fused_network,
    network,
    products_of,
    slow,
)
from workers.vision.joint import Running, joint_logits, tiled, view_tiles


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
