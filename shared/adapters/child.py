"""The embedded queue: one supervised child process that speaks JSON lines over its standard input and output.

To the child: `{"message": {...}}` and `{"question": {...}, "id": n}`. From it: `{"hello": worker id}` once it takes
messages, and `{"id": n, "answer": {...}}` or `{"id": n, "error": text}`. The child gets its worker id as last argument
and ends by itself when its standard input closes, so it never outlives its parent.
"""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from shared.domain.errors import FailedError

_STARTS = 3  # deaths in a row before the child says hello: it cannot start at all
_TAIL_BYTES = 4096


class _Child:
    """One process, its reader thread and the questions it has not answered."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.worker = f"child-{uuid4().hex[:12]}"
        self.said_hello = threading.Event()
        self.asked: dict[int, Future[Mapping[str, Any]]] = {}
        self.lock = threading.Lock()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stderr:
            # a session of its own: Ctrl-C reaches the parent alone, which then stops the child in order
            self.process = subprocess.Popen(
                [*command, self.worker],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=dict(environment),
                start_new_session=True,
            )
        self.reader = threading.Thread(target=self._read, name=f"read {self.worker}", daemon=True)
        self.reader.start()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def write(self, line: Mapping[str, Any]) -> bool:
        stdin = self.process.stdin
        assert stdin is not None
        try:
            with self.lock:
                stdin.write(json.dumps(line).encode() + b"\n")
                stdin.flush()
        except (BrokenPipeError, ValueError):
            return False
        return True

    def _read(self) -> None:
        stdout = self.process.stdout
        assert stdout is not None
        with stdout:
            for line in stdout:
                self._take(json.loads(line))
        self.process.wait()
        for future in list(self.asked.values()):
            if not future.done():
                future.set_exception(FailedError("the scoring worker died before it answered"))

    def _take(self, said: Mapping[str, Any]) -> None:
        if "hello" in said:
            self.said_hello.set()
        elif (future := self.asked.pop(said.get("id", -1), None)) is not None:
            if "error" in said:
                future.set_exception(FailedError(said["error"]))
            else:
                future.set_result(said["answer"])

    def stop(self, grace: float) -> None:
        """SIGTERM, at most `grace` seconds, SIGKILL."""
        if self.alive:
            self.process.terminate()
            try:
                self.process.wait(grace)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self.reader.join()
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):  # the last line never reached it: lost, as with any queue
                self.process.stdin.close()


class ChildQueue:
    """The Queue port over one child process, started when first needed and again after its death."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        back_off: float = 0.2,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`command` gets the worker's id as one more argument; its standard error is appended to `log`.

        A child that died before it said hello is started again after `back_off` seconds, then after twice as long.
        """
        self._command = command
        self._environment = environment
        self._log = log
        self._back_off = back_off
        self._sleep = sleep
        self._child: _Child | None = None
        self._lost: set[str] = set()
        self._false_starts = 0
        self._questions = 0
        self._closed = False
        self._lock = threading.RLock()

    def send(self, message: Mapping[str, Any]) -> None:
        """See the port. Raises FailedError when the child cannot start."""
        self._running().write({"message": message})

    def ask(self, question: Mapping[str, Any], *, timeout: float) -> Mapping[str, Any]:
        """See the port."""
        with self._lock:
            child = self._running()
            self._questions += 1
            number = self._questions
            answer: Future[Mapping[str, Any]] = Future()
            child.asked[number] = answer
        if not child.write({"question": question, "id": number}):
            raise FailedError("the scoring worker died before it answered")
        try:
            return answer.result(timeout)
        except FutureTimeoutError:
            child.asked.pop(number, None)
            raise FailedError(f"the scoring worker did not answer within {timeout:g} s") from None

    def check(self) -> None:
        """See the port. A child is started when it is first needed, so only a closed queue takes nothing."""
        if self._closed:
            raise FailedError("the queue is closed")

    def waiting(self, pool: str) -> int | None:  # noqa: ARG002 - one child has them all
        """None: what the child has not read yet is in its pipe."""
        return None

    def lost_workers(self) -> frozenset[str]:
        """See the port."""
        with self._lock:
            self._bury()
            return frozenset(self._lost)

    def close(self, *, grace: float) -> None:
        """See the port."""
        with self._lock:
            self._closed = True
            if self._child is not None:
                self._child.stop(grace)
                self._lost.add(self._child.worker)
                self._child = None

    def _running(self) -> _Child:
        with self._lock:
            if self._closed:
                raise FailedError("the queue is closed")
            self._bury()
            if self._child is None:
                if self._false_starts >= _STARTS:
                    raise FailedError(f"the scoring worker does not start: {self._last_words()}; see {self._log}")
                if self._false_starts:
                    self._sleep(self._back_off * 2 ** (self._false_starts - 1))
                self._child = _Child(self._command, _inherited() | dict(self._environment), self._log)
            return self._child

    def _bury(self) -> None:
        child = self._child
        if child is not None and not child.alive:
            child.stop(0)
            self._lost.add(child.worker)
            self._false_starts = 0 if child.said_hello.is_set() else self._false_starts + 1
            self._child = None

    def _last_words(self) -> str:
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SHELVER_")}
