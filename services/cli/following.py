"""Progress as people see it: of jobs, ingests and trainings, whoever drives them."""

import time
from collections.abc import Callable

from services.cli.show import Update, duration, progress, remark
from shared.domain import states
from shared.ingest_progress import IngestProgress
from shared.job_progress import Progress
from shared.training_progress import TrainingProgress

_LOOK_SECONDS = 1.0
_STILL_SECONDS = 30.0  # a chunk may take this long on a slow machine


def report_job(update: Update, state: Progress) -> None:
    """Show how far a job is, its rate and the time left."""
    finished = state.done + state.failed + state.through
    words = f"{finished:,}/{state.products:,} products, {state.rate:.0f}/s, {duration(state.seconds_left)} left"
    copied = f", {state.copied:,} copied" if state.copied else ""
    failed = f", {state.failed:,} failed" if state.failed else ""
    update(
        finished,
        state.products,
        f"{words}{copied}{failed}{', ' + state.message if state.message else ''}",
    )


def follow_job(title: str, look: Callable[[], Progress], still: str) -> None:
    """Show the progress of a job until it has ended; `still` is said once where nothing moves for a while."""
    moved, last = time.monotonic(), -1
    with progress(title) as update:
        while (state := look()).state in states.UNFINISHED:
            report_job(update, state)
            now = time.monotonic()
            if last != (finished := state.done + state.failed + state.through):
                moved, last = now, finished
            elif now - moved >= _STILL_SECONDS:
                moved = float("inf")  # said once
                remark(f"nothing has moved for a while; {still}")
            time.sleep(_LOOK_SECONDS)
        report_job(update, state)


def report_ingest(update: Update, state: IngestProgress) -> None:
    """Show how far an ingest is, its rate and the time left."""
    left = "" if state.bytes_total is None else f", {duration(state.seconds_left)} left"
    bad = f", {state.bad:,} bad" if state.bad else ""
    rate = f"{state.documents:,} products{bad}, {state.rate / 2**20:.0f} MiB/s{left}"
    update(state.bytes_done, state.bytes_total, rate)


def training_reporter(update: Update) -> Callable[[TrainingProgress], None]:
    """Shows how far a training is, and says once per member that it is skipped."""
    said: set[str] = set()

    def report(state: TrainingProgress) -> None:
        for member in state.skipped:
            if member not in said:
                said.add(member)
                remark(f"member {member} is complete already: skipped")
        if not state.member:
            return
        words = f"{state.member} {state.stage}"
        if state.stage == "training":
            rate = f"{state.images_per_second:.0f} images/s, {duration(state.seconds_left)} left"
            words += f", epoch {state.epoch}/{state.epochs}, {rate} for this member"
        update(state.done, state.total, words)

    return report
