"""A job followed to its end, whoever drives it."""

import time
from collections.abc import Callable

from services.cli.show import Update, duration, progress, remark
from shared.domain import states
from shared.job_progress import Progress

_LOOK_SECONDS = 1.0
_STILL_SECONDS = 30.0  # a chunk may take this long on a slow machine


def report(update: Update, state: Progress) -> None:
    """Show how far a job is, its rate and the time left."""
    finished = f"{state.done + state.failed:,}/{state.products:,} products"
    words = f"{finished}, {state.rate:.0f}/s, {duration(state.seconds_left)} left"
    copied = f", {state.copied:,} copied" if state.copied else ""
    failed = f", {state.failed:,} failed" if state.failed else ""
    update(
        state.done + state.failed,
        state.products,
        f"{words}{copied}{failed}{', ' + state.message if state.message else ''}",
    )


def follow(title: str, look: Callable[[], Progress], still: str) -> None:
    """Show the progress of a job until it has ended; `still` is said once where nothing moves for a while."""
    moved, last = time.monotonic(), (-1, -1)
    with progress(title) as update:
        while (state := look()).state in states.UNFINISHED:
            report(update, state)
            now = time.monotonic()
            if last != (state.done, state.failed):
                moved, last = now, (state.done, state.failed)
            elif now - moved >= _STILL_SECONDS:
                moved = float("inf")  # said once
                remark(f"nothing has moved for a while; {still}")
            time.sleep(_LOOK_SECONDS)
        report(update, state)
