"""How a training ends that someone else asked to go."""

import os
import signal
import stat
import threading

PREEMPTED = 143
"""The exit code that says so."""


class PreemptedError(Exception):
    """The process was asked to go: what it had is in a checkpoint."""


class Preemption:
    """Whether the process was asked to go. Until `defer` is called there is nothing to save and it goes at once."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._deferred = False

    def watch(self) -> None:
        """Listen to signals, and to standard input where it is a pipe: its end means that who started it died."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._ask())
        if stat.S_ISFIFO(os.fstat(0).st_mode):
            threading.Thread(target=self._on_closed_pipe, name="launcher watch", daemon=True).start()

    def defer(self) -> None:
        """From now on someone calls `asked` between two steps."""
        self._deferred = True
        if self._asked.is_set():
            os._exit(PREEMPTED)

    def asked(self) -> bool:
        """Whether it is time to save and go."""
        return self._asked.is_set()

    def _on_closed_pipe(self) -> None:
        while os.read(0, 4096):
            pass
        self._ask()

    def _ask(self) -> None:
        self._asked.set()
        if not self._deferred:
            os._exit(PREEMPTED)
