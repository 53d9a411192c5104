"""Whether a worker lives, is ready and has started, judged by one file that its process writes every few seconds.

Asking a worker over the queue would answer even where it takes no message any more, and cost seconds of a core.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from shared.domain.errors import StoreUnavailableError
from shared.ports import Clock
from shared.settings import WorkerSettings

Judge = Callable[[Mapping[str, Any] | None, float, WorkerSettings], str]
"""The file's content (None: there is none), the seconds since it was written, settings -> what is wrong, or nothing."""


def dead(told: Mapping[str, Any] | None, age: float, settings: WorkerSettings) -> str:
    """For the liveness probe. A queue that is away is nobody's fault here."""
    if told is None:
        return "it has not started yet"
    if age > settings.dead_seconds:
        return f"nothing was written for {age:.0f} s"
    if told["broker_ok"] and told["loop_age"] > settings.dead_seconds:
        return f"its loop has not turned for {told['loop_age']:.0f} s"
    if told["broker_ok"] and told["backlog"] and told["child_age"] > settings.stuck_seconds:
        return f"{told['backlog']} messages wait, and its child has not moved for {told['child_age']:.0f} s"
    return ""


def unready(told: Mapping[str, Any] | None, age: float, settings: WorkerSettings) -> str:
    """For the readiness probe: alive, connected, and its resident ensemble in memory."""
    if told is None or (words := dead(told, age, settings)):
        return words if told is not None else "it has not started yet"
    if not told["broker_ok"]:
        return "the queue does not answer"
    return "" if told["warm"] else f"the ensemble {settings.ensemble} is not in memory yet"


def unstarted(told: Mapping[str, Any] | None, age: float, settings: WorkerSettings) -> str:  # noqa: ARG001
    """For the startup probe: its loop has turned once."""
    return "" if told is not None and told["turns"] else "its loop has not turned yet"


class Liveness:
    """Writes the file; what it says comes from the loop, from the child's events and from asking the queue."""

    def __init__(
        self,
        settings: WorkerSettings,
        backlog: Callable[[], int],
        child_age: Callable[[], float],
        warm: Callable[[], bool],
        *,
        clock: Clock = time.monotonic,
    ) -> None:
        self._settings = settings
        self._backlog = backlog
        self._child_age = child_age
        self._warm = warm
        self._clock = clock
        self._turns, self._turned = 0, clock()

    def turned(self) -> None:
        """The consumer's loop has turned."""
        self._turns += 1
        self._turned = self._clock()

    def start(self) -> None:
        """Write from a thread of its own, if there is a file to write."""
        if self._settings.liveness_file:
            threading.Thread(target=self._run, name="liveness", daemon=True).start()

    def write(self) -> None:
        """Write once; the file is seen whole."""
        try:
            broker_ok, backlog = True, self._backlog()
        except StoreUnavailableError:
            broker_ok, backlog = False, 0
        told = {
            "turns": self._turns,
            "loop_age": self._clock() - self._turned,
            "broker_ok": broker_ok,
            "backlog": backlog,
            "child_age": self._child_age(),
            "warm": self._warm(),
        }
        file = Path(self._settings.liveness_file)
        partial = file.with_name(f".{file.name}.{os.getpid()}")
        partial.write_text(json.dumps(told))
        partial.replace(file)

    def _run(self) -> None:
        while True:
            self.write()
            time.sleep(self._settings.liveness_seconds)
