"""What retention no longer keeps: pure rules over rows, by their age in wall-clock time. What an ensemble version or
anything unfinished names stays at any age, so a clock that is wrong removes nothing that is in use.
"""

from collections.abc import Iterable, Mapping, Sequence

from shared.domain.ensemble import Split
from shared.domain.records import EnsembleVersion, Job, Run, Training
from shared.domain.runs import OPEN, discarded
from shared.domain.states import ANSWERED, ENDED, UNFINISHED

DAY = 86_400.0


def expired_jobs(jobs: Iterable[Job], *, now: float, days: float) -> list[Job]:
    """Jobs that ended more than `days` ago, but never the newest ended one of its dataset and ensemble, nor the newest
    of those that has every answer, nor one that an unfinished job copies outcomes from.
    """
    ended = sorted((job for job in jobs if job.state in ENDED), key=lambda job: (_end(job), job.id))
    newest = {(job.dataset, job.ensemble): job.id for job in ended}
    answered = {(job.dataset, job.ensemble): job.id for job in ended if job.state in ANSWERED}
    copied = {job.options.since for job in jobs if job.state in UNFINISHED}
    kept = {*newest.values(), *answered.values(), *copied}
    return [job for job in ended if job.id not in kept and now - _end(job) > days * DAY]


def expired_runs(
    runs: Sequence[Run], trainings: Iterable[Training], versions: Iterable[EnsembleVersion], *, now: float, days: float
) -> list[Run]:
    """Runs that ended (or, where they never did, were made) more than `days` ago and that no ensemble version, no
    unfinished training and no kept run (as its parent) names, and runs whose removal was interrupted; children before
    their parents, as they have to be removed.
    """
    by_id = {run.id: run for run in runs}
    kept = {run for version in versions for run in version.runs.values()} | _unfinished(trainings)
    kept |= {run.id for run in runs if run.state == "running" or not (discarded(run) or now - _end(run) > days * DAY)}
    for run_id in list(kept):
        while run_id in by_id and (run_id := by_id[run_id].parent):
            kept.add(run_id)
    return sorted((run for run in runs if run.id not in kept), key=lambda run: -_depth(run, by_id))


def expired_checkpoints(runs: Iterable[Run], trainings: Iterable[Training], *, now: float, days: float) -> list[Run]:
    """Runs that need no checkpoint: complete ones, and ones that failed or were cancelled, ended more than `days` ago
    and that nobody is about to try again.
    """
    unfinished = _unfinished(trainings)
    return [
        run
        for run in runs
        if run.state == "complete"
        or (run.state not in OPEN and run.id not in unfinished and now - _end(run) > days * DAY)
    ]


def expired_trainings(trainings: Iterable[Training], runs: Iterable[Run]) -> list[Training]:
    """Ended trainings none of whose runs is among `runs`."""
    there = {run.id for run in runs}
    return [t for t in trainings if t.state != "running" and not there.intersection(t.runs.values())]


def splits_in_use(runs: Iterable[Run], versions: Iterable[EnsembleVersion]) -> set[str]:
    """Digests of the splits of all runs and versions: they name duplicate tables."""
    used = [run.definition["member"]["split"] for run in runs if "member" in run.definition]
    used += [split for version in versions for split in _splits(version.document)]
    return {Split(**split).digest for split in used}


def initial_weights(runs: Iterable[Run]) -> set[str]:
    """Keys of the objects that runs take their initial weights from (`init: {file: KEY}`)."""
    inits = [run.definition["member"].get("init", {}) for run in runs if "member" in run.definition]
    return {init["name"] for init in inits if init.get("kind") == "file"}


def _splits(document: Mapping[str, object]) -> list[dict[str, int]]:
    splits = document.get("splits", {})
    return list(splits.values()) if isinstance(splits, Mapping) else []


def _end(row: Job | Run) -> float:
    return row.ended or row.created


def _unfinished(trainings: Iterable[Training]) -> set[str]:
    return {run for training in trainings if training.state == "running" for run in training.runs.values()}


def _depth(run: Run, by_id: Mapping[str, Run]) -> int:
    depth = 0
    while run.parent in by_id:
        run, depth = by_id[run.parent], depth + 1
    return depth
