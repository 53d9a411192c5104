"""The Queue port: one suite over every adapter, with a worker that only echoes."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from shared.adapters.celery_queue import CeleryQueue
from shared.adapters.child import ChildQueue
from shared.domain.errors import FailedError, StoreUnavailableError
from shared.ports import Queue
from tests.servers.process import Process
from tests.servers.server import Server

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


Make = Callable[..., Queue]


@pytest.fixture
def make_child(tmp_path: Path, seen: Seen) -> Iterator[Make]:
    made: list[Queue] = []

    def make_one(kind: str = "echo") -> Queue:
        environment = {"ECHO": kind, "SEEN": str(seen.path)}
        command = [sys.executable, "-c", ECHO]
        made.append(ChildQueue(command, environment=environment, log=tmp_path / "log" / "worker.log", back_off=0.01))
        return made[-1]

    yield make_one
    for queue in made:
        queue.close(grace=0)


@pytest.fixture
def make_celery(redis_url: str, seen: Seen, tmp_path: Path) -> Iterator[Make]:
    with echoing(redis_url, seen, tmp_path):
        queue = CeleryQueue(redis_url)
        yield lambda: queue
        queue.close(grace=0)


@contextmanager
def echoing(url: str, seen: Seen, folder: Path, pool: str = "default") -> Iterator[Process]:
    """A Celery worker that echoes."""
    ready = Path(f"{seen.path}.{pool}.ready")
    command = [sys.executable, "-m", "tests.echo_worker", url, pool, str(seen.path)]
    worker = Process("worker", command, folder / f"{pool}.log", ready=ready.exists)
    worker.start()
    try:
        yield worker
    finally:
        worker.kill()


@pytest.fixture(params=["child", "celery"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes the queue; for Celery a worker of Debian's Redis runs beside it."""
    found: Make = request.getfixturevalue(f"make_{request.param}")
    return found


def test_messages_arrive_in_order(make: Make, seen: Seen) -> None:
    queue = make()
    for number in range(50):
        queue.send({"schema": 1, "chunks": [number]})
    until(lambda: len(seen.messages()) == 50)
    assert seen.messages() == [{"schema": 1, "chunks": [number]} for number in range(50)]
    assert queue.waiting("default") in (0, None)


def test_a_question_is_answered(make: Make) -> None:
    queue = make()
    assert queue.ask({"images": ["ä"]}, timeout=30)["echo"] == {"images": ["ä"]}
    assert queue.lost_workers() == frozenset()


def test_a_question_that_fails_says_why(make: Make) -> None:
    with pytest.raises(FailedError, match="no such ensemble"):
        make().ask({"fail": "no such ensemble"}, timeout=30)


def test_a_question_that_kills_its_worker_is_not_waited_for(make: Make) -> None:
    queue = make()
    with pytest.raises(FailedError, match="the scoring worker died before it answered"):
        queue.ask({"die": True}, timeout=300)
    assert queue.ask({"name": "x"}, timeout=30)["echo"] == {"name": "x"}


def test_a_question_has_a_deadline(make: Make) -> None:
    queue = make()
    with pytest.raises(FailedError, match=r"within 0\.05 s"):
        queue.ask({"silence": True, "seconds": 1}, timeout=0.05)
    assert queue.ask({"again": 1}, timeout=30)["echo"] == {"again": 1}


def test_a_worker_that_dies_is_known_and_replaced(make_child: Make, seen: Seen) -> None:
    queue = make_child()
    first = queue.ask({}, timeout=30)["worker"]
    with pytest.raises(FailedError, match="died"):
        queue.ask({"die": True}, timeout=30)
    until(lambda: queue.lost_workers() == {first})
    assert queue.ask({}, timeout=30)["worker"] != first
    assert queue.lost_workers() == {first}


def test_sending_to_a_dead_worker_is_no_error(make: Make, seen: Seen) -> None:
    queue = make()
    for _ in range(5):
        queue.send({"die": True})
        queue.send({"lost": "perhaps"})

    def arrives() -> bool:
        queue.send({"last": True})  # what reached a dying worker is lost
        return {"last": True} in seen.messages()

    until(arrives)


def test_a_worker_that_cannot_start_is_reported(make_child: Make) -> None:
    queue = make_child("broken")
    with pytest.raises(FailedError, match=r"does not start: ImportError: no module named torch; see .*worker\.log"):
        until(lambda: queue.send({}) is not None)
    assert len(queue.lost_workers()) == 3


def test_closing_ends_even_a_stubborn_worker(make_child: Make, seen: Seen) -> None:
    for kind in ("echo", "stubborn"):
        queue = make_child(kind)
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
from shared.adapters.celery_queue import CeleryQueue
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


# --- Celery on Redis ------------------------------------------------------------------------------------------------


def test_a_message_goes_to_its_pool(redis_url: str, seen: Seen, tmp_path: Path) -> None:
    with echoing(redis_url, seen, tmp_path, "other"):
        queue = CeleryQueue(redis_url)
        queue.send({"number": 1})
        queue.send({"number": 2, "pool": "other"})
        assert queue.ask({"pool": "other"}, timeout=30)["echo"] == {"pool": "other"}
        assert seen.messages() == [{"number": 2, "pool": "other"}]
        assert (queue.waiting("default"), queue.waiting("other")) == (1, 0)
        with pytest.raises(FailedError, match=r"no worker of pool 'default' answered within 0\.1 s"):
            queue.ask({}, timeout=0.1)
        queue.close(grace=0)
        with pytest.raises(FailedError, match="closed"):
            queue.send({})


def test_questions_of_many_threads_get_their_own_answers(make_celery: Make) -> None:
    queue = make_celery()
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: queue.ask({"number": number}, timeout=30), range(40)))
    assert [answer["echo"] for answer in answers] == [{"number": number} for number in range(40)]


def test_a_message_that_kills_its_worker_comes_once(make_celery: Make, seen: Seen) -> None:
    queue = make_celery()
    queue.send({"die": True})
    for number in range(3):
        queue.send({"number": number})
    until(lambda: {"number": 2} in seen.messages())
    assert seen.messages() == [{"die": True}, *({"number": number} for number in range(3))]


@pytest.mark.parametrize("outage", ["restart", "kill", "flush"])
def test_after_an_outage_messages_are_taken_again(own_redis: Server, seen: Seen, tmp_path: Path, outage: str) -> None:
    """Also when one is at work meanwhile, whose acknowledgement then fails."""
    url = f"{own_redis.url}/0"
    with echoing(url, seen, tmp_path):
        queue = CeleryQueue(url)
        queue.send({"seconds": 1.0})
        until(lambda: len(seen.messages()) == 1)
        if outage == "flush":
            with redis.Redis.from_url(url) as client:
                client.flushall()
        else:
            own_redis.stop() if outage == "restart" else own_redis.kill()
            for method in (
                queue.check,
                lambda: queue.waiting("default"),
                lambda: queue.send({"lost": 1}),
                lambda: queue.ask({}, timeout=1.0),
            ):
                with pytest.raises(StoreUnavailableError):
                    method()
            own_redis.start()
        queue.check()
        for number in range(20):
            queue.send({"number": number})
        until(lambda: {"number": 19} in seen.messages())
        assert queue.ask({"again": 1}, timeout=30)["echo"] == {"again": 1}
        queue.close(grace=0)
