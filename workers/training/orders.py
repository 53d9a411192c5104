"""From a run's definition to an order: what a training process is asked for, checked before anything runs."""

import json
from dataclasses import dataclass

import torch

from shared import layout
from shared.domain.definitions import run_id
from shared.domain.ensemble import Member, member_from_plain
from shared.domain.errors import BadInputError, NotFoundError
from shared.domain.label_sets import Classes
from shared.domain.records import Run
from shared.domain.taxonomy import Taxonomy
from shared.packs import Manifest, read_classes, read_manifest, read_taxonomy
from shared.ports import Objects
from shared.settings import TrainingSettings
from workers.training.device import Device
from workers.vision import model
from workers.vision.devices import resolve_device, resolve_precision


@dataclass(frozen=True, slots=True)
class Order:
    """A validated run: what to train on what."""

    run: Run
    member: Member  # resolved: mean, deviation and precision filled in
    manifest: Manifest
    taxonomy: Taxonomy
    classes: Classes  # of the products: the same, or label sets
    device: Device


def validate(objects: Objects, run: str, settings: TrainingSettings) -> Order:
    """Read and check a run's definition. Raises BadInputError for whatever does not fit together."""
    key = layout.run_file(run, "definition.json")
    try:
        row = Run.from_plain(json.loads(objects.read(key)))
    except NotFoundError:
        raise BadInputError(f"run {run}", f"there is no {key}", remedy="start it by `shelver train`") from None
    if run_id(row.definition) != run or row.id != run:
        raise BadInputError(f"run {run}", f"{key} is not what this run's id is the digest of", remedy="remove the run")
    manifest = read_manifest(objects, row.dataset)
    taxonomy = read_taxonomy(objects, row.dataset)
    for what, stored, asked in (
        ("content", manifest.fingerprint, row.definition["dataset"]),
        ("category table", taxonomy.fingerprint, row.definition["taxonomy"]),
    ):
        if stored != asked:
            reason = f"the {what} of dataset '{row.dataset}' is another one than when the run was declared"
            raise BadInputError(f"run {run}", reason, remedy="train again")
    member = member_from_plain({"name": row.member, **row.definition["member"]})
    where = resolve_device(settings.device)
    _check_processes(member, settings.processes, where)
    precision = resolve_precision(member.precision, where)
    classes = read_classes(objects, manifest, taxonomy)
    return Order(row, model.resolved(member, precision), manifest, taxonomy, classes, Device(where, precision))


def _check_processes(member: Member, processes: int, where: torch.device) -> None:
    if processes > 1 and where.type == "cuda" and processes > torch.cuda.device_count():
        reason = f"{processes} processes need a GPU each, and there are {torch.cuda.device_count()}"
        raise BadInputError("SHELVER_TRAINING_PROCESSES", reason, remedy="lower it")
    parts = max(1, processes) * member.accumulate
    if parts > member.accumulate and (member.batch_size % parts or member.batch_size // parts < 2):
        raise BadInputError(
            f"member {member.name}",
            f"its batch of {member.batch_size} cannot be cut into equal parts of 2 or more images for {processes} "
            f"processes with {member.accumulate} each (accumulate)",
            remedy="change batch_size or accumulate, or train with another SHELVER_TRAINING_PROCESSES",
        )
