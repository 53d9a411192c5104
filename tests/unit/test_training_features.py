from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch

from shared import ensemble_file
from shared.domain.ensemble import Head, Member, Schedule
from shared.domain.errors import BadInputError
from shared.domain.product_images import ImageRange
from shared.packs import Manifest
from tests.tiny_member import Preempted
from tests.training_bench import Bench
from workers.training.preemption import PreemptedError
from workers.vision.checkpoint import get_tensors
from workers.vision.model import load_member


@pytest.fixture
def member(bench: Bench) -> Member:
    """A frozen random backbone under a head of its own."""
    return replace(
        bench.member,
        augment=(),
        head=Head(kind="average", hidden=32),
        trains=("head",),
        features="stored",
        epochs=20,
        schedule=Schedule(kind="cosine", rate=1e-2),
    )


def stored(bench: Bench) -> list[str]:
    return sorted(bench.objects.list("datasets/tiny/features/"))


def test_a_head_learns_from_stored_features_what_it_learns_from_pictures(bench: Bench, member: Member) -> None:
    runs = [bench.declare(member), bench.declare(replace(member, features="computed"))]
    for run in runs:
        bench.train(run)
    (key,) = stored(bench)
    features = np.load(BytesIO(bench.objects.read(key)))
    hidden = load_member(bench.objects, runs[0], torch.device("cpu")).module.get_submodule("head.2")
    assert (features.dtype, features.shape[1]) == (np.float16, hidden.in_features)
    losses = [[line["loss"] for line in bench.log(run) if line["kind"] == "epoch"] for run in runs]
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)
    of_watch = [[line["watch"] for line in bench.log(run) if line["kind"] == "epoch"] for run in runs]
    assert (of_watch[0][0] is None) == (of_watch[1][0] is None)
    found = [bench.metrics(run)["holdout"]["products"]["all"]["accuracy"] for run in runs]
    assert found[0] == pytest.approx(found[1], abs=0.15)
    assert found[0] > 0.6
    backbones = [get_tensors(bench.objects, f"runs/{run}/weights.safetensors") for run in runs]
    for name, tensor in backbones[0].items():
        if name.startswith("backbone."):
            assert torch.equal(tensor, backbones[1][name])


def test_features_are_computed_once_for_all_heads_on_a_backbone(bench: Bench, member: Member) -> None:
    bench.train(bench.declare(member))
    keys = stored(bench)
    bench.train(bench.declare(replace(member, head=Head(kind="average"), epochs=1)))
    assert stored(bench) == keys
    bench.train(bench.declare(replace(member, seed=5, epochs=1)))  # another random backbone
    assert len(stored(bench)) == 2


@pytest.mark.parametrize("limit", [{"images": ImageRange(least=2)}, {"share": 0.5}], ids=["images", "share"])
def test_members_of_other_pictures_do_not_share_features(
    bench: Bench, member: Member, limit: dict[str, object]
) -> None:
    """They lie in the order of the pictures that a member learns from."""
    first = replace(member, epochs=1)
    bench.train(bench.declare(first))
    run = bench.declare(replace(first, **limit))  # type: ignore[arg-type]
    bench.train(run)
    fewer, more = sorted(len(np.load(BytesIO(bench.objects.read(key)))) for key in stored(bench))
    assert bench.metrics(run)["training"]["images"] <= fewer < more


def test_one_that_is_interrupted_ends_with_the_same_bits(bench: Bench, member: Member) -> None:
    run = bench.declare(replace(member, epochs=3))
    bench.train(run)
    weights = bench.file(run, "weights.safetensors")
    bench.forget(run)
    for key in stored(bench):
        bench.objects.delete(key)
    with pytest.raises(PreemptedError):
        bench.train(run, 1, Preempted(1))  # while the features are computed
    assert stored(bench) == []
    with pytest.raises(PreemptedError):
        bench.train(run, 2, Preempted(6))
    bench.train(run, 3)
    assert bench.file(run, "weights.safetensors") == weights


def test_what_cannot_be_read(bench: Bench, make_dataset: Callable[..., Manifest], member: Member) -> None:
    spoiled = make_dataset(bench.objects, "spoiled", products=60, spoiled=frozenset(range(100, 110)))
    other = replace(bench, manifest=spoiled)
    run = other.declare(replace(member, epochs=2))
    other.train(run)
    assert other.metrics(run)["training"]["undecodable"] > 0


@pytest.mark.parametrize("change", ["trains: all", "head: flatten", "augment: [hflip]", "head: own"])
def test_only_pooled_features_of_a_frozen_backbone_are_stored(change: str) -> None:
    keys = {"trains": "head", "head": "average", "augment": "[]"} | dict([change.split(": ")])
    lines = ", ".join(f"{key}: {value}" for key, value in keys.items())
    text = "name: a\nsplits: {A: {seed: 1, holdout: 0.1}}\nmembers:\n"
    text += f"  one: {{model: resnet18, epochs: 1, features: stored, {lines}}}\n"
    with pytest.raises(BadInputError, match=r"line 4: .*stored features are those of a frozen backbone"):
        ensemble_file.parse(text, "a.yaml", ensemble_file.architectures())
