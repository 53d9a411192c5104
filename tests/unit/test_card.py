import json
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from shared import layout, run_files
from shared.domain import splits, taxonomy, views
from shared.domain.ensemble import Input, Member
from shared.domain.intervals import wilson
from shared.holdout_scores import scores_key
from workers.training import card
from workers.training.card import MemberCard, flops
from workers.training.dataset import Parts, divide
from workers.training.pictures import PictureSource
from workers.training.preemption import PreemptedError
from workers.vision.checkpoint import put_tensors
from workers.vision.decode import DecodeLimits
from workers.vision.forward import forward_probabilities
from workers.vision.model import build, load_member, resolved

Bench = Any
CPU = torch.device("cpu")


@pytest.fixture
def trained(bench: Bench, tiny: Member) -> tuple[str, Parts]:
    """What a run has when its card is written: the member, its weights and the scores of what it held out."""
    objects, run = bench.objects, bench.declare(tiny)
    key = layout.categories("tiny")
    parts = divide(objects, bench.manifest, taxonomy.parse(objects.read(key), key), tiny.split)
    torch.manual_seed(3)
    module, member = build("test_resnet", 3).eval(), resolved(tiny, "float32")
    put_tensors(objects, layout.run_file(run, "weights.safetensors"), module.state_dict())
    run_files.put_member(objects, run, member, classes=3, taxonomy=bench.manifest.taxonomy)
    scores = probabilities(bench, module, member.input, parts, "float32")
    assert len(scores) > 10
    stream = BytesIO()
    np.save(stream, scores, allow_pickle=False)
    objects.put(scores_key(run, 0), stream.getvalue())
    return run, parts


def probabilities(
    bench: Bench, module: nn.Module, given: Input, parts: Parts, precision: str
) -> npt.NDArray[np.float16]:
    """Plain and mirrored, of all held-out images."""
    with PictureSource(bench.objects, parts.held_out, DecodeLimits(), threads=1, cache_bytes=0) as source:
        (batch,) = source.batches([np.arange(len(parts.held_out))])
    both = [views.parse("plain"), views.parse("hflip")]
    device, pictures = torch.device("cpu"), batch.pictures
    return forward_probabilities(module, pictures, given, both, device=device, precision=precision, batch_images=8)


def measured(
    bench: Bench,
    trained: tuple[str, Parts],
    clock: Callable[[], float] = time.perf_counter,
    preempted: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    run, parts = trained
    with PictureSource(bench.objects, parts.held_out, DecodeLimits(), threads=1, cache_bytes=0) as source:
        MemberCard(bench.objects, run, bench.member, CPU, "float32", clock=clock, preempted=preempted).write(
            parts, source
        )
    found: dict[str, Any] = json.loads(bench.file(run, "card.json"))
    return found


def multiply_adds(module: nn.Module, size: int) -> int:
    """Of one picture, by the shapes that go through each convolution and each linear layer."""
    found = [0]

    def convolution(layer: nn.Conv2d, _: object, out: torch.Tensor) -> None:
        assert isinstance(out, torch.Tensor)
        found[0] += out[0].numel() * layer.weight[0].numel()

    def linear(layer: nn.Linear, _: object, out: torch.Tensor) -> None:
        found[0] += out[0].numel() * layer.in_features

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(convolution)
        elif isinstance(layer, nn.Linear):
            layer.register_forward_hook(linear)
    with torch.no_grad():
        module(torch.zeros(1, 3, size, size))
    return found[0]


def test_flops_are_two_per_multiply_add() -> None:
    module = build("test_resnet", 3).eval()
    assert flops(module, 32, CPU) == 2 * multiply_adds(build("test_resnet", 3).eval(), 32) > 0


def test_attention_counts_as_its_two_matrix_products() -> None:
    class Attention(nn.Module):
        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            tokens = pictures.flatten(2).transpose(1, 2)  # [1, 64, 3]
            return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)

    assert flops(Attention(), 8, CPU) == 2 * (64 * 64 * 3 + 64 * 64 * 3)


def test_the_card_says_what_the_network_is(bench: Bench, trained: tuple[str, Parts]) -> None:
    found = measured(bench, trained)
    module = build("test_resnet", 3)
    numbers = sum(parameter.numel() for parameter in module.parameters())
    weights = bench.file(trained[0], "weights.safetensors")
    assert (found["schema"], found["run"], found["member"]) == (1, trained[0], "tiny")
    assert (found["model"], found["input"]) == ("test_resnet", 32)
    assert (found["parameters"], found["trainable"], found["bytes"]) == (numbers, numbers, len(weights))
    assert found["flops"] == 2 * multiply_adds(module.eval(), 32)
    assert (found["threads"], found["peak_memory_of"]) == (1, "process")
    assert found["peak_memory_bytes"] > 10 * len(weights)
    assert found["load_seconds"] > 0


def test_every_precision_of_a_cpu_is_timed_alone_and_in_a_batch(bench: Bench, trained: tuple[str, Parts]) -> None:
    ticks = count()
    found = measured(bench, trained, lambda: next(ticks) / 100)  # 10 ms between any two looks
    assert [(entry["precision"], entry["batch"], entry["rounds"]) for entry in found["inference"]] == [
        ("float32", 1, 5),
        ("float32", 64, 5),
        ("bf16", 1, 5),
        ("bf16", 64, 5),
    ]
    assert [round(entry["seconds"], 6) for entry in found["inference"]] == [0.01] * 4
    assert [round(entry["images_per_second"]) for entry in found["inference"]] == [100, 6400, 100, 6400]
    assert round(found["load_seconds"], 6) == 0.01


def test_a_batch_that_takes_long_or_finds_no_memory_is_not_tried_further(
    bench: Bench, trained: tuple[str, Parts], monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = count()
    slow = measured(bench, trained, lambda: float(next(ticks)))
    assert [entry["batch"] for entry in slow["inference"]] == [1, 1]

    def small(module: nn.Module, pictures: torch.Tensor, *rest: object) -> torch.Tensor:
        if len(pictures) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.zeros(len(pictures), 3)

    monkeypatch.setattr(card, "logits", small)
    ticks = count()
    found = measured(bench, trained, lambda: next(ticks) / 100)
    assert [entry["batch"] for entry in found["inference"]] == [1, 4, 1, 4]


def test_a_precision_that_the_network_has_no_kernels_for_is_left_out(
    bench: Bench, trained: tuple[str, Parts], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = card.logits

    def only_float32(*given: Any) -> torch.Tensor:
        if given[-1] != "float32":
            raise RuntimeError("not implemented for 'BFloat16'")
        return real(*given)

    monkeypatch.setattr(card, "logits", only_float32)
    found = measured(bench, trained)
    assert {entry["precision"] for entry in found["inference"]} == {"float32"}
    assert list(found["accuracy"]) == ["float32"]


def test_accuracies_are_those_of_the_held_out_images(bench: Bench, trained: tuple[str, Parts]) -> None:
    run, parts = trained
    found = measured(bench, trained)["accuracy"]
    loaded = load_member(bench.objects, run, CPU)
    assert list(found) == ["float32", "bf16"]
    for precision, figure in found.items():
        answers = probabilities(bench, loaded.module, loaded.input, parts, precision)
        right = int((answers[:, 0].argmax(axis=1) == parts.held_out.class_index).sum())
        n = len(parts.held_out)
        assert figure == {"accuracy": right / n, "n": n, "interval": list(wilson(right, n))}


def test_at_most_so_many_images_are_judged_and_no_others_than_the_holdout(
    bench: Bench, trained: tuple[str, Parts], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, parts = trained
    monkeypatch.setattr(card, "MOST_IMAGES", 5)
    assert {figure["n"] for figure in measured(bench, trained)["accuracy"].values()} == {5}
    parts.part[3:] = splits.BLEND
    assert {figure["n"] for figure in measured(bench, trained)["accuracy"].values()} == {3}
    ticks = count()
    slow = measured(bench, trained, lambda: 4.0 * next(ticks))  # 4 s per picture: two in the time there is
    assert {figure["n"] for figure in slow["accuracy"].values()} == {2}
    parts.part[:] = splits.BLEND
    nothing = {"accuracy": None, "n": 0, "interval": None}
    assert measured(bench, trained)["accuracy"] == {"float32": nothing, "bf16": nothing}


@pytest.fixture
def generators() -> Iterator[None]:
    torch.manual_seed(5)
    torch.rand(3)
    yield
    torch.seed()


def test_weights_and_chance_stay_as_they_are(bench: Bench, trained: tuple[str, Parts], generators: None) -> None:
    state = torch.get_rng_state()
    before = bench.file(trained[0], "weights.safetensors")
    measured(bench, trained)
    assert torch.equal(torch.get_rng_state(), state)
    assert bench.file(trained[0], "weights.safetensors") == before


def test_whoever_is_asked_to_go_goes_between_two_measurements(bench: Bench, trained: tuple[str, Parts]) -> None:
    looks = iter([False] * 6 + [True])
    with pytest.raises(PreemptedError):
        measured(bench, trained, preempted=lambda: next(looks))
    assert not bench.objects.exists(layout.run_file(trained[0], "card.json"))
