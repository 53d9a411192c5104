"""The command line, run in the test's own process, and what ingest is tried on."""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest

from services import cli

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
