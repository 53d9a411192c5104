"""What a run tells while it trains: log.jsonl, one line per epoch and every so many steps, and progress.json."""

import json
from collections.abc import Callable
from typing import Any

from shared import layout
from shared.domain.errors import NotFoundError
from shared.domain.records import SCHEMA
from shared.ports import Clock, Objects

PROGRESS_SECONDS = 1.0


class Journal:
    """The log and the progress of one run. Lines are written out by `flush`, with every epoch and checkpoint."""

    def __init__(self, objects: Objects, run: str, clock: Clock, say: Callable[[str], None]) -> None:
        self._objects = objects
        self._log_key = layout.run_file(run, "log.jsonl")
        self._progress_key = layout.run_file(run, "progress.json")
        self._clock = clock
        self._say = say
        self._lines: list[dict[str, Any]] = []
        self._reported = -PROGRESS_SECONDS

    def go_on(self, step: int) -> None:
        """Take up the log of earlier attempts, without what they did beyond `step`."""
        try:
            text = self._objects.read(self._log_key).decode()
        except NotFoundError:
            return
        lines = [json.loads(line) for line in text.splitlines()]
        self._lines = [line for line in lines if line["step"] <= step]

    def log(self, line: dict[str, Any]) -> None:
        """Add a line with at least `step`."""
        self._lines.append({"schema": SCHEMA, **line})

    def say(self, text: str) -> None:
        """A line for people, in the process's own log."""
        self._say(text)

    def flush(self) -> None:
        """Write the log out."""
        self._objects.put(self._log_key, "".join(json.dumps(line) + "\n" for line in self._lines).encode())

    def due(self) -> bool:
        """Whether a progress report is due."""
        return self._clock() - self._reported >= PROGRESS_SECONDS

    def progress(self, report: dict[str, Any]) -> None:
        """Replace progress.json."""
        self._reported = self._clock()
        self._objects.put(self._progress_key, json.dumps({"schema": SCHEMA, **report}).encode())
