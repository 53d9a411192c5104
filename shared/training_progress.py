"""How far a training is, from its runs' rows and the progress that the running one reports."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared import layout
from shared.domain.errors import NotFoundError
from shared.domain.records import Run
from shared.ports import Objects


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgress:
    """One look at a training. `done` and `total` count epochs of all its members; the rest is about `member`."""

    states: Mapping[str, str]  # member -> state of its run, parents first
    skipped: tuple[str, ...]  # members that were complete before this training started
    done: float
    total: float
    member: str = ""  # the one that runs; empty where none does
    stage: str = ""  # starting, features, training or holdout
    epoch: int = 0
    epochs: int = 0
    images_per_second: float = 0.0
    seconds_left: float | None = None  # of this member; None while unknown


def progress_of(objects: Objects, rows: Mapping[str, Run], skipped: tuple[str, ...]) -> TrainingProgress:
    """The progress of the runs in `rows` (by member, parents first)."""
    states = {member: run.state for member, run in rows.items()}
    epochs = {member: int(run.definition["member"]["epochs"]) for member, run in rows.items()}
    running = running_member(states)
    return progress_among(states, epochs, _told(objects, rows[running].id) if running else {}, skipped)


def running_member(states: Mapping[str, str]) -> str:
    """The first member whose run is running; empty where none is."""
    return next((member for member, state in states.items() if state == "running"), "")


def progress_among(
    states: Mapping[str, str], epochs: Mapping[str, int], told: Mapping[str, Any], skipped: tuple[str, ...]
) -> TrainingProgress:
    """The progress of members by the states of their runs, their epochs, and what the running one says of itself."""
    running = running_member(states)
    within = epochs[running] * _share(told) if running else 0.0
    return TrainingProgress(
        states=states,
        skipped=skipped,
        done=sum(epochs[member] for member, state in states.items() if state == "complete") + within,
        total=sum(epochs[member] for member in states),
        member=running,
        stage=told.get("stage", "starting") if running else "",
        epoch=told.get("epoch", 0),
        epochs=epochs.get(running, 0),
        images_per_second=told.get("images_per_second", 0.0),
        seconds_left=told.get("seconds_left"),
    )


_AROUND = {"features": 0.0, "holdout": 1.0}
"""Stages before and after the epochs, and the share of these that is done then."""


def _share(told: Mapping[str, Any]) -> float:
    if told.get("stage") in _AROUND:
        return _AROUND[told["stage"]]
    return told["step"] / told["steps"] if told and told["steps"] else 0.0


def _told(objects: Objects, run: str) -> Mapping[str, Any]:
    try:
        told: dict[str, Any] = json.loads(objects.read(layout.run_file(run, "progress.json")))
    except NotFoundError:
        return {}
    return told
