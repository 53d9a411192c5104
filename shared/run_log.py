"""What a run has written about itself: its log, figures, card and progress, as JSON values."""

import json
from dataclasses import dataclass
from typing import Any

from shared import layout
from shared.domain.errors import FailedError, NewerSchemaError, NotFoundError
from shared.domain.records import SCHEMA, Run
from shared.ports import Objects

Line = dict[str, Any]
_LOG = "log.jsonl"


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
    """The log of a run. Raises NewerSchemaError, and FailedError for a damaged file."""
    return RunLog(
        lines_of(text(objects, run), run),
        *(document(objects, run, name) for name in ("metrics.json", "card.json", "progress.json")),
    )


def text(objects: Objects, run: str) -> str:
    """log.jsonl as it stands, empty where it is not there."""
    return _text(objects, run, _LOG)


def document(objects: Objects, run: str, name: str) -> Line:
    """A JSON file of a run, empty where it is not there. Raises as `read`."""
    content = _text(objects, run, name)
    return _parse(run, name, content) if content else {}


def last_line(objects: Objects, run: str) -> Line:
    """The last line of steps or an epoch in a run's log, empty without one: how far it is. Raises as `read`."""
    lines = (_parse(run, _LOG, line) for line in reversed(text(objects, run).splitlines()))
    return next((line for line in lines if line["kind"] != "stopped"), {})


def summary(objects: Objects, run: Run) -> Line:
    """A run in a line: how far it is, and its holdout figure. Raises as `read`."""
    last = last_line(objects, run.id)
    member = run.definition["member"]
    held = document(objects, run.id, "metrics.json").get("holdout", {})
    whole = last and last["kind"] == "epoch"
    return {
        "run": run.id,
        "member": run.member,
        "network": member["model"],
        "dataset": run.dataset,
        "state": run.state,
        "epochs_done": last["epoch"] - (0 if whole else 1) if last else 0,
        "epochs": member["epochs"],
        "holdout": held.get("products", {}).get("all"),
        "images_per_second": last.get("images_per_second"),
        "created": run.created,
    }


def lines_of(text: str, run: str) -> list[Line]:
    """The lines of a log.jsonl. Raises as `read`."""
    return [_parse(run, _LOG, line) for line in text.splitlines()]


def _text(objects: Objects, run: str, name: str) -> str:
    try:
        return objects.read(layout.run_file(run, name)).decode()
    except NotFoundError:
        return ""


def _parse(run: str, name: str, text: str) -> Line:
    try:
        plain: Line = json.loads(text)
    except ValueError as error:
        key = layout.run_file(run, name)
        raise FailedError(f"{key} is damaged ({error}); restore it, or remove it to go on without") from error
    if (schema := plain.get("schema", SCHEMA)) > SCHEMA:
        raise NewerSchemaError(f"run {run} has a file of schema {schema}: this Shelver reads up to {SCHEMA}")
    return plain
