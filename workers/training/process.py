"""From a validated run to a complete one: everything between the command line and the loop."""

import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from shared import layout, run_files
from shared.domain.ensemble import Member
from shared.domain.errors import BadInputError
from shared.domain.records import SCHEMA
from shared.ports import Clock, Objects
from shared.settings import ScoringSettings, TrainingSettings
from workers.training import features, initial
from workers.training.card import MemberCard
from workers.training.checkpoints import Checkpoints, Counters
from workers.training.dataset import Images, Parts, divide
from workers.training.features import FeatureSource
from workers.training.holdout import HoldoutScorer
from workers.training.journal import Journal
from workers.training.learner import Learner
from workers.training.loop import Trainer
from workers.training.objectives import Task, task_of
from workers.training.orders import Order
from workers.training.pictures import PictureSource
from workers.training.preemption import PreemptedError
from workers.training.ranks import ALONE, Ranks
from workers.training.watch import Watch
from workers.vision import checkpoint, heads
from workers.vision.decode import DecodeLimits
from workers.vision.devices import device_name


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a training gets from its process."""

    objects: Objects
    training: TrainingSettings
    decoding: ScoringSettings
    clock: Clock
    say: Callable[[str], None]
    preempted: Callable[[], bool]
    ranks: Ranks = ALONE


def train(order: Order, attempt: int, around: Surroundings) -> None:
    """Train to the end, or from the newest checkpoint on; a complete run is left as it is.

    Of several ranks all train; then rank 0 goes on alone and the others return. Raises PreemptedError when asked to go
    (a checkpoint is there), BadInputError and FailedError.
    """
    objects, run = around.objects, order.run.id
    checkpoints = Checkpoints(objects, run, attempt)
    if objects.exists(layout.run_file(run, "manifest.json")):
        if around.ranks.first:
            checkpoints.clear()
        around.say(f"run {run} is complete already")
        return
    member = order.member
    parts = divide(objects, order.manifest, order.classes, member.split, member.images, member.share)
    _check_watch(member, parts)
    task = task_of(member, order.classes, parts)
    module, start = initial.network(objects, member, order.run.parent, order.taxonomy.classes, task.beside)
    around.say(f"member {member.name}, run {run}, attempt {attempt}: {len(parts.training)} images; {start}")
    module = module.to(device=order.device.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    journal = Journal(objects, run, order.run.created, around.clock, around.say)
    if around.ranks.first and not objects.exists(layout.run_file(run, "checkpoint/latest.json")):
        for key in list(objects.list(layout.run_file(run, "holdout/"))):
            objects.delete(key)  # of other weights: trained again, a GPU's differ in their last digits
    module, counters = _train(order, parts, task, module, checkpoints, journal, around)
    around.ranks.part()
    if not around.ranks.first:
        return
    if task.beside:
        heads.narrow(module, order.taxonomy.classes)
    checkpoint.put_tensors(objects, layout.run_file(run, "weights.safetensors"), module.state_dict())
    classes, fingerprint = order.taxonomy.classes, order.taxonomy.fingerprint
    run_files.put_member(objects, run, member, classes=classes, taxonomy=fingerprint, labels=task.labels)
    holdout = _score(order, parts, task, module, journal, around)
    journal.flush()
    processes = {"processes": around.ranks.count} if around.ranks.count > 1 else {}
    report = _metrics(order, parts, module, start, counters) | processes | {"holdout": holdout}
    objects.put(layout.run_file(run, "metrics.json"), json.dumps(report, indent=1).encode())
    files = ["member.yaml", "weights.safetensors", "metrics.json", "log.jsonl", "card.json"]
    run_files.put_manifest(objects, run, attempt=attempt, steps=counters.step, files=files)
    checkpoints.clear()
    accuracy = holdout["products"]["all"]
    around.say(f"complete: holdout accuracy per product {accuracy['accuracy']} (n={accuracy['n']})")


def _check_watch(member: Member, parts: Parts) -> None:
    if len(parts.watch) or not (member.early_stopping or member.schedule.kind == "plateau"):
        return
    needs = "early stopping" if member.early_stopping else "a plateau schedule"
    raise BadInputError(
        f"member {member.name}",
        f"{needs} watches 5 % of the training part, and none of its few products falls into them",
        remedy="ingest more labelled products, or train without it",
    )


def _train(
    order: Order,
    parts: Parts,
    task: Task,
    module: nn.Module,
    checkpoints: Checkpoints,
    journal: Journal,
    around: Surroundings,
) -> tuple[nn.Module, Counters]:
    member, training = order.member, parts.training
    learner = Learner(
        member, module, order.device, training.class_index, around.ranks, task.objective, training.product_id
    )
    with _training_source(order, training.followed_by(parts.watch), module, journal, around) as source:  # one for both
        trainer = Trainer(
            member,
            training,
            source,
            learner,
            Watch(
                member,
                parts.watch,
                source,
                order.device,
                first=len(training),
                preempted=around.preempted,
                objective=task.objective,
            ),
            journal=journal,
            checkpoints=checkpoints,
            checkpoint_seconds=around.training.checkpoint_seconds,
            preempted=around.preempted,
            clock=around.clock,
            ranks=around.ranks,
            draw=task.draw,
        )
        try:
            counters = trainer.run()
        except PreemptedError:
            around.ranks.part()  # once rank 0 has saved
            raise
    if counters.undecodable:
        around.say(f"{len(counters.undecodable)} images could not be decoded and were left out")
    return trainer.kept(), counters


def _score(
    order: Order, parts: Parts, task: Task, module: nn.Module, journal: Journal, around: Surroundings
) -> dict[str, Any]:
    def progress(done: int, of: int) -> None:
        journal.progress({"stage": "holdout", "step": done, "steps": of, "seconds_left": None})

    scorer = HoldoutScorer(
        around.objects,
        order.run.id,
        order.member,
        parts,
        order.device,
        progress=progress,
        preempted=around.preempted,
        objective=task.objective,
    )
    once = replace(around.training, cache_bytes=0)  # every picture is looked at once
    alone = replace(around, training=once, ranks=ALONE)
    with _source(order, parts.held_out, alone) as source:
        metrics = scorer.run(module, source, order.taxonomy.classes)
        MemberCard(
            around.objects,
            order.run.id,
            order.member,
            order.device.device,
            order.device.precision,
            clock=around.clock,
            preempted=around.preempted,
            objective=task.objective,
        ).write(parts, source)
    return metrics


def _training_source(
    order: Order, images: Images, module: nn.Module, journal: Journal, around: Surroundings
) -> PictureSource | FeatureSource:
    if order.member.features == "computed":
        return _source(order, images, around)
    dataset, key = order.manifest.dataset, features.key_of(order.manifest, order.member, module, order.device)

    def store() -> None:
        once = replace(around, training=replace(around.training, cache_bytes=0))
        with _source(order, images, once) as source:
            features.store(
                around.objects,
                dataset,
                key,
                order.member,
                module,
                images,
                source,
                order.device,
                progress=lambda done, of: journal.progress(
                    {"stage": "features", "step": done, "steps": of, "seconds_left": None}
                ),
                preempted=around.preempted,
            )

    around.ranks.of_first(store)
    return FeatureSource(around.objects, dataset, key, len(images))


def _source(order: Order, images: Images, around: Surroundings) -> PictureSource:
    decoding = around.decoding
    limits = DecodeLimits(decoding.decode_cap_pixels, decoding.refuse_pixels, order.member.input.size)
    training, ranks = around.training, around.ranks.count  # which share the machine
    threads = training.decode_threads or max(1, (os.cpu_count() or 1) // ranks)
    return PictureSource(around.objects, images, limits, threads=threads, cache_bytes=training.cache_bytes // ranks)


def _metrics(order: Order, parts: Parts, module: nn.Module, start: initial.Start, counters: Counters) -> dict[str, Any]:
    where = order.device.device
    return {
        "schema": SCHEMA,
        "run": order.run.id,
        "member": order.member.name,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "epochs": counters.epochs,
        **({"best_epoch": counters.best_epoch} if counters.best_epoch else {}),
        "steps": counters.step,
        "seconds": round(counters.seconds, 2),
        "start": {"source": start.source, "share": start.share},
        "training": {
            "images": len(parts.training),
            "products": len(set(parts.training.product_id.tolist())),
            "undecodable": len(counters.undecodable),
        },
        "device": device_name(where),
        "precision": order.device.precision,
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("shelver", "torch", "timm")}
        | {"python": platform.python_version()},
    }
