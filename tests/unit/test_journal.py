import json
from pathlib import Path
from typing import Any

from shared.adapters.directory import DirectoryObjects
from workers.training import tensorboard
from workers.training.journal import Journal

STARTED = 1.7e9


def line(kind: str, epoch: int, step: int) -> dict[str, Any]:
    return {"kind": kind, "epoch": epoch, "step": step, "loss": 1.0 / step, "seconds": float(step)}


LINES = [
    line("step", 1, 50),
    line("epoch", 1, 80),
    line("step", 2, 100),
    line("step", 2, 150),
    line("epoch", 2, 160),
    {"kind": "stopped", "epoch": 2, "step": 160, "best_epoch": 1, "seconds": 160.0},
]


def journal(root: Path) -> Journal:
    return Journal(DirectoryObjects(root), "r", STARTED, lambda: 0.0, lambda _: None)


def written(root: Path) -> list[tuple[str, int]]:
    lines = [json.loads(text) for text in DirectoryObjects(root).read("runs/r/log.jsonl").splitlines()]
    assert all(one["schema"] == 1 for one in lines)
    return [(one["kind"], one["step"]) for one in lines]


def gone_on(root: Path, step: int, epochs: int) -> list[tuple[str, int]]:
    first = journal(root)
    for one in LINES:
        first.log(one)
    first.flush()
    later = journal(root)
    later.go_on(step, epochs)
    later.flush()
    return written(root)


def test_an_epoch_that_a_checkpoint_has_not_finished_is_told_again(tmp_path: Path) -> None:
    kept = [(one["kind"], one["step"]) for one in LINES]
    assert gone_on(tmp_path, 160, 2) == kept
    assert gone_on(tmp_path, 160, 1) == kept[:4]  # its steps are done, but it was not watched yet
    assert gone_on(tmp_path, 120, 1) == kept[:3]
    assert gone_on(tmp_path, 80, 0) == kept[:1]
    assert gone_on(tmp_path, 0, 0) == []


def test_the_event_file_follows_with_every_epoch(tmp_path: Path) -> None:
    objects, now = DirectoryObjects(tmp_path), journal(tmp_path)
    key = f"runs/r/tensorboard/{tensorboard.file_name('r', STARTED)}"
    now.log(LINES[0])
    now.flush()
    assert not objects.exists(key)
    now.log(LINES[1])
    now.flush()
    first = objects.read(key)
    now.log(LINES[2])
    now.flush()
    assert objects.read(key) == first
    for one in LINES[3:]:
        now.log(one)
    now.flush()
    lines = [json.loads(text) for text in objects.read("runs/r/log.jsonl").splitlines()]
    assert objects.read(key) == tensorboard.event_file(lines, STARTED)
    assert objects.read(key).startswith(first)
    objects.delete(key)
    later = journal(tmp_path)  # killed between the log and the event file
    later.go_on(160, 2)
    later.flush()
    assert objects.read(key) == tensorboard.event_file(lines, STARTED)
