"""What a run has written about itself: its log, figures, card and progress, as JSON values."""

import json
from dataclasses import dataclass
from typing import Any

from shared import layout
from shared.domain.errors import NewerSchemaError, NotFoundError
from shared.domain.records import SCHEMA
from shared.ports import Objects

Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunLog:
    """Everything that there is of one run so far; empty where nothing is."""

    lines: list[Line]  # of log.jsonl
    metrics: Line
    card: Line
    progress: Line

    @property
    def epochs(self) -> list[Line]:
        """The lines of whole epochs."""
        return [line for line in self.lines if line["kind"] == "epoch"]

    @property
    def stopped(self) -> Line:
        """The line that says that the training ended early; empty where it did not."""
        return next((line for line in self.lines if line["kind"] == "stopped"), {})


def read(objects: Objects, run: str) -> RunLog:
    """The log of a run. Raises NewerSchemaError."""
    lines = [_checked(run, json.loads(line)) for line in _text(objects, run, "log.jsonl").splitlines()]
    return RunLog(lines, *(document(objects, run, name) for name in ("metrics.json", "card.json", "progress.json")))


def document(objects: Objects, run: str, name: str) -> Line:
    """A JSON file of a run, empty where it is not there. Raises NewerSchemaError."""
    text = _text(objects, run, name)
    return _checked(run, json.loads(text)) if text else {}


def last_line(objects: Objects, run: str) -> Line:
    """The last line of a run's log, empty without one: how far it is. Raises NewerSchemaError."""
    lines = _text(objects, run, "log.jsonl").splitlines()
    return _checked(run, json.loads(lines[-1])) if lines else {}


def _text(objects: Objects, run: str, name: str) -> str:
    try:
        return objects.read(layout.run_file(run, name)).decode()
    except NotFoundError:
        return ""


def _checked(run: str, plain: Line) -> Line:
    if (schema := plain.get("schema", SCHEMA)) > SCHEMA:
        raise NewerSchemaError(f"run {run} has a file of schema {schema}: this Shelver reads up to {SCHEMA}")
    return plain
