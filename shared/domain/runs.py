"""The state machines of runs and trainings: pure functions from an old row to a new one, each a compare-and-set.

run:       waiting (for its parent) -> pending -> running -> complete | failed | cancelled; preempted: back to pending
training:  running -> complete | failed | cancelled
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from shared.domain.errors import ConflictError
from shared.domain.records import Record, Run, Training

_Row = TypeVar("_Row", Run, Training)
OPEN = ("waiting", "pending", "running")
_REMOVED = "removed"
MAX_PREEMPTIONS = 8
"""Attempts in a row that leave no checkpoint before a run fails: something ends it for a reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestCheckpoints(Record):
    """checkpoint/latest.json of a run: its valid checkpoints as (attempt, step), newest first."""

    checkpoints: tuple[tuple[int, int], ...] = ()

    @property
    def attempt(self) -> int:
        """The attempt that wrote the newest one; 0 without any."""
        return self.checkpoints[0][0] if self.checkpoints else 0


def process_name(run: Run) -> str:
    """The launcher's name of the run's current attempt."""
    return f"train-{run.id}-{run.attempt}"


def release(run: Run) -> Run:
    """The parent is complete."""
    return _next(run, ("waiting",), "releasing", state="pending")


def launch(run: Run) -> Run:
    """The next attempt starts."""
    return _next(run, ("pending",), "launching", state="running", attempt=run.attempt + 1, reason="")


def remark(run: Run, reason: str) -> Run:
    """Why its process does not run yet; empty once it does."""
    return _next(run, ("running",), "remarking", reason=reason)


def complete(run: Run) -> Run:
    """Its manifest is there."""
    return _next(run, (*OPEN, "failed", "cancelled"), "completing", state="complete", reason="", bad_input=False)


def preempt(run: Run, reason: str, checkpoints: LatestCheckpoints) -> Run:
    """Its process ended through no fault of its own; after too many attempts without a checkpoint the run fails."""
    fruitless = run.attempt - checkpoints.attempt
    if fruitless >= MAX_PREEMPTIONS:
        return fail(run, f"ended from outside {fruitless} times in a row before its next checkpoint; out of memory?")
    return _next(run, ("running",), "preempting", state="pending", reason=reason)


def fail(run: Run, reason: str, *, bad_input: bool = False) -> Run:
    """It cannot go on without a person."""
    return _next(run, OPEN, "failing", state="failed", reason=reason, bad_input=bad_input)


def cancel(run: Run) -> Run:
    """Nobody wants it any more."""
    return _next(run, OPEN, "cancelling", state="cancelled")


def retry(run: Run) -> Run:
    """A person wants it again."""
    state = "waiting" if run.parent else "pending"
    return _next(run, ("failed", "cancelled"), "retrying", state=state, reason="", bad_input=False)


def discard(run: Run) -> Run:
    """It is being removed, so its objects may be missing: asked for again before the row is gone, it is a retry."""
    return _next(run, (*OPEN, "complete", "failed", "cancelled"), "discarding", state="cancelled", reason=_REMOVED)


def discarded(run: Run) -> bool:
    """Whether its removal began: what is left of it can only be removed or trained anew."""
    return run.state == "cancelled" and run.reason == _REMOVED


def complete_training(training: Training, version: str) -> Training:
    """All its runs are complete; `version` is empty where it asked for some members only."""
    return _next(training, ("running",), "completing", state="complete", version=version)


def fail_training(training: Training, reason: str, *, bad_input: bool = False) -> Training:
    """One of its runs failed."""
    return _next(training, ("running",), "failing", state="failed", reason=reason, bad_input=bad_input)


def cancel_training(training: Training) -> Training:
    """Nobody wants it any more; its runs are cancelled one by one."""
    return _next(training, ("running",), "cancelling", state="cancelled")


def resume_training(training: Training) -> Training:
    """A person asked for it again: what is complete stays so."""
    ended = ("complete", "failed", "cancelled")
    return _next(training, ended, "resuming", state="running", reason="", bad_input=False)


def failure(runs: Mapping[str, Run]) -> Run | None:
    """The first failed or cancelled run that did not fail for its parent's sake."""
    ended = [run for run in runs.values() if run.state in ("failed", "cancelled")]
    own = [run for run in ended if not any(other.id == run.parent for other in ended)]
    return own[0] if own else None


def _next(row: _Row, allowed: tuple[str, ...], step: str, **changes: Any) -> _Row:
    if row.state not in allowed:
        what = type(row).__name__.lower()
        raise ConflictError(f"{what} {row.id} is {row.state}: {step} is possible only when {' or '.join(allowed)}")
    return replace(row, generation=row.generation + 1, **changes)
