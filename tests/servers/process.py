"""A process that a test starts, kills, freezes and starts again; it ends with the test's process, however that ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

START_SECONDS = 60.0
STOP_SECONDS = 20.0
_LOG_LINES = 30
_GUARD = Path(__file__).with_name("guard.py")


class ProcessError(Exception):
    """What is wrong with a process, in one line, and the end of its log."""


class Process:
    """A command with its log; not started yet."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`ready` is asked until it says so; `environment` is added to that of this process."""
        self.name = name
        self._command = list(command)
        self._log = log
        self._ready = ready
        self._environment = os.environ | (environment or {})
        self._guard: subprocess.Popen[bytes] | None = None
        self._pid = 0

    def start(self) -> None:
        """Start, and wait until it is ready. Raises ProcessError."""
        assert not self.running(), f"{self.name} runs already"
        self._reap()
        with self._log.open("ab") as log:
            self._guard = subprocess.Popen(
                [sys.executable, "-S", "-E", str(_GUARD), *self._command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                process_group=0,
            )
        assert self._guard.stdout is not None
        self._pid = int(self._guard.stdout.readline())
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if not self.running():
                raise ProcessError(f"{self.name} ended with {self._reap()} while it started{self.log()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ProcessError(f"{self.name} is not ready after {START_SECONDS:.0f} s{self.log()}")
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        """Of the command itself."""
        return self._pid

    def running(self) -> bool:
        """Whether it has not ended, frozen or not."""
        return self._guard is not None and self._guard.poll() is None

    def stop(self) -> int:
        """SIGTERM, and wait; its exit code, 0 if it was not running. Raises ProcessError after `STOP_SECONDS`."""
        if self.running():
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)
        self.thaw()
        try:
            return self._reap()
        except subprocess.TimeoutExpired:
            self.kill()
            raise ProcessError(f"{self.name} has not stopped after {STOP_SECONDS:.0f} s{self.log()}") from None

    def kill(self) -> None:
        """SIGKILL to it and to what it started, as when a machine dies; not running is fine."""
        self._signal(signal.SIGKILL)
        self._reap()

    def freeze(self) -> None:
        """SIGSTOP to it and to what it started."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT to it and to what it started."""
        self._signal(signal.SIGCONT)

    def log(self) -> str:
        """The end of what it said, each line on one of its own."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return "".join(f"\n    {line}" for line in lines[-_LOG_LINES:])

    def _signal(self, number: int) -> None:
        if self.running():
            with suppress(ProcessLookupError):
                os.killpg(self._pid, number)

    def _reap(self) -> int:
        if self._guard is None:
            return 0
        code = self._guard.wait(STOP_SECONDS)
        for pipe in (self._guard.stdin, self._guard.stdout):
            assert pipe is not None
            pipe.close()
        self._guard = None
        return code


def healthy(url: str) -> bool:
    """Whether the service of this address answers its probe."""
    try:
        with urlopen(f"{url}/healthz", timeout=5):
            return True
    except (URLError, ConnectionError, TimeoutError):
        return False
