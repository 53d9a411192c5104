"""Probe rules, as words about one file."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shared.domain.errors import StoreUnavailableError
from shared.settings import WorkerSettings
from tests.scoring_stub import VirtualClock
from workers.scoring.liveness import Liveness, dead, unready, unstarted

SETTINGS = WorkerSettings(ensemble="big", dead_seconds=60, stuck_seconds=300)
WELL = {"turns": 3, "loop_age": 5.0, "broker_ok": True, "backlog": 4, "child_age": 20.0, "warm": True}


def told(**changes: Any) -> dict[str, Any]:
    return WELL | changes


@pytest.mark.parametrize(
    ("content", "age", "words"),
    [
        (told(), 5, ""),
        (None, 0, "it has not started yet"),
        (told(), 61, "nothing was written for 61 s"),
        (told(loop_age=61.0), 5, "its loop has not turned for 61 s"),
        (told(loop_age=61.0, broker_ok=False), 5, ""),  # an outage never kills
        (told(child_age=301.0), 5, "4 messages wait, and its child has not moved for 301 s"),
        (told(child_age=301.0, backlog=0), 5, ""),  # it has nothing to do
        (told(child_age=301.0, broker_ok=False), 5, ""),
    ],
)
def test_who_is_dead(content: dict[str, Any] | None, age: float, words: str) -> None:
    assert dead(content, age, SETTINGS) == words


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (told(), ""),
        (None, "it has not started yet"),
        (told(loop_age=61.0), "its loop has not turned for 61 s"),
        (told(broker_ok=False), "the queue does not answer"),
        (told(warm=False), "the ensemble big is not in memory yet"),
    ],
)
def test_who_is_ready(content: dict[str, Any] | None, words: str) -> None:
    assert unready(content, 5, SETTINGS) == words


def test_who_has_started() -> None:
    assert unstarted(None, 0, SETTINGS) == unstarted(told(turns=0), 0, SETTINGS) == "its loop has not turned yet"
    assert unstarted(told(), 0, SETTINGS) == ""


def test_what_is_written(tmp_path: Path) -> None:
    clock, away = VirtualClock(), False

    def backlog() -> int:
        if away:
            raise StoreUnavailableError("away")
        return 7

    file = tmp_path / "liveness.json"
    liveness = Liveness(
        WorkerSettings(liveness_file=str(file)), backlog, child_age=lambda: 2.0, warm=lambda: False, clock=clock
    )
    liveness.write()
    before = json.loads(file.read_text())
    liveness.turned()
    clock.sleep(9.0)
    away = True
    liveness.write()

    assert before == {
        "turns": 0,
        "loop_age": 0.0,
        "broker_ok": True,
        "backlog": 7,
        "child_age": 2.0,
        "warm": False,
    }
    assert json.loads(file.read_text()) == before | {"turns": 1, "loop_age": 9.0, "broker_ok": False, "backlog": 0}
    assert [path.name for path in tmp_path.iterdir()] == ["liveness.json"]


@pytest.mark.parametrize(
    ("content", "kind", "code"), [(told(), "live", 0), (told(warm=False), "ready", 1), (None, "started", 1)]
)
def test_the_probe_is_an_exit_code_and_a_line(tmp_path: Path, content: Any, kind: str, code: int) -> None:
    file = tmp_path / "liveness.json"
    if content is not None:
        file.write_text(json.dumps(content))
    environment = os.environ | {"SHELVER_WORKER_LIVENESS_FILE": str(file)}
    command = [sys.executable, "-m", "workers.scoring.probe", kind]

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (code, code, "")
