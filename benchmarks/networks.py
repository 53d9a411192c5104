"""The engines that benchmarks score with: a timm network with random weights, or stubs that stand for one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks import data
from benchmarks.stub_network import CLASSES as STUB_CLASSES
from benchmarks.stub_network import StubNetwork
from shared.domain import taxonomy
from shared.domain.duplicates import DuplicateTable
from shared.domain.ensemble import Input
from shared.domain.taxonomy import Taxonomy
from shared.ensemble_file import architectures, parse
from shared.settings import ScoringSettings
from workers.scoring.engine import Device, Engine, Policies
from workers.scoring.residents import keep_from_collection
from workers.vision.allocator import keep_freed_memory
from workers.vision.devices import resolve_device
from workers.vision.model import build, normalisation

__all__ = ["CLASSES", "STUB_CLASSES", "Network", "engine", "of_timm", "stub", "taxonomy_of"]

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


def stub(seconds: float = 0.0, size: int = data.EDGE) -> Network:
    return Network(StubNetwork(seconds), Input(size=size, mean=(), std=()))


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
    keep_freed_memory()  # as workers do
    device = resolve_device("auto")
    network.module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    ensemble = parse(_FILE % ", ".join(of_views), "the benchmark", architectures())
    found = Engine(
        ensemble,
        taxonomy_of(classes),
        {"only": network},
        table,
        Policies("unique", "unique", skip_decided=True, own_source=False),
        on=Device(device, "auto", batch_images),
        settings=ScoringSettings(),
    )
    keep_from_collection()  # likewise, once an engine is loaded
    return found


def taxonomy_of(classes: int) -> Taxonomy:
    """As broad as that of the published systems."""
    paths = [(f"level {i % 49}", f"level {i % 483}", f"class {i}") for i in range(classes)]
    return taxonomy.build(list(range(classes)), paths)
