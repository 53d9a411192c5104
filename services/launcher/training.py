"""One training from an ensemble file to an ensemble version; going on where it was, however it ended before."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from services.launcher.progress import TrainingProgress, progress_of
from services.launcher.reconciler import Reconciler
from services.launcher.tables import count_parts, ensure_tables
from shared import layout
from shared.domain import ensemble_rules
from shared.domain import runs as rules
from shared.domain.digests import digest
from shared.domain.ensemble import Ensemble, Split, run_definition, run_id
from shared.domain.errors import BadInputError, FailedError
from shared.domain.records import EnsembleVersion, Run, Training
from shared.domain.taxonomy import Taxonomy
from shared.packs import Manifest, read_manifest, read_taxonomy
from shared.ports import Clock, Launcher, Objects, Runs
from shared.settings import Settings
from shared.wiring import Stores

_BAD_INPUT = 2  # the exit code by which a trainer says so


@dataclass(frozen=True, slots=True)
class _Source:
    """A dataset that can be trained on."""

    manifest: Manifest
    taxonomy: Taxonomy


def train(
    stores: Stores,
    launcher: Launcher,
    settings: Settings,
    ensemble: Ensemble,
    dataset: str,
    members: Sequence[str] | None = None,
    report: Callable[[TrainingProgress], None] = lambda _: None,
    *,
    clock: Clock = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> EnsembleVersion | None:
    """Train `members` (all by default) and what they start from, then make the ensemble version and move `current`.

    Runs that are complete stay so; None where members of the file are still untrained. `clock` gives seconds since the
    epoch. Raises BadInputError (also for what only the trainer can see) and NotFoundError, and FailedError with the
    last lines of a failed run. Interrupted, it lets the running process write a checkpoint first.
    """
    source = _source(stores.objects, dataset)
    chosen = _chosen(ensemble, members)
    table = ensure_tables(stores.objects, source.manifest, source.taxonomy, ensemble.splits.values())
    training = _declare(stores.runs, ensemble, source, chosen, clock())
    reconciler = Reconciler(stores.runs, stores.objects, launcher, clock=clock)
    already = tuple(m for m, run in training.runs.items() if stores.runs.run(run).state == "complete")
    rows: dict[str, Run] = {}
    try:
        while True:
            rows = reconciler.step(training)
            report(progress_of(stores.objects, rows, already))
            if failed := rules.failure(rows):
                _fail(stores.runs, reconciler, training, rows, failed)
            if all(run.state == "complete" for run in rows.values()):
                break
            sleep(settings.leases.poll_seconds)
    except KeyboardInterrupt:
        reconciler.stop({m: stores.runs.run(run) for m, run in training.runs.items()})
        raise
    version = _version(stores, ensemble, source, table, training, clock())
    stores.runs.swap_training(training, rules.complete_training(training, version.version if version else ""))
    return version


def prepare_split(stores: Stores, dataset: str, split: Split) -> dict[str, Any]:
    """Write the split's duplicate table; products and images of its parts. Raises NotFoundError and BadInputError."""
    source = _source(stores.objects, dataset)
    ensure_tables(stores.objects, source.manifest, source.taxonomy, [split])
    return count_parts(stores.objects, source.manifest, split)


def _source(objects: Objects, dataset: str) -> _Source:
    manifest = read_manifest(objects, dataset)
    if not manifest.taxonomy or not manifest.labelled:
        raise BadInputError(
            f"dataset {dataset}",
            "it has no categories to learn",
            remedy="ingest it with --categories and labelled products",
        )
    return _Source(manifest, read_taxonomy(objects, dataset))


def _chosen(ensemble: Ensemble, members: Sequence[str] | None) -> tuple[str, ...]:
    """The members to train, parents first."""
    parent_of = ensemble_rules.parents(ensemble.members)
    wanted: set[str] = set()
    for name in ensemble.members if members is None else members:
        if name not in ensemble.members:
            remedy = ensemble_rules.nearest(name, ensemble.members) or f"members: {', '.join(ensemble.members)}"
            raise BadInputError(f"ensemble {ensemble.name}", f"there is no member '{name}'", remedy=remedy)
        wanted |= {name, *ensemble_rules.ancestors(name, parent_of)}
    return tuple(name for name in ensemble_rules.training_order(ensemble.members) if name in wanted)


def _definitions(ensemble: Ensemble, source: _Source) -> dict[str, dict[str, Any]]:
    """Every member's run definition, parents first."""
    found: dict[str, dict[str, Any]] = {}
    for name in ensemble_rules.training_order(ensemble.members):
        member = ensemble.members[name]
        parent = run_id(found[member.init.name]) if member.init.kind == "member" else ""
        fingerprints = {"dataset": source.manifest.fingerprint, "taxonomy": source.taxonomy.fingerprint}
        found[name] = run_definition(member, **fingerprints, parent=parent)
    return found


def _declare(runs: Runs, ensemble: Ensemble, source: _Source, chosen: tuple[str, ...], now: float) -> Training:
    """Store rows of the runs and of the training; what failed or was cancelled before is tried again."""
    definitions = _definitions(ensemble, source)
    dataset = source.manifest.dataset
    for name in chosen:
        parent = definitions[name]["parent"]
        state = "waiting" if parent else "pending"
        run = runs.declare(
            Run(
                id=run_id(definitions[name]),
                member=name,
                dataset=dataset,
                definition=definitions[name],
                parent=parent,
                state=state,
                created=now,
            )
        )
        if run.state in ("failed", "cancelled"):
            runs.swap_run(run, rules.retry(run))
    ids = {name: run_id(definitions[name]) for name in chosen}
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


def _fail(runs: Runs, reconciler: Reconciler, training: Training, rows: Mapping[str, Run], failed: Run) -> None:
    reconciler.stop(rows)
    runs.swap_training(training, rules.fail_training(training, f"{failed.member}: {failed.reason}"))
    process = reconciler.last_process(failed)
    if process.exit_code == _BAD_INPUT:
        raise BadInputError(f"member {failed.member} (run {failed.id})", process.log_tail.splitlines()[-1])
    last_lines = f"; its last lines:\n{process.log_tail}" if process.log_tail else ""
    raise FailedError(f"member {failed.member} (run {failed.id}) is {failed.state}: {failed.reason}{last_lines}")


def _version(
    stores: Stores, ensemble: Ensemble, source: _Source, table: str, training: Training, now: float
) -> EnsembleVersion | None:
    """The version of a file all of whose runs are complete; equal inputs give the version that is there already."""
    ids = {name: run_id(definition) for name, definition in _definitions(ensemble, source).items()}
    known = {run.id for run in stores.runs.runs() if run.state == "complete"}
    if not known.issuperset(ids.values()):
        return None
    version = EnsembleVersion(
        name=ensemble.name,
        version="",
        document=ensemble.plain(),
        runs={name: ids[name] for name in ensemble.members},
        dataset=source.manifest.dataset,
        dataset_fingerprint=source.manifest.fingerprint,
        taxonomy=source.taxonomy.fingerprint,
        duplicate_table=table,
        created=now,
    )
    content = {k: v for k, v in version.plain().items() if k not in ("version", "created", "document")}
    version = replace(version, version=digest([ensemble.definition(), content]))
    text = yaml.safe_dump(_lists(version.plain()), sort_keys=False, allow_unicode=True)
    stores.objects.put(layout.ensemble_version(version.name, version.version), text.encode())
    stored = stores.runs.add_version(version)
    if training.move_current:
        stores.runs.set_current(stored.name, stored.version)
    return stored


def _lists(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _lists(v) for key, v in value.items()}
    return [_lists(v) for v in value] if isinstance(value, tuple | list) else value
