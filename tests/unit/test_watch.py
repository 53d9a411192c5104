import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, log_loss, top_k_accuracy_score
from torch import Tensor, nn

from shared.domain.ensemble import Member, Split
from tests.tiny_member import MEMBER
from workers.training import watch
from workers.training.dataset import Images
from workers.training.device import Device
from workers.training.pictures import PictureBatch
from workers.training.preemption import PreemptedError
from workers.training.watch import Watch

Bench = Any
CLASSES = 9
CPU = Device(torch.device("cpu"), "float32")
FIRST = 100
RESOLVED: Member = replace(MEMBER, input=replace(MEMBER.input, size=2, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))


class Shown(nn.Module):
    """Logits that the red of a picture looks up; remembers how many pictures it saw at a time."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits
        self.batches: list[int] = []

    def forward(self, inputs: Tensor) -> Tensor:
        assert not self.training
        self.batches.append(len(inputs))
        return self.logits[(inputs[:, 0, 0, 0] * 255.0).round().long()]


class Source:
    """Pictures whose red is their row; those of `spoiled` cannot be decoded."""

    def __init__(self, spoiled: frozenset[int] = frozenset()) -> None:
        self.spoiled = spoiled

    def batches(self, batches: Iterator[Any]) -> Iterator[PictureBatch]:
        for rows in batches:
            good = np.array([row for row in rows.tolist() if row - FIRST not in self.spoiled], dtype=np.int64)
            pictures = [torch.full((3, 3, 3), int(row) - FIRST, dtype=torch.uint8) for row in good]
            yield PictureBatch(good, pictures, {})


def images_of(product_id: np.ndarray, class_index: np.ndarray) -> Images:
    rows = np.arange(len(product_id))
    return Images(("pack",), rows.astype(np.int32), rows, rows, product_id, rows, class_index, rows)


def judged(
    images: Images,
    module: Shown,
    spoiled: frozenset[int] = frozenset(),
    preempted: Callable[[], bool] = lambda: False,
) -> dict[str, Any] | None:
    source: Any = Source(spoiled)
    return Watch(RESOLVED, images, source, CPU, first=FIRST, preempted=preempted).judge(module)


@settings(max_examples=25)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=25), st.integers(0, 2**32), st.sampled_from([3, 8, 128]))
def test_figures_are_those_of_all_answers_at_once(counts: list[int], seed: int, batch: int) -> None:
    noise = np.random.default_rng(seed)
    product_id = np.repeat(np.arange(len(counts)) * 3, counts)
    classes = np.repeat(noise.integers(0, CLASSES, len(counts)), counts)
    logits = torch.from_numpy(noise.normal(0, 2, (len(classes), CLASSES)).astype(np.float32))
    module = Shown(logits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watch, "_BATCH_IMAGES", batch)
        found = judged(images_of(product_id, classes), module)
    assert found is not None
    assert max(module.batches) <= batch
    scores = logits.double().softmax(1).numpy()
    labels = np.arange(CLASSES)
    products = np.stack([scores[product_id == p].mean(axis=0) for p in np.unique(product_id)])
    truth = classes[np.r_[True, np.diff(product_id) != 0]]
    assert (found["images"], found["products"]) == (len(classes), len(counts))
    assert found["loss"] == pytest.approx(log_loss(classes, scores, labels=labels), rel=1e-4)
    for name, answers, of in (("image", scores, classes), ("product", products, truth)):
        for top in (1, 5):
            expected = top_k_accuracy_score(of, answers, k=top, labels=labels)
            assert found[f"{name}_top{top}"] == pytest.approx(expected)
    expected = f1_score(truth, products.argmax(1), labels=np.unique(truth), average="macro", zero_division=0)
    assert found["f1"] == pytest.approx(expected)


def test_undecodable_images_are_left_out_and_the_rest_of_their_product_stays() -> None:
    images = images_of(np.array([1, 1, 2]), np.array([0, 0, 1]))
    logits = torch.eye(CLASSES)[[0, 3, 1]] * 10
    spoiled = judged(images, Shown(logits), frozenset({1}))
    assert spoiled is not None
    assert (spoiled["images"], spoiled["products"], spoiled["image_top1"]) == (2, 2, 1.0)
    assert judged(images, Shown(logits), frozenset({0, 1, 2})) is None


def test_nothing_to_watch_and_a_broken_network_give_no_figures() -> None:
    none = np.zeros(0, dtype=np.int64)
    assert judged(images_of(none, none), Shown(torch.zeros(1, CLASSES))) is None
    one = images_of(np.array([1]), np.array([0]))
    assert judged(one, Shown(torch.full((1, CLASSES), math.nan))) is None


def test_asked_to_go_it_goes_before_the_next_batch() -> None:
    module = Shown(torch.zeros(1, CLASSES))
    with pytest.raises(PreemptedError):
        judged(images_of(np.array([1]), np.array([0])), module, preempted=lambda: True)
    assert module.batches == []


def test_judging_changes_no_weights(bench: Bench, tiny: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    run = bench.declare(tiny)
    bench.train(run)
    watched = bench.file(run, "weights.safetensors")
    bench.forget(run)
    monkeypatch.setattr(Watch, "judge", lambda *_: None)
    bench.train(run)
    assert bench.file(run, "weights.safetensors") == watched


def test_the_watch_part_comes_from_the_training_part(bench: Bench, tiny: Member) -> None:
    run = bench.declare(replace(tiny, split=Split(seed=26, holdout=0.0), epochs=1))
    bench.train(run)
    (line,) = bench.log(run)
    training = bench.metrics(run)["training"]
    assert line["watch"]["products"] > 0
    assert line["watch"]["images"] + training["images"] == bench.manifest.images
    assert line["watch"]["products"] + training["products"] == bench.manifest.products
