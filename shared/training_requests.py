"""What people ask of trainings: which members, from which dataset, as rows of a training and its runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from shared.domain import ensemble_rules
from shared.domain import runs as rules
from shared.domain.definitions import ensemble_definition, run_definition, run_id
from shared.domain.digests import digest
from shared.domain.ensemble import Ensemble, Task
from shared.domain.errors import BadInputError, ConflictError, NotFoundError
from shared.domain.records import Run, Training
from shared.domain.taxonomy import Taxonomy
from shared.packs import Manifest, read_manifest, read_taxonomy
from shared.ports import Objects, Runs, Stores


@dataclass(frozen=True, slots=True)
class Trainable:
    """A dataset that can be trained on."""

    manifest: Manifest
    taxonomy: Taxonomy


def trainable(objects: Objects, dataset: str) -> Trainable:
    """The dataset. Raises NotFoundError, and BadInputError for one without categories."""
    manifest = read_manifest(objects, dataset)
    if not manifest.taxonomy or not manifest.labelled:
        raise BadInputError(
            f"dataset {dataset}",
            "it has no categories to learn",
            remedy="ingest it with --categories and labelled products",
        )
    return Trainable(manifest, read_taxonomy(objects, dataset))


def check_task(manifest: Manifest, task: Task) -> None:
    """Raise BadInputError where the labelled products of a dataset are not for this task."""
    if manifest.labelled and bool(manifest.label_sets) != (task == "multilabel"):
        has, other = ("label sets", "multilabel") if manifest.label_sets else ("one category each", "multiclass")
        reason = f"its products have {has}, and the ensemble's task is {task}"
        remedy = f"use an ensemble of task: {other}, or another dataset"
        raise BadInputError(f"dataset {manifest.dataset}", reason, remedy=remedy)


def choose(ensemble: Ensemble, members: Sequence[str] | None) -> tuple[str, ...]:
    """The members to train, parents first."""
    parent_of = ensemble_rules.parents(ensemble.members)
    wanted: set[str] = set()
    for name in ensemble.members if members is None else members:
        if name not in ensemble.members:
            remedy = ensemble_rules.nearest(name, ensemble.members) or f"members: {', '.join(ensemble.members)}"
            raise BadInputError(f"ensemble {ensemble.name}", f"there is no member '{name}'", remedy=remedy)
        wanted |= {name, *ensemble_rules.ancestors(name, parent_of)}
    return tuple(name for name in ensemble_rules.training_order(ensemble.members) if name in wanted)


def definitions(ensemble: Ensemble, source: Trainable) -> dict[str, dict[str, Any]]:
    """Every member's run definition, parents first."""
    found: dict[str, dict[str, Any]] = {}
    for name in ensemble_rules.training_order(ensemble.members):
        member = ensemble.members[name]
        parent = run_id(found[member.init.name]) if member.init.kind == "member" else ""
        fingerprints = {"dataset": source.manifest.fingerprint, "taxonomy": source.taxonomy.fingerprint}
        found[name] = run_definition(member, **fingerprints, parent=parent)
    return found


def request(
    stores: Stores,
    ensemble: Ensemble,
    dataset: str,
    members: Sequence[str] | None = None,
    *,
    now: float,
    move_current: bool = True,
) -> Training:
    """The training of `members` (all by default) and what they start from, as rows that a launcher follows.

    What is complete stays so; what failed or was cancelled before is tried again. `now` in seconds since the epoch.
    Raises NotFoundError (dataset), BadInputError, and ConflictError where the same training runs with another
    `move_current`.
    """
    source = trainable(stores.objects, dataset)
    check_task(source.manifest, ensemble.task)
    chosen = choose(ensemble, members)
    of_members = definitions(ensemble, source)
    for name in chosen:
        _declare(stores.runs, name, dataset, of_members[name], now)
    ids = {name: run_id(of_members[name]) for name in chosen}
    training = stores.runs.add_training(
        Training(
            id=digest([ensemble_definition(ensemble), dataset, source.manifest.fingerprint, ids]),
            ensemble=ensemble.name,
            dataset=dataset,
            document=ensemble.plain(),
            runs=ids,
            move_current=move_current,
            created=now,
        )
    )
    if training.state != "running":
        stores.runs.swap_training(training, replace(rules.resume_training(training), move_current=move_current))
        training = stores.runs.training(training.id)
    if training.move_current != move_current:
        verb = "moves" if training.move_current else "does not move"
        raise ConflictError(
            f"training {training.id} is running already and {verb} `current` at its end; cancel it first"
        )
    return training


def retry(stores: Stores, training: str) -> Training:
    """Try what failed or was cancelled again; one that runs is left as it is.

    Raises NotFoundError, and ConflictError for a complete one and for one whose runs were removed.
    """
    row = stores.runs.training(training)
    if row.state == "complete":
        raise ConflictError(f"training {training} is complete: there is nothing to try again")
    if row.state == "running":
        return row
    for run in row.runs.values():
        try:
            _try_again(stores.runs, stores.runs.run(run))
        except NotFoundError:
            raise ConflictError(f"run {run} of training {training} was removed; ask for a new training") from None
    stores.runs.swap_training(row, rules.resume_training(row))
    return stores.runs.training(training)


def cancel(stores: Stores, training: str) -> Training:
    """Stop a training and those of its runs that no other training wants; the launcher ends their processes.

    One that is cancelled already is left as it is. Raises NotFoundError, and ConflictError for one that has ended.
    """
    while True:
        row = stores.runs.training(training)
        if row.state == "cancelled":
            break
        if stores.runs.swap_training(row, rules.cancel_training(row)):
            break
    cancel_runs(stores.runs, stores.runs.training(training))
    return stores.runs.training(training)


def cancel_runs(runs: Runs, training: Training) -> list[Run]:
    """Cancel the unfinished runs of a training that no other running one wants; their rows from before."""
    wanted = wanted_by_others(runs, training)
    known = {run.id: run for run in runs.runs()}
    cancelled = []
    for name in training.runs.values():
        run = known.get(name)
        while run is not None and name not in wanted and run.state in rules.OPEN:
            if runs.swap_run(run, rules.cancel(run)):
                cancelled.append(run)
                break
            run = runs.run(name)
    return cancelled


def wanted_by_others(runs: Runs, training: Training) -> set[str]:
    """The ids of the runs of all other running trainings."""
    others = [other for other in runs.trainings() if other.id != training.id and other.state == "running"]
    return {run for other in others for run in other.runs.values()}


def _declare(runs: Runs, member: str, dataset: str, definition: dict[str, Any], now: float) -> None:
    parent = definition["parent"]
    state = "waiting" if parent else "pending"
    wanted = Run(
        id=run_id(definition),
        member=member,
        dataset=dataset,
        definition=definition,
        parent=parent,
        state=state,
        created=now,
    )
    _try_again(runs, runs.declare(wanted))


def _try_again(runs: Runs, run: Run) -> None:
    if run.state in ("failed", "cancelled"):
        runs.swap_run(run, rules.retry(run))
