"""What people ask of trainings: which members, from which dataset, as rows of a training and its runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.domain import ensemble_rules
from shared.domain import runs as rules
from shared.domain.digests import digest
from shared.domain.ensemble import Ensemble, run_definition, run_id
from shared.domain.errors import BadInputError
from shared.domain.records import Run, Training
from shared.domain.taxonomy import Taxonomy
from shared.packs import Manifest, read_manifest, read_taxonomy
from shared.ports import Objects, Runs


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


def declare(runs: Runs, ensemble: Ensemble, source: Trainable, chosen: tuple[str, ...], now: float) -> Training:
    """Store rows of the runs and of the training; what failed or was cancelled before is tried again."""
    of_members = definitions(ensemble, source)
    dataset = source.manifest.dataset
    for name in chosen:
        parent = of_members[name]["parent"]
        state = "waiting" if parent else "pending"
        run = runs.declare(
            Run(
                id=run_id(of_members[name]),
                member=name,
                dataset=dataset,
                definition=of_members[name],
                parent=parent,
                state=state,
                created=now,
            )
        )
        if run.state in ("failed", "cancelled"):
            runs.swap_run(run, rules.retry(run))
    ids = {name: run_id(of_members[name]) for name in chosen}
    training = runs.add_training(
        Training(
            id=digest([ensemble.definition(), dataset, source.manifest.fingerprint, ids]),
            ensemble=ensemble.name,
            dataset=dataset,
            document=ensemble.plain(),
            runs=ids,
            created=now,
        )
    )
    if training.state != "running":
        runs.swap_training(training, rules.resume_training(training))
        training = runs.training(training.id)
    return training
