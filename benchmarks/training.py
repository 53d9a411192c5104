"""The steps of a training as its process takes them, reading and decoding, against the same step on a batch that is on
the device already.

Both sides have the same network, optimizer and precision, and their first step the same pictures: afterwards their
weights have to be equal. On a CPU decoding takes cores from the step: where that has s seconds of all of them, and its
pictures d of one, the ratio is at most s / (s + d / cores), 0.998 on 2 cores.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from benchmarks import data, processor
from benchmarks.rounds import ROUNDS, Comparison, Timed, UnequalError, compare, timed
from benchmarks.stub_service import SIZE
from services.ingest import IngestRequest, run
from shared import layout, wiring
from shared.domain.definitions import run_definition, run_id
from shared.domain.records import Run
from shared.ensemble_file import architectures, parse
from shared.packs import Manifest
from shared.ports import Objects
from shared.settings import ScoringSettings, Settings, TrainingSettings
from workers.training import initial, optimizers, orders, process
from workers.training.augment import EpochAugmentation
from workers.training.checkpoints import Checkpoints
from workers.training.dataset import divide, epoch_order
from workers.training.objectives import Objective, task_of
from workers.training.pictures import PictureSource
from workers.training.preemption import PreemptedError
from workers.vision.allocator import keep_freed_memory
from workers.vision.decode import DecodeLimits
from workers.vision.devices import resolve_device
from workers.vision.preprocessing import normalise, resize

_DATASET = "catalog"
_AHEAD = 8  # batches beyond the last step, so that it is not one that nothing is decoded beside
_NEAR = 1e-4  # weights that count as equal
_RATE = 1.0e-4
_FILE = f"""
name: benchmark
splits: {{A: {{seed: 1, holdout: 0.05}}}}
members:
  only:
    {{model: %s, input: {{size: %d}}, split: A, init: none, epochs: 1, batch_size: %d, augment: [hflip],
     schedule: {{kind: steps, rates: {{1: {_RATE}}}}}}}
"""


def measure(
    folder: Path, *, model: str = "resnet50", batch_images: int = 0, steps: int = 10, rounds: int = ROUNDS
) -> Comparison:
    """`batch_images` 0: as many, and at such a size, as the device gets through in a second or less."""
    keep_freed_memory()  # as a training's process does
    on_cpu = resolve_device("auto").type == "cpu"
    batch_images, size = batch_images or (16 if on_cpu else 256), SIZE if on_cpu else data.EDGE
    with TemporaryDirectory(dir=folder) as own:
        objects, manifest = _catalog(Path(own), int(1.3 * (steps + _AHEAD) * batch_images), size)
        order = _order(objects, manifest, _FILE % (model, size, batch_images))
        step = _Step.of(objects, order)
        _check_first(objects, order, step)
        return compare(
            "training",
            lambda: _train(objects, order, steps),
            lambda: timed(lambda: step.take(steps)).per(steps),
            lambda ours, theirs: bool(ours == theirs),
            must=0.95,
            aim=0.99,
            words=f"the same step on a batch that is there, {model} at {size} px, {steps} steps of {batch_images} "
            f"images, {order.device.device.type}",
            rounds=rounds,
        )


def _catalog(home: Path, images: int, size: int) -> tuple[Objects, Manifest]:
    """Pictures are as large as the network's input, as those of the published systems were."""
    dump, settings = home / "dump.bson", Settings(home=home)
    data.write_singles(dump, images, edge=size)
    stores = wiring.stores(settings)
    manifest = run(stores, settings, IngestRequest(str(dump), _DATASET, data.SAMPLE / "category_names.csv"))
    return stores.objects, manifest


def _order(objects: Objects, manifest: Manifest, file: str) -> orders.Order:
    """A run as the launcher declares it."""
    member = parse(file, "the benchmark", architectures()).members["only"]
    definition = run_definition(member, dataset=manifest.fingerprint, taxonomy=manifest.taxonomy, parent="")
    row = Run(id=run_id(definition), member=member.name, dataset=manifest.dataset, definition=definition)
    objects.put(layout.run_file(row.id, "definition.json"), json.dumps(row.plain()).encode())
    return orders.validate(objects, row.id, _settings())


def _settings() -> TrainingSettings:
    return TrainingSettings(cache_bytes=0)  # as of a catalog that is larger than memory


@dataclass
class _Steps:
    """Asked after each step whether the training is to go; notes moments and the processor's seconds."""

    last: int
    device: torch.device
    moments: list[tuple[float, float]] = field(default_factory=list)  # of the first step's end and of the last one's
    asked: int = 0

    def __call__(self) -> bool:
        self.asked += 1
        if self.asked in (1, self.last):
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            self.moments.append((time.perf_counter(), processor.seconds()))
        return self.asked == self.last


def _train(objects: Objects, order: orders.Order, steps: int) -> Timed:
    """Train afresh; what each of the `steps` after the first takes."""
    asks = _Steps(steps + 1, order.device.device)
    _go(objects, order, asks)
    (began, cpu_before), (ended, cpu) = asks.moments
    return Timed(ended - began, steps, cpu - cpu_before).per(steps)


def _go(objects: Objects, order: orders.Order, asks: Callable[[], bool]) -> None:
    """Train afresh until `asks` says to go."""
    for key in list(objects.list(layout.run_prefix(order.run.id))):
        if not key.endswith("/definition.json"):
            objects.delete(key)
    around = process.Surroundings(objects, _settings(), ScoringSettings(), time.monotonic, lambda _: None, asks)
    try:
        process.train(order, 1, around)
    except PreemptedError:
        return
    raise RuntimeError("the training came to its end before it was asked to go")


@dataclass
class _Step:
    """A step on the training's first batch, which is resized, mirrored and normalised already."""

    order: orders.Order
    module: nn.Module
    objective: Objective
    optimizer: torch.optim.Optimizer
    inputs: Tensor
    targets: Tensor

    @classmethod
    def of(cls, objects: Objects, order: orders.Order) -> "_Step":
        member, device = order.member, order.device.device
        parts = divide(objects, order.manifest, order.classes, member.split, member.images, member.share)
        task = task_of(member, order.classes, parts)
        module, _ = initial.network(objects, member, "", order.taxonomy.classes, task.beside)
        module = module.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        rows = epoch_order(parts.training, member.seed, 0)[: member.batch_size]
        limits = DecodeLimits(smallest=member.input.size)
        with PictureSource(objects, parts.training, limits, threads=None, cache_bytes=0) as source:
            (batch,) = source.batches([rows])
        augmentation = EpochAugmentation(member.augment, parts.training, member.seed, 0, fill=member.input.pad_colour)
        pictures = augmentation.apply(resize(batch.pictures, member.input, device), rows)
        inputs = normalise(pictures, member.input.mean, member.input.std)
        targets = torch.from_numpy(parts.training.class_index[rows]).to(device)
        optimizer = optimizers.optimizer_of(member, module)
        optimizers.set_rate(optimizer, _RATE)
        return cls(order, module, task.objective, optimizer, inputs, targets)

    def take(self, steps: int) -> int:
        for _ in repeat(None, steps):
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.objective.loss(self.order.device.forward(self.module, self.inputs), self.targets)
            torch.autograd.backward(loss)
            self.optimizer.step()
        if self.inputs.is_cuda:
            torch.cuda.synchronize()
        return steps


def _check_first(objects: Objects, order: orders.Order, step: _Step) -> None:
    """Both sides' first step. Raises UnequalError where their weights are not equal then."""
    _go(objects, order, lambda: True)
    found = Checkpoints(objects, order.run.id, 1).restore(1)
    step.take(1)
    assert found is not None
    ours = found[1]["model"]
    theirs = step.module.state_dict()
    if not all(torch.allclose(ours[name], theirs[name].cpu(), rtol=0, atol=_NEAR) for name in theirs):
        raise UnequalError("training: after the first step the two sides have different weights")
