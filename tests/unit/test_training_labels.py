from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shared import layout
from shared.adapters.directory import DirectoryObjects
from shared.domain.ensemble import LabelRange, Member, Schedule
from shared.domain.errors import BadInputError
from shared.packs import Manifest
from tests.label_scene import relabelled
from tests.training_bench import Bench
from workers.vision.model import load_member


@pytest.fixture
def bench(tmp_path: Path, make_dataset: Callable[..., Manifest]) -> Bench:
    """Of a dataset with label sets."""
    torch.set_num_threads(1)
    objects = DirectoryObjects(tmp_path)
    return Bench(objects, relabelled(objects, make_dataset(objects, products=300)))


@pytest.fixture
def member(bench: Bench) -> Member:
    """One that learns these colours well."""
    return replace(bench.member, epochs=4, label_smoothing=0.0, schedule=Schedule(kind="cosine", rate=4e-3))


def scores(bench: Bench, run: str) -> Any:
    return np.load(BytesIO(bench.file(run, "holdout/scores-00000.npy"))).astype(np.float32)


def test_a_member_learns_every_label_and_says_how_well(bench: Bench, member: Member) -> None:
    run = bench.declare(member)
    bench.train(run)
    found = bench.metrics(run)["holdout"]
    assert found["micro"]["f1"] > 0.9
    assert set(found["micro"]) == set(found["macro"]) == {"precision", "recall", "f1", "n"}
    assert found["products"]["all"]["n"] == found["micro"]["n"] > 20
    assert found["products"]["all"]["accuracy"] > 0.8
    last = [line for line in bench.log(run) if line["kind"] == "epoch"][-1]
    assert last["watch"]["micro_f1"] > 0.5  # of a handful of products
    assert last["first_label"] >= last["accuracy"]
    assert "watched: loss" in bench.said[-2]
    assert "micro F1" in bench.said[-2]
    assert (scores(bench, run).sum(axis=2) > 1.2).any()  # no distribution over labels
    assert load_member(bench.objects, run, torch.device("cpu")).labels == (0, 1, 2)


def test_a_member_may_learn_frequent_or_rare_labels_alone(bench: Bench, member: Member) -> None:
    frequent = replace(member, labels=LabelRange(least=100))
    rare = replace(member, labels=LabelRange(most=99))
    runs = [bench.declare(frequent), bench.declare(rare)]
    assert runs[0] != runs[1]
    for run, learnt in zip(runs, ([0, 1], [2]), strict=True):
        bench.train(run)
        found = scores(bench, run)
        assert found.shape[2] == 3
        others = [label for label in range(3) if label not in learnt]
        assert (found[:, :, others] == 0).all()
        assert (found[:, :, learnt] > 0).any()
        assert load_member(bench.objects, run, torch.device("cpu")).labels == tuple(learnt)
    with pytest.raises(BadInputError, match="no label has 1000 products or more in the training part"):
        bench.train(bench.declare(replace(member, labels=LabelRange(least=1000))))


@pytest.mark.parametrize("change", [{"class_weights": "balanced"}, {"sampling": "balanced"}])
def test_weighted_and_drawn_members_learn_too(bench: Bench, member: Member, change: dict[str, Any]) -> None:
    changed = replace(member, **change)
    run = bench.declare(changed)
    assert run != bench.declare(member)
    bench.train(run)
    assert bench.metrics(run)["holdout"]["micro"]["f1"] > 0.8
    weights = bench.file(run, "weights.safetensors")
    bench.forget(run)
    bench.train(run)
    assert bench.file(run, "weights.safetensors") == weights


def test_a_card_counts_whole_sets(bench: Bench, member: Member) -> None:
    run = bench.declare(member)
    bench.train(run)
    assert bench.objects.exists(layout.run_file(run, "card.json"))
    assert '"accuracy"' in bench.file(run, "card.json").decode()
