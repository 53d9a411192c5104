"""Members that learn the upper levels of the tree beside the category."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from shared.domain import taxonomy
from shared.domain.ensemble import Head, Init, Member
from shared.domain.errors import BadInputError
from tests.ensemble_texts import kept, refusal
from tests.tiny_member import Preempted
from workers.training.objectives import Levels, OneCategory
from workers.training.preemption import PreemptedError
from workers.vision import model
from workers.vision.checkpoint import get_tensors
from workers.vision.heads import narrow, widen
from workers.vision.model import build

Bench = Any
TREE = taxonomy.build(
    [7, 8, 9, 10], [("food", "fruit", "a"), ("food", "bread", "b"), ("home", "fruit", "c"), ("food", "fruit", "d")]
)
FILE = """
name: levels
splits: {A: {seed: 1, holdout: 0.1}}
defaults: {epochs: 1, model: resnet18, levels: {1: 0.5}}
members: {one: {}, both: {levels: {1: 0.2, 2: 1}}, none: {levels: none}}
"""


def test_a_file_gives_the_levels_weights() -> None:
    found = kept(FILE)
    assert [member.levels for member in found.members.values()] == [(0.5, 0.0), (0.2, 1.0), ()]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{1: 0.5}", "{3: 0.5}", "line 4: defaults.levels: unknown key '3'; known: 1, 2"),
        ("{1: 0.5}", "{1: 0, 2: 0}", "line 4: defaults.levels: no level has a weight; write {1: 0.3, 2: 0.3}, or none"),
        ("{1: 0.5}", "{1: -1}", "use 0 or more"),
        ("name: levels", "name: levels\ntask: multilabel", "line 6: members.one: 'levels' is of one category per"),
    ],
)
def test_mistakes_are_told_with_their_line(old: str, new: str, said: str) -> None:
    assert said in refusal(FILE.replace(old, new, 1))


@pytest.mark.parametrize(("weights", "nodes"), [((0.5, 2.0), 5), ((0.0, 0.25), 3), ((1.0, 0.0), 2)])
def test_the_loss_is_that_of_the_category_and_the_levels_by_their_weights(
    weights: tuple[float, float], nodes: int
) -> None:
    objective = Levels(0.1, TREE, weights)
    assert objective.beside == nodes
    logits = torch.from_numpy(np.random.default_rng(3).normal(0, 2, (6, 4 + nodes)))
    truth = torch.tensor([0, 1, 2, 3, 0, 2])
    expected = functional.cross_entropy(logits[:, :4], truth, label_smoothing=0.1)
    start = 4
    for level, weight in enumerate(weights):
        if weight:
            node = torch.tensor([TREE.node_of[level][one] for one in truth.tolist()], dtype=torch.int64)
            width = len(TREE.nodes[level])
            of_level = functional.cross_entropy(logits[:, start : start + width], node, label_smoothing=0.1)
            expected, start = expected + weight * of_level, start + width
    torch.testing.assert_close(objective.loss(logits, truth), expected)
    plain = OneCategory(0.1)
    for name in ("losses", "counts"):
        for found, wanted in zip(
            getattr(objective, name)(logits, truth), getattr(plain, name)(logits[:, :4], truth), strict=True
        ):
            assert torch.equal(found, wanted)
    assert torch.equal(objective.probabilities(logits), plain.probabilities(logits[:, :4]))


class Convolution(nn.Module):
    """Its classifier is a 1 x 1 convolution, as that of DPN."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(3, 7, 1)

    def get_classifier(self) -> nn.Module:
        return self.classifier

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        answers: torch.Tensor = self.classifier(functional.adaptive_avg_pool2d(inputs, 1)).flatten(1)
        return answers


@pytest.mark.parametrize(
    "make",
    [
        lambda: build("test_resnet", 7, 32),
        lambda: build("test_resnet", 7, 32, Head(kind="average", hidden=5)),
        Convolution,
    ],
)
def test_outputs_come_behind_the_others_and_go_again(make: Any) -> None:
    module = make().eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    inputs = torch.rand(2, 3, 32, 32)
    expected = module(inputs)
    widen(module, 4)
    assert module(inputs).shape == (2, 11)
    torch.testing.assert_close(module(inputs)[:, :7], expected)
    assert list(module.state_dict()) == list(before)
    narrow(module, 7)
    assert torch.equal(module(inputs), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_a_network_with_two_outputs_is_refused(bench: Bench, tiny: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    class Distilled(Convolution):
        def get_classifier(self) -> Any:
            return self.classifier, self.classifier

    monkeypatch.setattr(model, "build", lambda *_, **__: Distilled())
    with pytest.raises(BadInputError, match=r"'test_resnet': its output is no dense layer, .* or leave levels out"):
        bench.train(bench.declare(replace(tiny, levels=(0.5, 0.5))))


def test_a_trained_one_is_an_ordinary_network_that_learnt_otherwise(bench: Bench, tiny: Member) -> None:
    plain, beside = bench.declare(tiny), bench.declare(replace(tiny, levels=(0.5, 0.5)))
    assert plain != beside
    for run in (plain, beside):
        bench.train(run)
    key = "runs/{}/weights.safetensors"
    first, second = (get_tensors(bench.objects, key.format(run)) for run in (plain, beside))
    assert {name: tensor.shape for name, tensor in first.items()} == {n: t.shape for n, t in second.items()}
    assert any(not torch.equal(tensor, second[name]) for name, tensor in first.items())
    child = bench.declare(replace(tiny, name="child", init=Init(kind="member"), levels=(0.0, 1.0)), parent=beside)
    bench.train(child)
    assert any("100.0% of the network taken over" in line for line in bench.said)


def test_a_training_that_is_interrupted_ends_the_same(bench: Bench, tiny: Member) -> None:
    run = bench.declare(replace(tiny, levels=(0.5, 0.5), ema=0.5))
    bench.train(run)
    undisturbed = bench.file(run, "weights.safetensors")
    bench.forget(run)
    with pytest.raises(PreemptedError):
        bench.train(run, 1, Preempted(4))
    bench.train(run, 2)
    assert bench.file(run, "weights.safetensors") == undisturbed
