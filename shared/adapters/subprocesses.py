"""The embedded launcher: one folder per process with its identity, log and exit code, so that a restart knows them.

A child gets a pipe as standard input; it ends when the launcher's process dies, and the child ends by itself then. A
process that outlives its launcher for that moment is told from a stranger of the same number by its start time.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from shared.domain.errors import StoreUnavailableError
from shared.ports import Clock, Launched

_TAIL_BYTES = 4096
_PREEMPTED = {143, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, -signal.SIGKILL}
"""Exit codes of a process that someone else ended. SIGKILL is also how a machine short of memory ends processes."""


class SubprocessLauncher:
    """The Launcher port: processes of this machine, their state under `directory`."""

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        *,
        grace: float = 4.0,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`environment` is added to this process's own; `grace` seconds pass between SIGTERM and SIGKILL."""
        self._directory = directory
        self._environment = environment
        self._grace = grace
        self._clock = clock
        self._sleep = sleep
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def check(self) -> None:
        """This machine is always there."""

    def launch(self, name: str, arguments: Sequence[str]) -> None:
        """Start `python -m ARGUMENTS...` under `name`; a name that was launched already is left as it is."""
        folder = self._directory / name
        if (folder / "process.json").exists():
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "log").open("wb") as log:
                child = subprocess.Popen(
                    [sys.executable, "-m", *arguments],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **self._environment},
                    start_new_session=True,  # Ctrl-C reaches the launcher alone, which then asks the child to go
                )
        except OSError as error:
            raise StoreUnavailableError(f"{folder}: {error.strerror or error}; check the disk") from error
        self._children[name] = child
        _write(folder / "process.json", {"pid": child.pid, "identity": _identity(child.pid)})

    def status(self) -> dict[str, Launched]:
        """What became of every name that was launched and not deleted."""
        if not self._directory.exists():
            return {}
        folders = sorted(folder for folder in self._directory.iterdir() if (folder / "process.json").exists())
        return {folder.name: self._status(folder) for folder in folders}

    def delete(self, name: str) -> None:
        """Forget a name, ending its process first if it runs; not being there is fine."""
        folder = self._directory / name
        if not (folder / "process.json").exists():
            return
        deadline = self._clock() + self._grace
        pid = json.loads((folder / "process.json").read_text())["pid"]
        if self._status(folder).state == "running":
            _send(pid, signal.SIGTERM)
        while self._status(folder).state == "running":
            if self._clock() >= deadline:
                _send(pid, signal.SIGKILL)
            self._sleep(0.02)
        shutil.rmtree(folder)

    def _status(self, folder: Path) -> Launched:
        exit_code = self._exit_code(folder)
        tail = _tail(folder / "log")
        if exit_code is None:
            process = json.loads((folder / "process.json").read_text())
            alive = folder.name in self._children or _identity(process["pid"]) == process["identity"] is not None
            return Launched(folder.name, "running" if alive else "preempted", log_tail=tail)
        ended = {0: "succeeded"} | dict.fromkeys(_PREEMPTED, "preempted")
        return Launched(folder.name, ended.get(exit_code, "failed"), exit_code, tail)

    def _exit_code(self, folder: Path) -> int | None:
        """The exit code, None while it runs or where it ended without this launcher."""
        child = self._children.get(folder.name)
        if child is not None:
            exit_code = child.poll()
            if exit_code is None:
                return None
            _write(folder / "exit.json", {"exit_code": exit_code})
            if child.stdin is not None:
                child.stdin.close()
            del self._children[folder.name]
        with suppress(FileNotFoundError):
            return int(json.loads((folder / "exit.json").read_text())["exit_code"])
        return None


def idle_folders(directory: Path) -> list[Path]:
    """The folders of a launcher at `directory` in which no process runs, half-made ones included."""
    if not directory.is_dir():
        return []
    running = {name for name, one in SubprocessLauncher(directory, {}).status().items() if one.state == "running"}
    return [folder for folder in sorted(directory.iterdir()) if folder.name not in running]


def _write(path: Path, content: Mapping[str, object]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content))
    partial.replace(path)


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        return file.read().decode(errors="replace").strip()


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _identity(pid: int) -> str | None:
    """When the process `pid` started, None where it is gone (or only waits to be collected)."""
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return None if fields[0] in "ZX" else f"{boot} {fields[19]}"
    if Path("/proc/self/stat").exists():
        return None
    asked = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return asked.stdout.strip() or None
