"""Heads of another shape than timm's, and which modules learn."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from shared.domain.ensemble import Head, Init
from shared.domain.errors import BadInputError
from tests.tiny_member import MEMBER
from tests.training_bench import Bench
from workers.vision.checkpoint import get_tensors
from workers.vision.heads import freeze, train_mode
from workers.vision.model import build, load_member

HEADS = [
    Head(kind="average", dropout=0.1),
    Head(kind="max"),
    Head(kind="flatten", batch_norm=True),
    Head(kind="conv1x1", channels=5, dropout=0.2, batch_norm=True),
]


def learning(module: nn.Module) -> set[str]:
    return {name.partition(".")[0] for name, one in module.named_parameters() if one.requires_grad}


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.kind)
def test_a_head_answers_whatever_the_size_of_the_map(head: Head) -> None:
    for size in (32, 96):
        module = build("test_resnet", 7, size, head).eval()
        assert module(torch.zeros(2, 3, size, size)).shape == (2, 7)
    names = set(build("test_resnet", 7, 32).state_dict())
    taken = {name.removeprefix("backbone.") for name in module.state_dict() if name.startswith("backbone.")}
    assert taken <= names  # so weights of timm's fit


def test_a_network_without_a_map_has_no_such_head() -> None:
    with pytest.raises(ValueError, match="not in a feature map"):
        build("vit_tiny_patch16_224", 7, 224, Head(kind="average"))


def test_only_what_is_named_learns() -> None:
    own = build("test_resnet", 7, 32)
    freeze(own, ())
    assert {"conv1", "layer1", "fc"} <= {name.partition(".")[0] for name in learning(own)} or len(learning(own)) > 2
    freeze(own, ("head",))
    assert learning(own) == {name.partition(".")[0] for name, _ in own.named_modules() if _ is own.get_classifier()}  # type: ignore[operator]
    headed = build("test_resnet", 7, 32, Head(kind="average"))
    freeze(headed, ("head", "layer4"))
    assert {name.rpartition(".")[0] for name, one in headed.named_parameters() if one.requires_grad} >= {"head.2"}
    frozen = [name for name, one in headed.named_parameters() if not one.requires_grad]
    assert frozen
    assert all(name.startswith("backbone.") and not name.startswith("backbone.layer4.") for name in frozen)
    with pytest.raises(ValueError, match="it has no module 'layer9'"):
        freeze(own, ("layer9",))


def test_what_is_frozen_keeps_its_statistics() -> None:
    module = build("test_resnet", 7, 32, Head(kind="conv1x1", channels=4))
    freeze(module, ("head",))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    train_mode(module)
    module(torch.rand(4, 3, 32, 32))
    changed = {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert all(name.startswith("head.") for name in changed)


def test_phases_train_first_the_head_and_then_everything(bench: Bench) -> None:
    first = replace(MEMBER, name="tiny-phase1", epochs=1, trains=("head",), head=Head(kind="flatten", batch_norm=True))
    parent = bench.declare(first)
    bench.train(parent)
    start = build("test_resnet", 3, 32, first.head)
    torch.manual_seed(first.seed)
    start = build("test_resnet", 3, 32, first.head)
    of_parent = get_tensors(bench.objects, f"runs/{parent}/weights.safetensors")
    changed = {name for name, tensor in start.state_dict().items() if not torch.equal(tensor, of_parent[name])}
    assert changed
    assert all(name.startswith("head.") for name in changed)

    second = replace(first, name="tiny", trains=(), init=Init(kind="member", name="tiny-phase1"))
    child = bench.declare(second, parent)
    bench.train(child)
    assert bench.metrics(child)["start"]["share"] == 1.0
    loaded = load_member(bench.objects, child, torch.device("cpu"))
    with torch.inference_mode():
        assert loaded.module(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    of_child = loaded.module.state_dict()
    assert any(not torch.equal(of_child[name], of_parent[name]) for name in of_parent if name.startswith("backbone."))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trains": ("layer9",)}, "it has no module 'layer9'; name modules as timm does, or head"),
        ({"model": "vit_tiny_patch16_224", "head": Head(kind="flatten")}, "timm cannot build 'vit_tiny_patch16_224'"),
    ],
)
def test_what_does_not_fit_is_bad_input(bench: Bench, change: dict[str, object], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        bench.train(bench.declare(replace(MEMBER, epochs=1, **change)))  # type: ignore[arg-type]
