"""Processes that write packs for one that decides which. They end with it, however it ends."""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, Self

from services.ingest.pack_writer import PackAccount
from services.ingest.progress import Meter
from shared.domain.errors import FailedError, StoreUnavailableError

_GRACE_SECONDS = 2.0  # for a process to remove the file it writes, once it is told to end


class Processes:
    """`count` processes of `services.ingest.worker`, spoken to over socket pairs."""

    def __init__(self, setup: Any, count: int, meter: Meter) -> None:
        """`setup` is the first message to each of them."""
        self._meter = meter
        self._tasks: deque[tuple[int, int | None]] = deque()
        self._guessed: set[int] = set()
        self._done: dict[int, PackAccount | None] = {}
        self._busy: dict[Connection, int] = {}
        self._processes: dict[Connection, subprocess.Popen[bytes]] = {}
        try:
            for _ in range(count):
                self._start(setup)
        except BaseException:
            self.close()
            raise
        self._idle = list(self._processes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def guess(self, numbers: Iterable[int]) -> None:
        """Begin to write these packs, before it is known where the first document of each lies."""
        for number in numbers:
            self._tasks.append((number, None if number else 0))
            self._guessed.add(number)

    def write(self, number: int, start: int) -> PackAccount:
        """The account of pack `number` that begins at `start`: the guessed one where the guess was right."""
        if number in self._guessed:
            account = self._result(number)
            if account is not None and account.start == start:
                return account
        self._tasks.appendleft((number, start))
        account = self._result(number)
        assert account is not None  # a start was given
        return account

    def close(self) -> None:
        """End all processes at once; what they have not finished is not stored."""
        for connection, process in self._processes.items():
            if connection in self._busy:
                process.terminate()
            else:
                process.kill()  # it holds nothing that it could leave behind
        for connection, process in self._processes.items():
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_SECONDS)
            process.kill()
            process.wait()
            connection.close()
        self._processes.clear()

    def _start(self, setup: Any) -> None:
        ours, theirs = Pipe()
        # a group of its own: Ctrl-C reaches the parent alone, and a parent that is killed shows as a closed socket
        process = subprocess.Popen(
            [sys.executable, "-m", "services.ingest.worker", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # else NumPy starts one per core, which nothing here uses
            pass_fds=[theirs.fileno()],
            process_group=0,
        )
        theirs.close()
        self._processes[ours] = process
        ours.send(setup)

    def _result(self, number: int) -> PackAccount | None:
        while number not in self._done:
            while self._idle and self._tasks:
                connection = self._idle.pop()
                self._busy[connection] = self._tasks[0][0]
                connection.send(self._tasks.popleft())
            for ready in wait(list(self._busy)):
                assert isinstance(ready, Connection)
                self._receive(ready)
        return self._done.pop(number)

    def _receive(self, connection: Connection) -> None:
        try:
            kind, *values = connection.recv()
        except (EOFError, ConnectionError):
            code = self._processes[connection].wait(_GRACE_SECONDS)
            raise FailedError(
                f"a process ended with code {code} while it wrote pack {self._busy[connection]}; "
                "the same command goes on where this one stopped"
            ) from None
        if kind == "advance":
            self._meter.advance(*values)
        elif kind == "account":
            self._done[self._busy.pop(connection)] = values[0]
            self._idle.append(connection)
        else:
            raise (StoreUnavailableError if kind == "store" else FailedError)(*values)
