"""How a job's answers came about, as files and rows tell it: the members' trainings, and where the job's time went."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from shared import run_log
from shared.domain.ensemble import Ensemble
from shared.domain.intervals import Accuracy
from shared.domain.records import EnsembleVersion, Job
from shared.ports import Jobs, Objects


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch of a training as its log tells it; None for what it does not hold.

    Losses are mean cross-entropies: `loss` as it was trained (with label smoothing), `watch_loss` per watched image.
    """

    epoch: int
    loss: float | None
    accuracy: float | None
    rate: float | None
    watch_products: int
    watch_loss: float | None
    watch_accuracy: float | None  # per product; of label sets, whole sets
    watch_f1: float | None  # micro, of label sets


@dataclass(frozen=True, slots=True)
class MemberAccount:
    """One member: how it was trained and what it measured itself; empty where its run has no such file or figure."""

    member: str
    run: str
    model: str
    input_size: int
    images: int  # it was trained on
    seconds: float | None
    images_per_second: float | None  # the median of its epochs
    best_epoch: int | None
    holdout: Mapping[str, Accuracy]  # images, products; of those, seen and new ones; best five
    micro_f1: float | None  # of label sets, per product of the holdout
    macro_f1: float | None  # per product of the holdout
    epochs: tuple[Epoch, ...]
    card: Mapping[str, Any]  # card.json


@dataclass(frozen=True, slots=True)
class Timings:
    """Where a job's time went. Stages are summed over chunks, and decoding over threads: they add up to more than
    the time that passed."""

    elapsed: float | None  # seconds from the request to the end
    stages: Mapping[str, float]  # seconds
    chunks: int
    images: int  # of the dataset
    scored_images: int
    decided: int  # products that no network saw
    copied: int  # products whose outcome another job had
    precision: str
    batch_images: int


def timings(jobs: Jobs, job: Job) -> Timings:
    """The sums over the job's chunks that are done."""
    done = jobs.chunks(job.id, ["done"])
    stages: Counter[str] = Counter()
    for chunk in done:
        stages.update(chunk.seconds)
    return Timings(
        elapsed=job.ended - job.created if job.ended and job.created else None,
        stages=dict(stages),
        chunks=len(done),
        images=job.images,
        scored_images=sum(chunk.scored_images for chunk in done),
        decided=sum(chunk.decided for chunk in done),
        copied=sum(chunk.copied for chunk in done),
        precision=job.precision,
        batch_images=job.batch_images,
    )


def members(objects: Objects, version: EnsembleVersion, ensemble: Ensemble) -> tuple[MemberAccount, ...]:
    """The members of a version in the file's order; a run that is gone, or of an earlier Shelver, tells less.

    Raises NewerSchemaError.
    """
    return tuple(
        _account(objects, name, version.runs[name], member.model, member.input.size)
        for name, member in ensemble.members.items()
    )


def _account(objects: Objects, name: str, run: str, model: str, size: int) -> MemberAccount:
    log = run_log.read(objects, run)
    metrics = log.metrics
    holdout = metrics.get("holdout", {})
    rates = [line["images_per_second"] for line in log.epochs if _number(line.get("images_per_second"))]
    return MemberAccount(
        member=name,
        run=run,
        model=model,
        input_size=size,
        images=metrics.get("training", {}).get("images", 0),
        seconds=_number(metrics.get("seconds")),
        images_per_second=median(rates) if rates else None,
        best_epoch=metrics.get("best_epoch"),
        holdout=_holdout(holdout),
        micro_f1=_number(holdout.get("micro", {}).get("f1")),
        macro_f1=_number(holdout.get("macro", {}).get("f1")),
        epochs=tuple(map(_epoch, log.epochs)),
        card=_finite(log.card),
    )


def _holdout(told: Mapping[str, Any]) -> dict[str, Accuracy]:
    figures = {"images": told.get("images"), "products": told.get("products", {}).get("all")}
    figures["products, best five"] = told.get("top5", {}).get("products")
    figures |= {f"{part} products": told.get("products", {}).get(part) for part in ("new", "seen")}
    return {name: Accuracy.from_plain(figure) for name, figure in figures.items() if figure and figure["n"]}


def _epoch(line: Mapping[str, Any]) -> Epoch:
    watch = line.get("watch") or {}
    return Epoch(
        epoch=line["epoch"],
        loss=_number(line.get("loss")),
        accuracy=_number(line.get("accuracy")),
        rate=_number(line.get("rate")),
        watch_products=watch.get("products", 0),
        watch_loss=_number(watch.get("loss")),
        watch_accuracy=_number(watch.get("product_top1", watch.get("product_exact"))),
        watch_f1=_number(watch.get("micro_f1")),
    )


def _number(value: Any) -> float | None:
    """The value where it is a finite number: a training that came apart logs NaN."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _finite(value: Any) -> Any:
    """The JSON value with null for what no JSON number can be."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
