"""The learner against plain torch: gradients of whole batches, momentum, clipping and averages by their formulas."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.domain.ensemble import Input, Member
from tests.tiny_member import MEMBER
from workers.training.augment import EpochAugmentation
from workers.training.dataset import Images
from workers.training.device import Device
from workers.training.learner import Learner
from workers.training.pictures import PictureBatch

CPU = Device(torch.device("cpu"), "float32")
SIDE, CLASSES, IMAGES = 4, 7, 12
INPUT = Input(size=SIDE, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
PLAIN_SGD = replace(MEMBER, input=INPUT, optimizer="sgd", momentum=0.0, augment=(), batch_size=IMAGES)
PICTURES = torch.randint(0, 256, (IMAGES, SIDE, SIDE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
CLASS_INDEX = np.arange(IMAGES) * 5 % CLASSES
ROWS = np.arange(IMAGES)
NO_AUGMENTATION = EpochAugmentation(
    (), Images(("pack",), ROWS.astype(np.int32), ROWS, ROWS, ROWS, ROWS, CLASS_INDEX, ROWS), 1, 0
)


def network() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 9), nn.Tanh(), nn.Linear(9, CLASSES))


def parts_of(sizes: list[int]) -> Iterator[PictureBatch]:
    start = 0
    for size in sizes:
        rows = ROWS[start : start + size]
        yield PictureBatch(rows, list(PICTURES[rows]), {})
        start += size


def learn(member: Member, sizes: list[int], steps: int = 1, rate: float = 0.5) -> tuple[Learner, nn.Module]:
    module = network()
    learner = Learner(member, module, CPU, CLASS_INDEX)
    for step in range(steps):
        learner.learn(parts_of(sizes), IMAGES, NO_AUGMENTATION, step=step, rate=rate)
    return learner, module


def logits_of(module: nn.Module, rows: list[int]) -> Tensor:
    pixels = PICTURES[rows].permute(0, 3, 1, 2).double() / 255.0
    inputs = (pixels - torch.tensor(INPUT.mean).view(3, 1, 1)) / torch.tensor(INPUT.std).view(3, 1, 1)
    return module(inputs.float())


def loss_of(module: nn.Module, rows: list[int]) -> Tensor:
    return functional.cross_entropy(logits_of(module, rows), torch.from_numpy(CLASS_INDEX[rows]), label_smoothing=0.1)


def gradients(module: nn.Module, rows: list[int]) -> list[Tensor]:
    return list(torch.autograd.grad(loss_of(module, rows), list(module.parameters())))


@pytest.mark.parametrize(
    ("accumulate", "sizes", "learnt"),
    [
        (1, [12], range(12)),
        (3, [4, 4, 4], range(12)),
        (4, [3, 2, 3, 3], range(11)),  # one could not be decoded: the mean is over those that could
        (4, [3, 3, 1, 3], [0, 1, 2, 3, 4, 5, 7, 8, 9]),  # batch norm cannot learn from one picture: it is left out
        (2, [6, 0], range(6)),
    ],
)
def test_parts_give_the_gradient_of_the_mean_loss_over_the_batch(
    accumulate: int, sizes: list[int], learnt: list[int]
) -> None:
    _, module = learn(replace(PLAIN_SGD, accumulate=accumulate), sizes)
    start = network()
    for before, gradient, after in zip(
        start.parameters(), gradients(start, list(learnt)), module.parameters(), strict=True
    ):
        torch.testing.assert_close(after, before - 0.5 * gradient, rtol=1e-4, atol=1e-6)


def test_a_part_is_asked_for_only_when_the_one_before_is_done() -> None:
    module = network()
    learner = Learner(replace(PLAIN_SGD, accumulate=3), module, CPU, CLASS_INDEX)
    passes: list[int] = []
    module.register_forward_hook(lambda *_: passes.append(1))

    def watched() -> Iterator[PictureBatch]:
        for number, part in enumerate(parts_of([4, 4, 4])):
            assert len(passes) == number
            yield part

    learner.learn(watched(), IMAGES, NO_AUGMENTATION, step=0, rate=0.1)
    assert len(passes) == 3


def test_nothing_decoded_changes_nothing() -> None:
    _, module = learn(replace(PLAIN_SGD, ema=0.9), [0])
    for before, after in zip(network().parameters(), module.parameters(), strict=True):
        assert torch.equal(before, after)


def test_nesterov_momentum_and_weight_decay_by_their_formula() -> None:
    member = replace(PLAIN_SGD, momentum=0.8, weight_decay=0.01)
    _, module = learn(member, [12], steps=3, rate=0.1)
    reference = network()
    velocity = [torch.zeros_like(p) for p in reference.parameters()]
    for _ in range(3):
        found = gradients(reference, list(range(12)))
        with torch.no_grad():
            for v, parameter, gradient in zip(velocity, reference.parameters(), found, strict=True):
                decayed = gradient + 0.01 * parameter
                v.mul_(0.8).add_(decayed)
                parameter -= 0.1 * (decayed + 0.8 * v)
    for expected, after in zip(reference.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("clip", [0.05, 1000.0])
def test_the_norm_of_the_whole_gradient_is_clipped(clip: float) -> None:
    _, module = learn(replace(PLAIN_SGD, clip_norm=clip, accumulate=2), [6, 6], rate=1.0)
    start = network()
    moved = torch.cat(
        [(b - a).flatten() for b, a in zip(start.parameters(), module.parameters(), strict=True)]
    ).detach()
    whole = torch.cat([g.flatten() for g in gradients(start, list(range(12)))])
    assert whole.norm() > 0.1
    torch.testing.assert_close(moved, whole * min(1.0, clip / float(whole.norm())), rtol=1e-3, atol=1e-6)


def test_averaged_weights_by_their_recursion() -> None:
    member = replace(PLAIN_SGD, ema=0.6)
    module = network()
    learner = Learner(member, module, CPU, CLASS_INDEX)
    average: Tensor = torch.zeros(())
    for step in range(6):
        learner.learn(parts_of([12]), IMAGES, NO_AUGMENTATION, step=step, rate=0.2)
        weight = module[3].weight.detach()  # type: ignore[index]
        decay = min(0.6, 1.0 - (1.0 + step) ** -0.75)
        average = decay * average + (1.0 - decay) * weight
        torch.testing.assert_close(learner.network[3].weight, average)  # type: ignore[index]
    assert learner.network is not module


def test_averages_take_batch_norm_along() -> None:
    torch.manual_seed(5)
    module = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * SIDE * SIDE, CLASSES))
    learner = Learner(replace(PLAIN_SGD, ema=0.6), module, CPU, CLASS_INDEX)
    for step in range(5):
        learner.learn(parts_of([12]), IMAGES, NO_AUGMENTATION, step=step, rate=0.1)
    averaged = learner.network.state_dict()
    assert averaged["0.num_batches_tracked"] == 5
    assert not torch.equal(averaged["0.running_mean"], module.state_dict()["0.running_mean"])
    assert torch.sign(averaged["0.running_mean"]).tolist() == torch.sign(module[0].running_mean).tolist()


def test_sums_are_of_right_answers_and_of_those_among_five() -> None:
    learner, _ = learn(PLAIN_SGD, [12])
    every = list(range(12))
    with torch.no_grad():
        order = logits_of(network(), every).argsort(dim=1, descending=True).tolist()
        expected = 12 * loss_of(network(), every).item()
    loss, right, among = learner.take_sums()
    assert loss == pytest.approx(expected, rel=1e-5)
    assert right == sum(order[i][0] == CLASS_INDEX[i] for i in every)
    assert among == sum(CLASS_INDEX[i] in order[i][:5] for i in every)
    assert right < among < 12
    assert learner.take_sums() == (0.0, 0, 0)
