"""Members that answer for products on a GPU, against the same on a processor."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from shared.domain.ensemble import Head, Input, Means, Member
from shared.domain.product_images import Joint
from tests.engine_parts import CPU, SETTINGS, TAXONOMY, chunk, ensemble, random_picture
from tests.gpu.conftest import CUDA
from tests.gpu.gpu_scoring import Loaded, figures, run
from tests.tiny_member import MEMBER
from workers.scoring.chunks import Policies
from workers.scoring.engine import Device, Engine
from workers.vision.model import build, normalisation

SIDE = 64
JOINTS = {
    "each": Joint(),
    "tiled": Joint(kind="tiled"),
    "gated": Joint(kind="fused"),
    "largest": Joint(kind="fused", by="maximum", most=2),
}
POOLED = Head(kind="average", hidden=32)


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    found = {}
    for seed, (name, joint) in enumerate(JOINTS.items()):
        torch.manual_seed(seed)
        found[name] = build("resnet18", 5, SIDE, POOLED if joint.kind == "fused" else Head(), joint).eval()
    return found


@pytest.fixture(scope="module")
def products() -> list[list[bytes]]:
    noise = np.random.default_rng(5)
    return [[random_picture(noise) for _ in range(1 + i % 5)] for i in range(150)]


def engine(networks: dict[str, nn.Module], device: torch.device, precision: str) -> Engine:
    mean, std = normalisation("resnet18")
    given = Input(size=SIDE, mean=mean, std=std)
    loaded: dict[str, Any] = {
        name: Loaded(copy.deepcopy(module).to(device, memory_format=torch.channels_last), given)  # type: ignore[call-overload]
        for name, module in networks.items()
    }
    small = ensemble(tuple(JOINTS), Means(order=("views", "images", "members")))
    members = {name: replace(member, joint=JOINTS[name]) for name, member in small.members.items()}
    small = replace(small, members=members, combinations={"one": ("tiled", "gated"), "all": tuple(JOINTS)})
    policies = Policies("none", "none", skip_decided=True, own_source=False)
    return Engine(small, TAXONOMY, loaded, None, policies, on=Device(device, precision, 32), settings=SETTINGS)


def test_a_gpu_answers_for_products_as_a_processor(
    networks: dict[str, nn.Module], products: Sequence[Sequence[bytes]]
) -> None:
    ours = run(engine(networks, CUDA, "float32"), [chunk(products)])
    theirs = run(engine(networks, CPU, "float32"), [chunk(products)])
    found, expected = (np.array(list(figures(results))) for results in (ours, theirs))
    assert np.abs(found[:, 1] - expected[:, 1]).max() < 1e-3


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_where_a_chunk_was_cut_changes_no_bit(
    networks: dict[str, nn.Module], products: Sequence[Sequence[bytes]], precision: str
) -> None:
    whole = run(engine(networks, CUDA, precision), [chunk(products)])
    for cut in (1, 50):
        parts = [chunk(products[:cut]), chunk(products[cut:], first_id=1 + cut)]
        assert list(figures(run(engine(networks, CUDA, precision), parts))) == list(figures(whole))


@pytest.mark.parametrize("name", ["tiled", "gated", "largest"])
def test_it_trains_on_a_gpu(bench: Any, name: str) -> None:
    head = POOLED if JOINTS[name].kind == "fused" else Head()
    member: Member = replace(MEMBER, input=Input(size=64), joint=JOINTS[name], head=head, epochs=6)
    found = bench.declare(member)
    bench.train(found)
    losses = [line["loss"] for line in bench.log(found) if line["kind"] == "epoch"]
    assert losses[-1] < losses[0]
