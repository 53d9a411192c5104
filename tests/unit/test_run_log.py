import json
from pathlib import Path
from typing import Any

import pytest

from services.cli.curves import WIDTH, curves
from shared import layout, run_log
from shared.adapters.directory import DirectoryObjects
from shared.domain.errors import FailedError, NewerSchemaError


@pytest.fixture
def objects(tmp_path: Path) -> DirectoryObjects:
    return DirectoryObjects(tmp_path)


def step(number: int) -> dict[str, Any]:
    return {"kind": "step", "epoch": 1, "step": number, "loss": 2.0 - number / 50, "accuracy": number / 60}


def epoch(number: int, *, watched: bool = True) -> dict[str, Any]:
    watch = {"images": 5, "products": 4, "loss": 2.4 / number, "image_top1": 0.9 - 0.8 / number}
    line = {"kind": "epoch", "epoch": number, "step": 12 * number, "loss": 2.2 / number, "accuracy": 1 - 1 / number}
    return line | {"watch": watch if watched else None}


def put(objects: DirectoryObjects, lines: list[dict[str, Any]]) -> None:
    objects.put(layout.run_file("r", "log.jsonl"), "".join(json.dumps(line) + "\n" for line in lines).encode())


def test_a_run_without_files_is_empty(objects: DirectoryObjects) -> None:
    log = run_log.read(objects, "r")
    assert (log.lines, log.metrics, log.card, log.progress, log.epochs, log.stopped) == ([], {}, {}, {}, [], {})
    assert run_log.last_line(objects, "r") == {}


def test_everything_that_is_there_is_read(objects: DirectoryObjects) -> None:
    stopped = {"kind": "stopped", "epoch": 2, "step": 24, "best_epoch": 1}
    lines = [step(5), epoch(1), epoch(2), stopped]
    put(objects, lines)
    for name in ("metrics", "card", "progress"):
        objects.put(layout.run_file("r", f"{name}.json"), json.dumps({"name": name}).encode())
    log = run_log.read(objects, "r")
    assert log.lines == lines
    assert (log.epochs, log.stopped) == (lines[1:3], stopped)
    assert [found["name"] for found in (log.metrics, log.card, log.progress)] == ["metrics", "card", "progress"]
    assert run_log.last_line(objects, "r") == lines[2]


def test_a_file_of_a_newer_schema_is_refused(objects: DirectoryObjects) -> None:
    put(objects, [{"schema": 2, "kind": "epoch"}])
    for read in (run_log.read, run_log.last_line):
        with pytest.raises(NewerSchemaError, match="run r has a file of schema 2"):
            read(objects, "r")


def test_a_damaged_file_is_named(objects: DirectoryObjects) -> None:
    objects.put(layout.run_file("r", "log.jsonl"), b'{"kind": "ep')
    for read in (run_log.read, run_log.last_line):
        with pytest.raises(FailedError, match=r"^runs/r/log.jsonl is damaged"):
            read(objects, "r")


LOGS = {
    "steps": [step(5), step(10)],
    "one epoch": [epoch(1)],
    "one epoch and steps": [step(5), epoch(1)],
    "many": [step(5), *(epoch(number) for number in range(1, 40))],
    "unwatched": [epoch(number, watched=False) for number in range(1, 4)],
    "flat": [epoch(3), epoch(3) | {"epoch": 4}],
}


@pytest.mark.parametrize("lines", LOGS.values(), ids=LOGS.keys())
def test_curves_fit_a_terminal_and_are_plain_where_they_shall(lines: list[dict[str, Any]]) -> None:
    over = "epoch" if sum(line["kind"] == "epoch" for line in lines) > 1 else "step"
    plots = curves(lines, colours=False)
    assert [plot.split(":")[0].strip() for plot in plots] == [f"loss per {over}", f"accuracy per {over}"]
    for plot in plots:
        assert max(map(len, plot.splitlines())) <= WIDTH <= 80
        assert "\x1b" not in plot
        watched = bool(lines[-1].get("watch"))
        assert ("watch images (o)" in plot) == ("o" in plot.split("┌")[1]) == watched
    coloured = curves(lines, colours=True)
    assert all("\x1b[" in plot for plot in coloured)


def test_a_curve_goes_where_its_values_go() -> None:
    falling, rising = curves([epoch(number, watched=False) for number in range(1, 9)], colours=False)

    def heights(plot: str) -> tuple[int, int]:
        """Rows from the top of what is drawn in the first and in the last column."""
        rows = [line.split("┤", 1)[-1] if "┤" in line else line.split("│", 1)[1] for line in plot.splitlines()[2:-2]]
        drawn = [[place for place, row in enumerate(rows) if row[column] not in " │"] for column in (0, -2)]
        return drawn[0][0], drawn[1][0]

    assert heights(falling) == (0, 8)
    assert heights(rising) == (8, 0)
    assert falling.splitlines()[0].strip() == "loss per epoch: training images (line)"
    assert falling.splitlines()[-1].split() == ["1", "2", "4", "5", "7", "8"]


def test_without_lines_there_is_no_curve() -> None:
    assert curves([], colours=True) == []
    assert curves([{"kind": "stopped", "epoch": 1, "step": 3}], colours=True) == []
