"""One training from its rows to an ensemble version; going on where it was, however it ended before."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services.launcher.reconciler import Reconciler
from shared import ensemble_versions
from shared.domain import runs as rules
from shared.domain.definitions import run_id
from shared.domain.ensemble import Ensemble, Split
from shared.domain.ensemble import from_plain as ensemble_from_plain
from shared.domain.errors import BadInputError, FailedError
from shared.domain.records import EnsembleVersion, Run, Training
from shared.ports import Clock, Launcher, Runs, Stores
from shared.settings import Settings
from shared.split_tables import count_parts, ensure_tables
from shared.training_progress import TrainingProgress, progress_of
from shared.training_requests import definitions, request, trainable, wanted_by_others


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
    training = request(stores, ensemble, dataset, members, now=clock())
    prepare(stores, training)
    reconciler = Reconciler(stores.runs, stores.objects, launcher, clock=clock)
    # processes of this machine cost little to look at; each look at Jobs asks the cluster's API server
    pause = settings.launcher.poll_seconds if settings.launcher.templates else settings.leases.poll_seconds
    already = tuple(m for m, run in training.runs.items() if stores.runs.run(run).state == "complete")
    try:
        while True:
            processes = launcher.status()
            rows = reconciler.advance(training, processes)
            if failed := rules.failure(rows):
                fail(stores.runs, reconciler, training, rows, failed)
                raise _error(failed, reconciler)
            running = sum(run.state == "running" for run in rows.values())
            reconciler.launch(training, rows, processes, room=settings.launcher.concurrent_runs - running)
            report(progress_of(stores.objects, rows, already))
            if all(run.state == "complete" for run in rows.values()):
                return complete(stores, training, clock())
            sleep(pause)
    except KeyboardInterrupt:
        reconciler.stop({m: stores.runs.run(run) for m, run in training.runs.items()})
        raise


def prepare_split(stores: Stores, dataset: str, split: Split) -> dict[str, Any]:
    """Write the split's duplicate table; products and images of its parts. Raises NotFoundError and BadInputError."""
    source = trainable(stores.objects, dataset)
    ensure_tables(stores.objects, source.manifest, source.taxonomy, [split])
    return count_parts(stores.objects, source.manifest, split)


def prepare(stores: Stores, training: Training) -> None:
    """Write the duplicate tables that its runs and its version need. Raises NotFoundError and BadInputError."""
    source = trainable(stores.objects, training.dataset)
    splits = ensemble_from_plain(training.document).splits.values()
    ensure_tables(stores.objects, source.manifest, source.taxonomy, splits)


def fail(runs: Runs, reconciler: Reconciler, training: Training, rows: Mapping[str, Run], failed: Run) -> None:
    """End a training for the sake of one of its runs; what else of it runs, and no other wants, is given back."""
    wanted = wanted_by_others(runs, training)
    reconciler.stop({member: run for member, run in rows.items() if run.id not in wanted})
    reason = f"{failed.member}: {failed.reason or failed.state}"
    runs.swap_training(training, rules.fail_training(training, reason, bad_input=failed.bad_input))


def complete(stores: Stores, training: Training, now: float) -> EnsembleVersion | None:
    """End a training all of whose runs are complete; its version, if no member of the file is untrained.

    Equal inputs give the version that is there already. Raises NotFoundError and BadInputError.
    """
    ensemble = ensemble_from_plain(training.document)
    source = trainable(stores.objects, training.dataset)
    table = ensure_tables(stores.objects, source.manifest, source.taxonomy, ensemble.splits.values())
    ids = {name: run_id(definition) for name, definition in definitions(ensemble, source).items()}
    known = {run.id for run in stores.runs.runs() if run.state == "complete"}
    version = None
    if known.issuperset(ids.values()):
        version = ensemble_versions.make(
            stores,
            ensemble,
            ids,
            source.manifest,
            source.taxonomy,
            table=table,
            move_current=training.move_current,
            now=now,
        )
    stores.runs.swap_training(training, rules.complete_training(training, version.version if version else ""))
    return version


def _error(failed: Run, reconciler: Reconciler) -> BadInputError | FailedError:
    if failed.bad_input:
        return BadInputError(f"member {failed.member} (run {failed.id})", failed.reason)
    process = reconciler.last_process(failed)
    last_lines = f"; its last lines:\n{process.log_tail}" if process.log_tail else ""
    return FailedError(f"member {failed.member} (run {failed.id}) is {failed.state}: {failed.reason}{last_lines}")
