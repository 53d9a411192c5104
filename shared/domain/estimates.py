"""What a catalog of some size takes: arithmetic over rates that were measured. What is not known is None, as is
everything that depends on it.
"""

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TypeVar

from shared.domain.ensemble import Ensemble, Member
from shared.domain.splits import WATCH_SHARE

_CHECKPOINTS, _CHECKPOINT_WEIGHTS = (
    2,
    3,
)  # that are kept while a member trains; weights and what an optimizer has of each
_SCORE_BYTES = 2  # of a class, per image and view of the holdout
_HOLDOUT_VIEWS = 2

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class Catalog:
    """How much there is. `bytes` of the dump and of the packs."""

    products: int
    images: int
    bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRates:
    """What is known of a network, on one device: images per second that it learns from, all in, and scores in one view;
    bytes of its weights, of the device's memory while a batch goes through it, and of the process that trained it. One
    of the last two is measured: the first on a GPU, the second, which has both, on a CPU.
    """

    training: float | None = None
    scoring: float | None = None
    weights: int | None = None
    device_bytes: int | None = None
    process_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberPlan:
    """One member: images of its training part, seconds of one device, and where it starts from. Duplicates that a split
    drops are counted as if they stayed.
    """

    member: str
    model: str
    pixels: int
    parent: str
    epochs: int
    training_images: int
    holdout_images: int
    training_seconds: float | None
    holdout_seconds: float | None
    scoring_seconds: float | None  # of the whole catalog, all views; 0 where no combination has the member
    run_bytes: int | None  # once it is complete
    training_bytes: int | None  # more than these while it trains

    @property
    def seconds(self) -> float | None:
        """Of its run: training, then scoring the holdout."""
        return total(self.training_seconds, self.holdout_seconds)


def plan_member(
    member: Member, ensemble: Ensemble, catalog: Catalog, rates: MemberRates, classes: int | None
) -> MemberPlan:
    """What one member takes, with `classes` outputs."""
    split = member.split
    part = catalog.images * (1 - split.blend)
    held_out = round(part * split.holdout)
    learnt = round(part * (1 - split.holdout) * member.share * (1 - WATCH_SHARE))
    scored = any(member.name in combination for combination in ensemble.combinations.values())
    scores = None if classes is None else held_out * _HOLDOUT_VIEWS * classes * _SCORE_BYTES
    views = len(ensemble.views) if scored else 0
    return MemberPlan(
        member=member.name,
        model=member.model,
        pixels=member.input.size,
        parent=member.init.name if member.init.kind == "member" else "",
        epochs=member.epochs,
        training_images=learnt,
        holdout_images=held_out,
        training_seconds=_seconds(learnt * member.epochs, rates.training),
        holdout_seconds=_seconds(held_out * _HOLDOUT_VIEWS, rates.scoring),
        scoring_seconds=_seconds(catalog.images * views, rates.scoring) if views else 0.0,
        run_bytes=total(rates.weights, scores),
        training_bytes=None if rates.weights is None else _CHECKPOINTS * _CHECKPOINT_WEIGHTS * rates.weights,
    )


def makespan(seconds: Mapping[str, float], parents: Mapping[str, str], devices: int) -> float:
    """When the last member ends: each runs alone on a device, after the one it starts from.

    Whoever has the longest way to the end goes first. `parents`: of members that start from another.
    """
    tail = dict.fromkeys(seconds, 0.0)
    children: dict[str, list[str]] = {name: [] for name in seconds}
    for child, parent in parents.items():
        children[parent].append(child)

    def way(name: str) -> float:
        if not tail[name]:
            tail[name] = seconds[name] + max(map(way, children[name]), default=0.0)
        return tail[name]

    ready = [(-way(name), name) for name in seconds if name not in parents]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < devices:
            _, name = heapq.heappop(ready)
            heapq.heappush(running, (now + seconds[name], name))
        now, ended = heapq.heappop(running)
        for child in children[ended]:
            heapq.heappush(ready, (-way(child), child))
    return now


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """A scoring job: what is stored and sent. Nothing is skipped because duplicates decide it."""

    chunks: int
    messages: int
    rows: int


def plan_job(catalog: Catalog, *, packs: int | None, chunk_images: int, message_chunks: int) -> JobPlan:
    """Chunks end with their pack; how many there are is not known before its bytes are: then none ends early."""
    of_each = math.ceil(catalog.images / (packs or 1))
    chunks = (packs or 1) * math.ceil(of_each / chunk_images)
    return JobPlan(chunks=chunks, messages=math.ceil(chunks / message_chunks), rows=catalog.products)


def packs_of(catalog: Catalog, pack_bytes: int) -> int | None:
    """How many packs the dump makes."""
    return None if catalog.bytes is None else math.ceil(catalog.bytes / pack_bytes)


def total(*parts: _Number | None) -> _Number | None:
    """The sum; None where a part is."""
    known = [part for part in parts if part is not None]
    return reduce(add, known) if len(known) == len(parts) else None


def _seconds(images: float, rate: float | None) -> float | None:
    return None if rate is None else images / rate
