"""What a run tells while it trains: log.jsonl, the same as a TensorBoard event file, and progress.json.

The log has a line for every epoch (`kind` epoch), one every so many steps (step), and one (stopped) where early
stopping ended the training. All carry `epoch` (from 1) and `step`, the number of steps done.
"""

import json
from collections.abc import Callable
from typing import Any

from shared import layout
from shared.domain.errors import NotFoundError
from shared.domain.records import SCHEMA
from shared.ports import Clock, Objects
from workers.training import tensorboard

PROGRESS_SECONDS = 1.0


class Journal:
    """The log and the progress of one run. Lines are written out by `flush`, with every epoch and checkpoint."""

    def __init__(self, objects: Objects, run: str, started: float, clock: Clock, say: Callable[[str], None]) -> None:
        """`started` (seconds since the epoch) is the same in every attempt."""
        self._objects = objects
        self._log_key = layout.run_file(run, "log.jsonl")
        self._started = started
        self._events_key = layout.run_file(run, f"tensorboard/{tensorboard.file_name(run, started)}")
        self._progress_key = layout.run_file(run, "progress.json")
        self._clock = clock
        self._say = say
        self._lines: list[dict[str, Any]] = []
        self._rendered = 0  # lines that the event file of this attempt holds
        self._reported = -PROGRESS_SECONDS

    def go_on(self, step: int, epochs: int) -> None:
        """Take up the log of earlier attempts, without what they did beyond `step` and after `epochs` whole epochs."""
        try:
            text = self._objects.read(self._log_key).decode()
        except NotFoundError:
            return
        lines = [json.loads(line) for line in text.splitlines()]
        self._lines = [line for line in lines if line["step"] <= step and line["epoch"] <= epochs + _within(line)]

    def log(self, line: dict[str, Any]) -> None:
        """Add a line with at least `step`."""
        self._lines.append({"schema": SCHEMA, **line})

    def say(self, text: str) -> None:
        """A line for people, in the process's own log."""
        self._say(text)

    def flush(self) -> None:
        """Write the log out, and where another epoch has ended, the event file."""
        self._objects.put(self._log_key, "".join(json.dumps(line) + "\n" for line in self._lines).encode())
        if any(not _within(line) for line in self._lines[self._rendered :]):
            self._objects.put(self._events_key, tensorboard.event_file(self._lines, self._started))
            self._rendered = len(self._lines)

    def due(self) -> bool:
        """Whether a progress report is due."""
        return self._clock() - self._reported >= PROGRESS_SECONDS

    def progress(self, report: dict[str, Any]) -> None:
        """Replace progress.json."""
        self._reported = self._clock()
        self._objects.put(self._progress_key, json.dumps({"schema": SCHEMA, **report}).encode())


def _within(line: dict[str, Any]) -> bool:
    """Whether a line tells of an epoch that goes on."""
    return bool(line["kind"] == "step")
