"""The scoring engine on a GPU against the same engine on a processor."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from shared.domain.ensemble import Input
from shared.domain.fits import Fit
from tests.engine_parts import CPU, SETTINGS, TAXONOMY, chunk, ensemble, random_picture
from tests.gpu.conftest import CUDA
from workers.scoring.chunks import ChunkInput, Policies, ProductResult
from workers.scoring.engine import Device, DeviceTooSmallError, Engine
from workers.vision.model import build, normalisation

SIDE = 64
PRODUCTS = 90
NOTHING = Fit()
APART = Fit(weights={"a": 0.2, "b": 0.8}, rare_weights={"a": 0.9, "b": 0.1}, rare=(True, False, False, True, False))
STACK = Fit(powers={"a": 0.9, "b": 0.3}, biases=(0.5, -0.5, 0.0, 0.25, -0.25), temperature=1.2)


@dataclass
class Loaded:
    module: nn.Module
    input: Input


class Hungry(nn.Module):
    """Takes as much of the device's memory per picture as it is told to."""

    def __init__(self, bytes_of_picture: int) -> None:
        super().__init__()
        self.bytes_of_picture = bytes_of_picture
        self.shapes: list[int] = []

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.shapes.append(len(inputs))
        ballast = torch.zeros(self.bytes_of_picture * len(inputs), dtype=torch.uint8, device=inputs.device)
        return inputs.mean((2, 3)).repeat(1, 2)[:, :5] + ballast[:1]


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    found = {}
    for seed, name in enumerate(("a", "b")):
        torch.manual_seed(seed)
        found[name] = build("resnet18", 5, SIDE).eval()
        found[name].get_classifier().weight.data *= 30  # decided answers from random weights
    return found


@pytest.fixture(scope="module")
def products() -> list[list[bytes]]:
    noise = np.random.default_rng(5)
    return [[random_picture(noise) for _ in range(1 + i % 4)] for i in range(PRODUCTS)]


def engine(
    networks: dict[str, nn.Module],
    device: torch.device,
    precision: str,
    batch_images: int | None,
    fit: Fit = NOTHING,  # of `all`
) -> Engine:
    mean, std = normalisation("resnet18")
    given = Input(size=SIDE, mean=mean, std=std)
    loaded = {
        name: Loaded(copy.deepcopy(module).to(device, memory_format=torch.channels_last), given)  # type: ignore[call-overload]
        for name, module in networks.items()
    }
    policies = Policies("none", "none", skip_decided=True, own_source=False)
    on = Device(device, precision, batch_images)
    return Engine(ensemble(), TAXONOMY, loaded, None, policies, on=on, settings=SETTINGS, fits={"all": fit})


def run(one: Engine, chunks: Sequence[ChunkInput]) -> list[ProductResult]:
    try:
        return [product for result in one.run(iter(chunks)) for product in result.products]
    finally:
        one.close()


def figures(results: Sequence[ProductResult]) -> Iterator[tuple[float, ...]]:
    for result in results:
        for name in ("one", "all"):
            found = result.predictions[name]
            yield (found.class_index, found.probability, found.margin, found.entropy, *(p for _, p in found.nodes))


@pytest.mark.parametrize("fit", [NOTHING, APART, STACK])
def test_float32_on_a_gpu_answers_as_a_processor(networks, products, fit):
    ours = run(engine(networks, CUDA, "float32", 32, fit), [chunk(products)])
    theirs = run(engine(networks, CPU, "float32", 32, fit), [chunk(products)])

    found, expected = (np.array(list(figures(results))) for results in (ours, theirs))
    assert np.array_equal(found[:, 0], expected[:, 0])
    assert np.abs(found[:, 1] - expected[:, 1]).max() < 1e-3


def test_the_default_precision_is_bf16_and_close(networks, products):
    one = engine(networks, CUDA, "auto", None)
    assert one.precision == "bf16"
    assert one.batch_images == 512
    ours = run(one, [chunk(products)])
    theirs = run(engine(networks, CPU, "float32", 32), [chunk(products)])

    found, expected = (np.array(list(figures(results))) for results in (ours, theirs))
    sure = expected[:, 2] > 0.1  # by a margin that rounding does not turn
    assert sure.mean() > 0.5
    assert np.array_equal(found[sure, 0], expected[sure, 0])
    assert np.abs(found[:, 1] - expected[:, 1]).max() < 0.05


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_where_a_chunk_was_cut_changes_no_bit(networks, products, precision):
    whole = run(engine(networks, CUDA, precision, 32), [chunk(products)])
    for cut in (1, 7, 50):
        parts = [chunk(products[:cut]), chunk(products[cut:], first_id=1 + cut)]
        assert list(figures(run(engine(networks, CUDA, precision, 32), parts))) == list(figures(whole))


def test_memory_that_runs_out_halves_the_shape_and_loses_nothing(products):
    free, _ = torch.cuda.mem_get_info()
    hungry = Hungry(free // 20)  # a batch of 32 does not fit, one of 16 does
    given = Input(size=SIDE, mean=(0.5,) * 3, std=(0.5,) * 3)
    halved: list[int] = []
    one = Engine(
        ensemble(["a"]),
        TAXONOMY,
        {"a": Loaded(hungry, given)},
        None,
        Policies("none", "none", skip_decided=True, own_source=False),
        on=Device(CUDA, "float32", 32),
        settings=SETTINGS,
        on_halved=halved.append,
    )

    results = run(one, [chunk(products)])

    assert halved == [16]
    assert len(results) == PRODUCTS
    assert not any(result.error for result in results)
    assert torch.cuda.memory_allocated() < free // 20


def test_a_device_too_small_for_one_picture_says_so(products):
    _, whole = torch.cuda.mem_get_info()
    given = Input(size=SIDE, mean=(0.5,) * 3, std=(0.5,) * 3)
    policies = Policies("none", "none", skip_decided=True, own_source=False)
    loaded = {"a": Loaded(Hungry(2 * whole), given)}
    one = Engine(ensemble(["a"]), TAXONOMY, loaded, None, policies, on=Device(CUDA, "float32", 4), settings=SETTINGS)

    with pytest.raises(DeviceTooSmallError, match="cuda device is too small"):
        one.warm_up()
    one.close()
