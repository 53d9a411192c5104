"""What `doctor` says of trainings, runs and scoring jobs that did not end well or wait to be gone on with."""

from collections.abc import Iterator

from services.cli.checks import Check
from shared import layout
from shared.domain import attempts, states
from shared.domain import runs as rules
from shared.domain.errors import FailedError, NotFoundError
from shared.domain.records import Job, JobOptions, Run
from shared.packs import read_manifest
from shared.ports import Stores
from shared.settings import Settings

_MEMORY = ("out of memory", "ended from outside", "can't allocate", "too small")


def training_checks(settings: Settings, stores: Stores, *, busy: bool) -> Iterator[Check]:
    """Trainings that have not ended, runs that failed, and runs whose removal was interrupted.

    `busy`: another process works in the home, so what is unfinished may be its work.
    """
    for training in stores.runs.trainings():
        if training.state != "running":
            continue
        name = f"training {training.id}"
        if busy:
            yield Check(name, True, f"of {training.ensemble} on {training.dataset}, under way")
            continue
        go_on = f"go on: `shelver train` the file of {training.ensemble} with --dataset {training.dataset}"
        words = f"of {training.ensemble} on {training.dataset}, interrupted"
        yield Check(name, True, words, f"{go_on}; or give it up: shelver rm training {training.id}")
    for run in stores.runs.runs():
        if rules.discarded(run):
            yield Check(f"run {run.id}", False, "its removal was interrupted", f"finish it: shelver rm run {run.id}")
        elif run.state == "failed":
            yield Check(f"run {run.id}", False, f"{run.member} failed: {run.reason}", _run_remedy(settings, run))


def _run_remedy(settings: Settings, run: Run) -> str:
    again = f"then `shelver train` again, or give it up: shelver rm run {run.id}"
    if "its parent" in run.reason:
        return f"mend that one first; {again}"
    if any(words in run.reason.lower() for words in _MEMORY):
        return (
            f"give it more memory: close other programs, or lower batch_size or the input's size in the file; {again}"
        )
    said = f"{settings.home / 'processes' / rules.process_name(run) / 'log'} has all it said"
    if settings.launcher.templates:  # a pod's log goes with it
        said = f"{layout.run_last_lines(run.id, run.attempt)} in the object store has its last lines"
    return f"mend that ({said}); {again}"


def job_checks(settings: Settings, stores: Stores, *, busy: bool) -> Iterator[Check]:
    """Jobs that failed, unless a newer one has answered the same, and jobs that have not ended; `busy` as above."""
    answered: set[tuple[str, str]] = set()
    for job in stores.jobs.jobs():  # newest first
        name, asked = f"job {job.id}", (job.dataset, job.ensemble)
        if job.state in states.ANSWERED:
            answered.add(asked)
        elif job.state == "failed" and asked in answered:
            remedy = f"shelver rm job {job.id}"
            yield Check(name, True, f"failed ({job.error}); a newer one has scored {job.dataset}", remedy)
        elif job.state == "failed":
            yield Check(name, False, f"failed: {job.error}", _job_remedy(settings, stores, job))
        elif job.state in states.UNFINISHED:
            go_on = f"shelver cancel {job.id}" if job.state == "cancelling" else score_command(job)
            give_up = "" if job.state == "cancelling" else f"; or give it up: shelver cancel {job.id}"
            yield Check(name, True, job.state, "" if busy else f"go on: {go_on}{give_up}")


def score_command(job: Job) -> str:
    """The command that goes on with a job: one of equal arguments."""
    options = job.options
    words = [f"shelver score {job.dataset} --ensemble {job.ensemble}@{job.version}"]
    words.append(f"--duplicates {options.image_duplicates},{options.product_duplicates}")
    default = JobOptions(image_duplicates="", product_duplicates="")
    if options.chunk_images != default.chunk_images:
        words.append(f"--chunk-images {options.chunk_images}")
    words += ["--no-skip-decided"] if not options.skip_decided else []
    words += ["--keep-scores"] if options.keep_scores else []
    words += [f"--since {options.since}"] if options.since else []
    return " ".join(words)


def _job_remedy(settings: Settings, stores: Stores, job: Job) -> str:
    again = f"then score again: {score_command(job)}"
    log = settings.home / "logs" / "scoring.log"
    if _changed(stores, job):
        return f"the dataset {job.dataset} is not what it was: shelver rm job {job.id}, {again}"
    if "device '" in job.error:
        return f"unset SHELVER_SCORING_DEVICE, or set it to auto or cpu; {again}"
    if any(words in job.error.lower() for words in _MEMORY):
        return f"use a device with more memory, SHELVER_SCORING_DEVICE=cpu, or fewer members; {again}"
    if job.waves >= attempts.FAILING_WAVES:
        what = f"its workers died together {job.waves} times: look for a full memory or disk, and at {log}"
    elif job.unready_losses >= attempts.FAILING_UNREADY:
        what = f"its workers died {job.unready_losses} times before they were ready: see the lines above, and {log}"
    else:
        what = f"mend that; {log} may say more"
    return f"{what}; {again}"


def _changed(stores: Stores, job: Job) -> bool:
    try:
        return read_manifest(stores.objects, job.dataset).fingerprint != job.dataset_fingerprint
    except NotFoundError:
        return True
    except FailedError:
        return False  # damaged: the dataset's own line says it
