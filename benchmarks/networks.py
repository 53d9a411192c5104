"""The engines that benchmarks score with: a timm network with random weights, or stubs that stand for one."""

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks import data
from shared.domain import taxonomy
from shared.domain.duplicates import DuplicateTable
from shared.domain.ensemble import Input
from shared.domain.taxonomy import Taxonomy
from shared.ensemble_file import architectures, parse
from shared.settings import ScoringSettings
from workers.scoring.engine import Device, Engine, Policies
from workers.vision.devices import resolve_device, torch_threads
from workers.vision.model import build, normalisation

STUB_CLASSES = 12  # as in the sample: what is computed per class belongs to networks
CLASSES = 5270  # as in the catalog of the published systems
_FILE = """
name: benchmark
splits: {A: {seed: 1, holdout: 0.05}}
members: {only: {model: resnet50, split: A, init: none, epochs: 1}}
views: [%s]
"""


@dataclass(frozen=True)
class Network:
    module: nn.Module
    input: Input


class _Stub(nn.Module):
    """As good as no network: classes from the colour of one pixel, `seconds` per batch later.

    It stands for a GPU, which also normalises: it takes pictures as they are, and no core from those who decode. (A
    second OpenMP thread waits for a core that decodes, and took longer than all else of the engine.)
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.register_buffer("spread", torch.linspace(-1, 1, 3 * STUB_CLASSES).view(3, STUB_CLASSES))
        self._seconds = seconds

    def forward(self, inputs: Tensor) -> Tensor:
        if self._seconds:  # even a sleep of nothing gives the core away
            time.sleep(self._seconds)
        with torch_threads(1):
            colours = inputs[:, :, inputs.shape[2] // 2, inputs.shape[3] // 2]
            return (colours / 127.5 - 1) @ self.get_buffer("spread")


def stub(seconds: float = 0.0, size: int = data.EDGE) -> Network:
    return Network(_Stub(seconds), Input(size=size, mean=(), std=()))


def of_timm(model: str, size: int = data.EDGE) -> Network:
    """The same random weights each time, but decided answers."""
    torch.manual_seed(1)
    module, (mean, std) = build(model, CLASSES, size).eval(), normalisation(model)
    module.get_classifier().weight.data *= 30  # type: ignore[operator]
    return Network(module, Input(size=size, mean=mean, std=std))


def engine(
    network: Network,
    of_views: Sequence[str],
    classes: int,
    batch_images: int | None = None,
    table: DuplicateTable | None = None,
) -> Engine:
    """With a table, what it knows of one category alone decides."""
    device = resolve_device("auto")
    network.module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    ensemble = parse(_FILE % ", ".join(of_views), "the benchmark", architectures())
    found = Engine(
        ensemble,
        _taxonomy(classes),
        {"only": network},
        table,
        Policies("unique", "unique", skip_decided=True, own_source=False),
        on=Device(device, "auto", batch_images),
        settings=ScoringSettings(),
    )
    gc.collect()
    gc.freeze()  # as workers do once an engine is loaded
    return found


def _taxonomy(classes: int) -> Taxonomy:
    paths = [(f"level {i % 49}", f"level {i % 483}", f"class {i}") for i in range(classes)]
    return taxonomy.build(list(range(classes)), paths)
