"""The Queue port: one suite over every adapter, with a worker that only echoes."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.adapters.child import ChildQueue
from shared.domain.errors import FailedError
from shared.ports import Queue

ECHO = """
import fcntl, json, os, signal, sys
worker = sys.argv[1]
lock = open(os.environ["SEEN"] + "." + worker, "w")
fcntl.flock(lock, fcntl.LOCK_EX)
def say(line): print(json.dumps(line), flush=True)
if os.environ["ECHO"] == "broken":
    sys.exit("ImportError: no module named torch")
if os.environ["ECHO"] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
say({"hello": worker})
for text in sys.stdin:
    line = json.loads(text)
    with open(os.environ["SEEN"], "a") as seen:
        seen.write(json.dumps({"worker": worker} | line) + "\\n")
    question = line.get("question", {})
    if "die" in question or line.get("message", {}).get("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    elif "fail" in question:
        say({"id": line["id"], "error": question["fail"]})
    elif "question" in line and "silence" not in question:
        say({"id": line["id"], "answer": {"echo": question, "worker": worker}})
"""


class Seen:
    """What workers wrote down of all that reached them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def messages(self) -> list[object]:
        return [line["message"] for line in self.lines() if "message" in line]

    def all_ended(self) -> bool:
        """Whether every worker that got anything has ended: each holds a lock for as long as it lives."""
        return all(_free(Path(f"{self.path}.{line['worker']}")) for line in self.lines())


def _free(path: Path) -> bool:
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited 30 s in vain"
        time.sleep(0.01)


@pytest.fixture
def seen(tmp_path: Path) -> Seen:
    return Seen(tmp_path / "seen")


@pytest.fixture(params=["child"])
def make(request: pytest.FixtureRequest, tmp_path: Path, seen: Seen) -> Iterator[Callable[[str], Queue]]:
    made: list[Queue] = []

    def make_one(kind: str = "echo") -> Queue:
        environment = {"ECHO": kind, "SEEN": str(seen.path)}
        command = [sys.executable, "-c", ECHO]
        made.append(ChildQueue(command, environment=environment, log=tmp_path / "log" / "worker.log", back_off=0.01))
        return made[-1]

    yield make_one
    for queue in made:
        queue.close(grace=0)


def test_messages_arrive_in_order(make: Callable[..., Queue], seen: Seen) -> None:
    queue = make()
    for number in range(50):
        queue.send({"schema": 1, "chunks": [number]})
    until(lambda: len(seen.messages()) == 50)
    assert seen.messages() == [{"schema": 1, "chunks": [number]} for number in range(50)]


def test_a_question_is_answered(make: Callable[..., Queue]) -> None:
    queue = make()
    assert queue.ask({"images": ["ä"]}, timeout=30)["echo"] == {"images": ["ä"]}
    assert queue.lost_workers() == frozenset()


def test_a_question_that_fails_says_why(make: Callable[..., Queue]) -> None:
    with pytest.raises(FailedError, match="no such ensemble"):
        make().ask({"fail": "no such ensemble"}, timeout=30)


def test_a_question_has_a_deadline(make: Callable[..., Queue]) -> None:
    queue = make()
    with pytest.raises(FailedError, match=r"within 0\.05 s"):
        queue.ask({"silence": True}, timeout=0.05)
    assert queue.ask({"again": 1}, timeout=30)["echo"] == {"again": 1}


def test_a_worker_that_dies_is_known_and_replaced(make: Callable[..., Queue], seen: Seen) -> None:
    queue = make()
    first = queue.ask({}, timeout=30)["worker"]
    with pytest.raises(FailedError, match="died"):
        queue.ask({"die": True}, timeout=30)
    until(lambda: queue.lost_workers() == {first})
    assert queue.ask({}, timeout=30)["worker"] != first
    assert queue.lost_workers() == {first}


def test_sending_to_a_dead_worker_is_no_error(make: Callable[..., Queue], seen: Seen) -> None:
    queue = make()
    for _ in range(5):
        queue.send({"die": True})
        queue.send({"lost": "perhaps"})
    until(lambda: len(queue.lost_workers()) >= 1)
    queue.send({"last": True})
    until(lambda: {"last": True} in seen.messages())


def test_a_worker_that_cannot_start_is_reported(make: Callable[..., Queue]) -> None:
    queue = make("broken")
    with pytest.raises(FailedError, match=r"does not start: ImportError: no module named torch; see .*worker\.log"):
        until(lambda: queue.send({}) is not None)
    assert len(queue.lost_workers()) == 3


def test_closing_ends_even_a_stubborn_worker(make: Callable[..., Queue], seen: Seen) -> None:
    for kind in ("echo", "stubborn"):
        queue = make(kind)
        queue.ask({}, timeout=30)
        assert not seen.all_ended()
        queue.close(grace=0.1)
        assert seen.all_ended()
        with pytest.raises(FailedError, match="closed"):
            queue.send({})
        queue.close(grace=0.1)


def test_a_worker_ends_when_its_parent_is_killed(tmp_path: Path, seen: Seen) -> None:
    parent = f"""
import sys, time
from pathlib import Path
from shared.adapters.child import ChildQueue
environment = {{"ECHO": "echo", "SEEN": {str(seen.path)!r}}}
queue = ChildQueue([sys.executable, "-c", {ECHO!r}], environment=environment, log=Path({str(tmp_path / "log")!r}))
queue.ask({{}}, timeout=30)
print("ready", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        os.kill(process.pid, signal.SIGKILL)
    assert seen.lines()
    until(seen.all_ended)
