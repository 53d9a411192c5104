"""The member card: how large a trained network is, and how fast and how accurate in each precision of this device.

Everything is measured on a copy from the object store, loaded as a scoring worker loads it: the network that was
trained, and every generator of random numbers, stay as they are.
"""

import json
import resource
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from shared import layout
from shared.domain import views
from shared.domain.ensemble import Member
from shared.domain.product_images import EACH_IMAGE
from shared.domain.records import SCHEMA
from shared.holdout_scores import VIEWS, file_starts, scores_key
from shared.ports import Clock, Objects
from workers.training import figures
from workers.training.answering import probabilities_of, whole_products
from workers.training.dataset import Parts
from workers.training.device import Device
from workers.training.objectives import Objective, OneCategory
from workers.training.pictures import PictureSource
from workers.training.preemption import PreemptedError
from workers.vision.devices import DTYPES, UnsupportedPrecisionError, device_name, out_of_memory, resolve_precision
from workers.vision.forward import logits
from workers.vision.joint import grouped
from workers.vision.model import LoadedMember, load_member

MOST_IMAGES = 2000
"""Images of the holdout that accuracies are measured on, at most."""
_LOADS = 3
_ROUNDS = 5
_MOST_BATCH = 64  # half of what the holdout is scored with: the memory of the training is still held
_ROUND_SECONDS = 0.1  # a batch does not grow beyond what takes this long
_ACCURACY_SECONDS = 8.0  # for the holdout images in all other precisions than the run's own
_TICK = 1e-9  # a clock may stand still between two looks
_READ_FILES = 4  # of holdout scores; one holds about 4,096 images
_READ_IMAGES = 128  # decoded at a time
_PLAIN = views.parse(VIEWS[0])

Bool = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]


def flops(module: nn.Module, size: int, device: torch.device) -> int:
    """Floating-point operations of one picture of `size` pixels a side, two per multiply-add (torch's flop counter).

    Attention is counted as the matrix products that it is by definition, whichever kernel computes it elsewhere.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        module(torch.zeros((1, 3, size, size), device=device))
    return int(counter.get_total_flops())


class MemberCard:
    """Measures a trained member on the device that it was trained on."""

    def __init__(
        self,
        objects: Objects,
        run: str,
        member: Member,
        device: torch.device,
        precision: str,
        *,
        clock: Clock,
        preempted: Callable[[], bool],
        objective: Objective | None = None,
    ) -> None:
        """`objective` None: one category.

        member.yaml, weights and holdout scores of the run are there; the scores were made in `precision`.
        """
        self._objects = objects
        self._run = run
        self._member = member
        self._device = device
        self._own = precision
        self._clock = clock
        self._preempted = preempted
        self._objective = objective or OneCategory(0.0)

    def write(self, parts: Parts, source: PictureSource) -> None:
        """Measure and write card.json; `source` reads `parts.held_out`. Raises PreemptedError.

        Speed: medians of forward passes over resized pictures, on this device, every precision and batch in turn.
        Memory: on a GPU what weights and one pass of the larger batch take (`device`), else the most that this process
        ever held, training included (`process`). Accuracy: per image of the holdout, plain view, on the same images in
        every precision. A picture of a joint member is a product: a grid of tiles, or one with a single image; each
        image counts as right where its product is.
        """
        held_before = torch.cuda.memory_allocated(self._device) if self._device.type == "cuda" else 0
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            loaded, load_seconds = self._load()
            inference = self._inference(loaded)
            memory, memory_of = self._peak_memory(loaded, _largest(inference, self._own), held_before)
            accuracy = self._accuracy(loaded, inference, parts, source)
        parameters = list(loaded.module.parameters())
        card = {
            "schema": SCHEMA,
            "run": self._run,
            "member": self._member.name,
            "model": self._member.model,
            "input": loaded.input.size,
            "parameters": sum(parameter.numel() for parameter in parameters),
            "trainable": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
            "bytes": self._objects.size(layout.run_file(self._run, "weights.safetensors")),
            "flops": flops(loaded.module, loaded.input.size, self._device),
            "device": device_name(self._device),
            "threads": torch.get_num_threads(),
            "peak_memory_bytes": memory,
            "peak_memory_of": memory_of,
            "load_seconds": load_seconds,
            "inference": inference,
            "accuracy": accuracy,
        }
        self._objects.put(layout.run_file(self._run, "card.json"), json.dumps(card, indent=1).encode())

    def _load(self) -> tuple[LoadedMember, float]:
        """The member, and the median time of some loads, from the object store to the device."""
        seconds = []
        for _ in range(_LOADS):
            self._heed()
            start = self._clock()
            loaded = load_member(self._objects, self._run, self._device)
            self._wait()
            seconds.append(self._clock() - start)
        return loaded, statistics.median(seconds)

    def _inference(self, loaded: LoadedMember) -> list[dict[str, Any]]:
        """Per precision: a picture alone, and the largest batch that is still quick."""
        shapes = [
            (precision, batch)
            for precision in DTYPES
            for batch in sorted({1, self._most_quick(loaded, precision)} if self._runs(loaded, precision) else ())
        ]
        seconds: dict[tuple[str, int], list[float]] = {shape: [] for shape in shapes}
        for _ in range(_ROUNDS):
            for precision, batch in shapes:
                seconds[precision, batch].append(self._seconds(loaded, precision, batch))
        return [
            {
                "precision": precision,
                "batch": batch,
                "seconds": (middle := max(_TICK, statistics.median(measured))),
                "images_per_second": batch / middle,
                "rounds": len(measured),
            }
            for (precision, batch), measured in seconds.items()
        ]

    def _runs(self, loaded: LoadedMember, precision: str) -> bool:
        """Whether the device and every layer of the network can compute in it."""
        try:
            resolve_precision(precision, self._device)
            self._seconds(loaded, precision, 1)
        except UnsupportedPrecisionError:
            return False
        except RuntimeError:  # a layer without a kernel in this precision
            if precision == self._own:
                raise
            return False
        return True

    def _most_quick(self, loaded: LoadedMember, precision: str) -> int:
        batch = 1
        while batch < _MOST_BATCH:
            try:
                if self._seconds(loaded, precision, 2 * batch) > _ROUND_SECONDS:
                    break
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                break
            batch *= 2
        return batch

    def _seconds(self, loaded: LoadedMember, precision: str, batch: int) -> float:
        """One forward pass of `batch` resized pictures."""
        self._heed()
        size = loaded.input.size
        pictures = torch.full((batch, 3, size, size), 100.0, device=self._device)
        self._wait()
        start = self._clock()
        logits(loaded.module, pictures, _PLAIN, loaded.input, precision)
        self._wait()
        return self._clock() - start

    def _heed(self) -> None:
        if self._preempted():
            raise PreemptedError

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _peak_memory(self, loaded: LoadedMember, batch: int, held_before: int) -> tuple[int, str]:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._seconds(loaded, self._own, batch)
            return torch.cuda.max_memory_allocated(self._device) - held_before, "device"
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "process"

    def _accuracy(
        self, loaded: LoadedMember, inference: list[dict[str, Any]], parts: Parts, source: PictureSource
    ) -> dict[str, Any]:
        """Per precision; the run's own one from its holdout scores."""
        others = sorted({entry["precision"] for entry in inference} - {self._own}, key=list(DTYPES).index)
        batches = {precision: _largest(inference, precision) for precision in others}
        cost = sum(min(e["seconds"] / e["batch"] for e in inference if e["precision"] == name) for name in others)
        most = min(MOST_IMAGES, max(1, int(_ACCURACY_SECONDS / cost))) if cost else MOST_IMAGES
        rows, own = self._scored(parts, most)
        right = {self._own: own} | {precision: np.zeros(len(rows), np.bool_) for precision in others}
        product_id = parts.held_out.product_id
        for batch in source.batches(rows[some] for some in whole_products(product_id[rows], _READ_IMAGES)):
            for precision in others:
                self._heed()
                if not batch.pictures:
                    continue
                probabilities = probabilities_of(
                    replace(self._member, input=loaded.input),
                    loaded.module,
                    batch.pictures,
                    product_id[batch.rows],
                    [_PLAIN],
                    Device(self._device, precision),
                    batches[precision],
                    self._objective.probabilities,
                )
                truth = parts.held_out.class_index[batch.rows]
                right[precision][np.searchsorted(rows, batch.rows)] = self._objective.right(probabilities[:, 0], truth)
        return {precision: figures.accuracy(right[precision]) for precision in DTYPES if precision in right}

    def _scored(self, parts: Parts, most: int) -> tuple[Int64, Bool]:
        """At most so many rows of held-out images, evenly spread over some of the score files, and which are right."""
        starts = [*file_starts(parts.held_out.product_id), len(parts.held_out)]
        rows, right = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_)
        for number in _spread(len(starts) - 1, _READ_FILES).tolist():
            plain = np.load(BytesIO(self._objects.read(scores_key(self._run, number))))[:, 0]
            mine = parts.judged(slice(starts[number], starts[number + 1]))
            usable = np.flatnonzero(mine & ~np.isnan(plain[:, 0]))
            truth = parts.held_out.class_index[usable + starts[number]]
            rows = np.r_[rows, usable + starts[number]]
            right = np.r_[right, self._objective.right(plain[usable], truth)]
        kept = _spread(len(rows), most)
        if self._member.joint != EACH_IMAGE:  # it looks at all images of a product
            first, product = grouped(parts.held_out.product_id[rows])
            chosen = _spread(len(first), max(1, most * len(first) // max(1, len(rows))))
            kept = np.flatnonzero(np.isin(product, chosen))
        return rows[kept], right[kept]


def _spread(n: int, most: int) -> Int64:
    """At most `most` places of n, evenly spread."""
    return np.linspace(0, max(0, n - 1), min(n, most)).astype(np.int64)


def _largest(inference: list[dict[str, Any]], precision: str) -> int:
    return max(int(entry["batch"]) for entry in inference if entry["precision"] == precision)
