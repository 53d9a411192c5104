"""The command line, in the test's own process and in one of its own, and what ingest is tried on."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest

from services import cli

DEADLINE_SECONDS = 120
Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shell(capfd: pytest.CaptureFixture[str]) -> Shell:
    """Runs one command line in this process: exit code, standard output, standard error."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capfd.readouterr()
        code = cli.run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return code, out, err

    return run


@dataclass
class Intake:
    """A home of its own, and dumps of the first products of the sample catalog, one of which a test spoils."""

    shell: Shell
    home: Path
    folder: Path
    categories: Path
    documents: list[bytes]

    @property
    def before(self) -> list[bytes]:
        """The documents before the bad one."""
        return self.documents[:5]

    @property
    def bad(self) -> bytes:
        """The document to spoil."""
        return self.documents[5]

    @property
    def at(self) -> int:
        """The offset of the bad document."""
        return sum(map(len, self.before))

    def dump(self, content: bytes, name: str = "dump.bson") -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def with_bad(self, bad: bytes) -> Path:
        return self.dump(b"".join([*self.before, bad, *self.documents[6:]]))

    def ingest(self, source: object, *options: object) -> tuple[int, str, str]:
        given = ("--categories", self.categories, *options)
        return self.shell("--home", self.home, "ingest", source, "--dataset", "d", *given)

    def refuse(self, source: object, *words: str, options: tuple[object, ...] = ()) -> None:
        """Exit code 2, one line with all the words, and nothing of the dataset."""
        code, out, err = self.ingest(source, *options)
        lines = [line for line in err.splitlines() if not line.startswith("ingest d ")]
        assert (code, out, len(lines)) == (2, "", 1), err
        assert [word for word in words if word not in lines[0]] == [], lines[0]
        assert "; " in lines[0], "what to do about it"
        assert json.loads(self.shell("--home", self.home, "datasets", "--json")[1]) == []
        assert [path for path in (self.home / "objects").rglob("*") if path.is_file()] == []


@pytest.fixture
def intake(shell: Shell, grocery: Path, tmp_path: Path) -> Intake:
    with (grocery / "train.bson").open("rb") as file:
        documents = [next_document(file) for _ in range(10)]
    return Intake(shell, tmp_path / "home", tmp_path, grocery / "category_names.csv", documents)


def next_document(file: BinaryIO) -> bytes:
    length = file.read(4)
    return length + file.read(struct.unpack("<i", length)[0] - 4)


class Terminal:
    """A command line in a process group of its own, as a terminal starts it, in one home."""

    def __init__(self, home: Path, **settings: object) -> None:
        self.home = home
        self._environment = os.environ | {"SHELVER_HOME": str(home)}
        self._environment |= {f"SHELVER_{name.upper()}": str(value) for name, value in settings.items()}

    def start(self, *arguments: str | Path) -> "subprocess.Popen[bytes]":
        """A command that runs on."""
        line = [sys.executable, "-m", "services.cli", *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(line, env=self._environment, stdout=pipe, stderr=pipe, process_group=0)

    def interrupt(self, *arguments: str | Path, when: Callable[[], bool]) -> None:
        """Press Ctrl-C in a command when the condition comes true."""
        with self.start(*arguments) as process:
            try:
                self.wait(when, process)
                os.killpg(process.pid, signal.SIGINT)
                assert process.wait(timeout=DEADLINE_SECONDS) == 130
            finally:
                process.kill()
            said = process.communicate()[1].decode()
        assert said.splitlines()[-1] == "interrupted; the same command goes on where this one stopped"
        assert "Traceback" not in said
        assert self.processes() == []

    def complete(self, *arguments: str | Path) -> str:
        """The standard output of a command that nobody disturbs."""
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0, err.decode()
        return out.decode()

    def wait(self, when: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
        """Until the condition comes true, while the process runs."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not when():
            assert process.poll() is None, process.communicate()[1].decode()
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.01)

    def processes(self) -> list[str]:
        """What still runs with this home in its environment."""
        mark = f"SHELVER_HOME={self.home}\0".encode()
        return [folder.name for folder in Path("/proc").glob("[0-9]*") if mark in _environment(folder)]


def _environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""  # it ended meanwhile


@pytest.fixture
def open_terminal() -> type[Terminal]:
    """Makes terminals: `open_terminal(home, **settings)`, such as `ingest_pack_bytes=4096`."""
    return Terminal
