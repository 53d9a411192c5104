"""The scoring engine: chunks in, results out, one device. Pictures of the next chunk are decoded during this one."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence, Sized
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from shared.domain import views
from shared.domain.duplicates import DuplicateTable
from shared.domain.ensemble import Ensemble
from shared.domain.fits import Fit
from shared.domain.label_sets import Classes, LabelSets
from shared.domain.product_images import EACH_IMAGE, EVERY_PRODUCT
from shared.domain.taxonomy import Taxonomy
from shared.ports import Clock
from shared.settings import ScoringSettings
from workers.scoring.accumulate import DeviceMeans
from workers.scoring.batches import Batches
from workers.scoring.buffers import InputBuffers
from workers.scoring.chunks import ChunkInput, ChunkResult, Plan, Policies, ProductResult, of_pictures, plan
from workers.scoring.decoders import Decoders
from workers.scoring.groups import Decoded
from workers.scoring.joint import JointNetworks
from workers.scoring.labels import LabelSummariser
from workers.scoring.networks import Device, Network, default_batch_images, learnt_labels
from workers.scoring.results import Results
from workers.scoring.summaries import Summariser, Summarising
from workers.vision.decode import DecodeLimits
from workers.vision.devices import (
    DeviceTooSmallError,
    cores,
    device_name,
    out_of_memory,
    resolve_precision,
    torch_threads,
)
from workers.vision.forward import logits
from workers.vision.joint import Running

__all__ = ["ChunkInput", "ChunkResult", "Device", "Engine", "Network", "Policies", "ProductResult"]

_NOWHERE = ("", ())


def _ignore(_: int) -> None:
    """Nobody wants to know."""


def _nothing() -> None:
    """Nobody waits for it."""


class Engine:
    """Scores chunks with every member and view of an ensemble in one pass.

    Used by one thread at a time. `batch_images` is the shape of every batch; it is halved when memory runs out, which
    `on_halved` gets to know, and may be set between runs to the shape that a job has stored.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        taxonomy: Taxonomy,
        networks: Mapping[str, Network],
        table: DuplicateTable | None,
        policies: Policies,
        *,
        on: Device,
        settings: ScoringSettings,
        keep_scores: bool = False,
        fits: Mapping[str, Fit] | None = None,
        sets: LabelSets | None = None,
        on_halved: Callable[[int], None] = _ignore,
        clock: Clock = time.perf_counter,
    ) -> None:
        """`sets` are what the table of a multilabel ensemble counts."""
        members = [name for name in ensemble.members if any(name in c for c in ensemble.combinations.values())]
        members.sort(key=lambda name: ensemble.members[name].joint != EACH_IMAGE)  # joint ones last
        self.device = on.device
        self.precision = resolve_precision(on.precision, on.device)
        self.on_halved = on_halved
        self.on_batch: Callable[[], None] = _nothing
        self._networks = [networks[name] for name in members]
        joint = [one for name in members if (one := ensemble.members[name].joint) != EACH_IMAGE]
        self._each_image = self._networks[: len(members) - len(joint)]
        ranges = [ensemble.members[name].images for name in members]
        self._ranges = ranges if any(one != EVERY_PRODUCT for one in ranges) else ()
        self._views = [views.parse(name) for name in ensemble.views]
        self._combinations = list(ensemble.combinations)
        combined = list(ensemble.combinations.values())
        self._fits = {name: (fits or {}).get(name, Fit()) for name in self._combinations}
        fitted = list(self._fits.values())
        learnt = learnt_labels(self._networks, taxonomy.classes) if ensemble.task == "multilabel" else None
        self._means = DeviceMeans(
            ensemble.means, members, combined, len(self._views), on.device, fitted, learnt, len(joint)
        )
        running = [
            Running(network.module, how, network.input, on.device, self.precision)
            for network, how in zip(self._networks[len(self._each_image) :], joint, strict=True)
        ]
        self._joint = JointNetworks(running, self._views, self._means, len(self._each_image)) if joint else None
        self._taxonomy = taxonomy
        self._classes: Classes = sets or taxonomy
        self._table = table
        self._policies = policies
        self._summariser: Summarising = Summariser(taxonomy, settings.top_k, on.device)
        if learnt is not None:
            self._summariser = LabelSummariser(taxonomy, sets, fitted, settings.top_k)
        self._keep_scores = keep_scores
        self._clock = clock
        largest = max(network.input.size for network in self._networks)
        self.batch_images = on.batch_images or settings.batch_images or default_batch_images(on.device, largest)
        self._buffers: InputBuffers | None = None
        self._at: tuple[str, Sized] = _NOWHERE  # the chunk and its results
        self._threads = torch.get_num_threads()  # for the networks; nothing else is worth more than one
        on_cpu = on.device.type == "cpu"
        self._decoders = Decoders(
            settings.decode_threads or cores(),
            DecodeLimits(settings.decode_cap_pixels, settings.refuse_pixels, largest),
            clock,
            helps=on_cpu,  # the thread that uses the engine decodes where no device waits for it
            sizes={network.input.size for network in self._networks} if on_cpu else (),
        )

    def run(self, chunks: Iterator[ChunkInput]) -> Generator[ChunkResult, None, None]:
        """The result of each chunk, in order. `chunks` is advanced by another thread, at most two ahead.

        Raises what `chunks` raises, and DeviceTooSmallError. A fault of a product is in its result.
        """
        plans = (plan(chunk, self._table, self._policies, self._classes, self._clock) for chunk in chunks)
        with self._decoders.ahead(plans, self.batch_images) as ahead:
            for chunk_plan, pictures in ahead:
                yield self._score(chunk_plan, pictures, self.batch_images, self._halved)
                self._at = _NOWHERE

    def answer(self, pictures: Sequence[bytes]) -> tuple[ProductResult, dict[str, float]]:
        """One product of one or more images, now: its result and the seconds per stage.

        The batch is no larger than the product, to be quick.
        """
        asked = plan(of_pictures(pictures), self._table, self._policies, self._classes, self._clock)
        result = self._score_alone(asked, min(self.batch_images, len(pictures)), _ignore)
        return result.products[0], result.seconds

    def warm_up(self) -> None:
        """Run one empty batch, so that the engine is ready and `batch_images` fits. Raises DeviceTooSmallError."""
        while self._out_of_memory(self._run_empty_batch):
            self.batch_images = self._half(self.batch_images)

    @property
    def bytes(self) -> int:
        """Of weights, on the device, and of the duplicate table, beside it."""
        tensors = [t for network in self._networks for t in network.module.state_dict().values()]
        return sum(int(t.nbytes) for t in tensors) + (self._table.nbytes if self._table is not None else 0)

    def through(self, key: str) -> int:
        """How many products of a chunk it is through with, 0 but for the one that it is at; for any thread."""
        at, results = self._at
        return len(results) if at == key else 0

    def close(self) -> None:
        """End the decoding threads."""
        self._decoders.close()

    def _score(
        self, chunk_plan: Plan, pictures: Iterator[Decoded], batch_images: int, halved: Callable[[int], None]
    ) -> ChunkResult:
        """The chunk's result; when memory runs out, all of it again at half the shape."""
        results: list[ChunkResult] = []
        if self._out_of_memory(lambda: results.append(self._score_once(chunk_plan, pictures, batch_images))):
            batch_images = self._half(batch_images)
            halved(batch_images)
            again = self._score_alone(chunk_plan, batch_images, halved)
            return replace(again, halvings=again.halvings + 1)
        return results[0]

    def _score_alone(self, chunk_plan: Plan, batch_images: int, halved: Callable[[int], None]) -> ChunkResult:
        """The result of a chunk that no other follows."""
        with self._decoders.ahead(iter([chunk_plan]), batch_images) as ahead:
            (result,) = (self._score(of_chunk, pictures, batch_images, halved) for of_chunk, pictures in ahead)
        return result

    def _halved(self, batch_images: int) -> None:
        self.batch_images = batch_images
        self.on_halved(batch_images)

    def _half(self, batch_images: int) -> int:
        if batch_images == 1:
            raise DeviceTooSmallError(
                f"the {self.device.type} device is too small for this ensemble: one picture at a time does not fit; "
                "use a larger device or fewer members"
            )
        self._buffers = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return batch_images // 2

    def _out_of_memory(self, attempt: Callable[[], None]) -> bool:
        """Make the attempt; whether memory ran out in it. Returns once the attempt's own memory is free again."""
        try:
            attempt()
        except Exception as error:
            if not out_of_memory(error):
                raise
            return True
        return False

    @torch.inference_mode()
    def _run_empty_batch(self) -> None:
        buffers = self._buffers_of(self.batch_images)
        buffers.fill_up(np.zeros(self.batch_images, np.bool_))
        self._means.of_images(self._forward(buffers, None))
        if self._joint is not None:
            self._joint.at(self.batch_images).run_empty_batch(buffers)

    def _buffers_of(self, batch_images: int) -> InputBuffers:
        """Buffers of this shape; those of the last shape as they are."""
        if self._buffers is None or self._buffers.batch_images != batch_images:
            self._buffers = None  # their memory is free before there are others
            inputs = [network.input for network in self._each_image]
            if self._joint is not None:
                inputs += self._joint.inputs
            self._buffers = InputBuffers(inputs, batch_images, self.device)
        return self._buffers

    def _score_once(self, chunk_plan: Plan, pictures: Iterator[Decoded], batch_images: int) -> ChunkResult:
        began = self._clock()
        results = Results(chunk_plan, self._taxonomy, self._fits, self._summariser, self._keep_scores)
        self._at = chunk_plan.chunk.key, results
        buffers = self._buffers_of(batch_images)
        batches = Batches(
            chunk_plan,
            self._means,
            buffers,
            self._forward,
            self._taxonomy.classes,
            results.add,
            self._ranges,
            None if self._joint is None else self._joint.at(batch_images),
        )
        waiting = decoding = 0.0
        asked = self._clock()
        with torch_threads(1):
            for decoded in pictures:
                waiting += self._clock() - asked
                decoding += decoded.seconds
                batches.take(decoded)
                asked = self._clock()
            batches.close()
        products = results.in_order()
        return ChunkResult(
            key=chunk_plan.chunk.key,
            products=products,
            decided=len(products) - len(chunk_plan.network),
            scored_images=batches.scored,
            seconds={
                "look-up": chunk_plan.seconds,
                "decode": decoding,
                "forward": max(self._clock() - began - waiting, 0.0),
            },
            batch_images=batch_images,
            precision=self.precision,
            halvings=0,
            scores=results.scores() if self._keep_scores else None,
            views=len(self._views),
            device=device_name(self.device),
            device_bytes=torch.cuda.memory_allocated(self.device) if self.device.type == "cuda" else 0,
        )

    def _forward(self, buffers: InputBuffers, needed: Sequence[bool] | None) -> Tensor:
        self.on_batch()
        outputs: list[Tensor] = []
        for place, network in enumerate(self._each_image):
            if needed is not None and not needed[place]:
                outputs.append(self._means.nothing(buffers.batch_images, self._taxonomy.classes))
                continue
            given, inputs = network.input, buffers.normalised(network.input.size)
            batch = buffers.batch(given)
            of_views = []
            for spec in self._views:
                with torch_threads(self._threads):
                    answer = logits(network.module, batch, spec, given, self.precision, inputs)
                of_views.append(self._means.enter(answer, place))
            outputs.append(torch.stack(of_views))
        if not outputs:  # all members are joint
            return self._means.nothing(buffers.batch_images, self._taxonomy.classes)[None][:0]
        return torch.stack(outputs)
