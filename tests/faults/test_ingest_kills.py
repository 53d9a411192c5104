import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import bson
import pytest

from shared.adapters.directory import DirectoryObjects
from shared.adapters.sqlite_catalog import SqliteCatalog

KILLS = 20
PRODUCTS = 500


class Nursery:
    """A process that forks ingests; see there."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("ingest_nursery.py"))]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def start(self, home: Path, source: Path, processes: int) -> int:
        """The process group of an ingest that begins now."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{home} {source} {processes}\n".encode())
        return int(self.line())

    def ended(self, seconds: float) -> bool:
        """Whether it ends within that time."""
        return bool(select.select([self.process.stdout], [], [], seconds)[0])

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode()


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    with nursery.process:
        yield nursery
        nursery.process.stdin.close()  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = random.Random(5)
    path = tmp_path_factory.mktemp("dump") / "dump.bson"
    documents = [
        bson.encode({"_id": number, "imgs": [{"picture": generator.randbytes(generator.randrange(1, 2000))}]})
        for number in range(PRODUCTS)
    ]
    path.write_bytes(b"".join([*documents[:300], generator.randbytes(25_000), *documents[300:], *documents[:10]]))
    return path


def contents(home: Path) -> dict[str, bytes]:
    objects = DirectoryObjects(home / "objects")
    return {key: objects.read(key) for key in objects.list("")}


@pytest.fixture(scope="module")
def undisturbed(
    nursery: Nursery, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, bytes], float]:
    """What an ingest stores that nobody disturbs, and the seconds that it takes."""
    home = tmp_path_factory.mktemp("undisturbed")
    begun = time.monotonic()
    nursery.start(home, source, 1)
    assert nursery.line() == "0\n"
    seconds = time.monotonic() - begun
    found = contents(home)
    assert len(found) > 50
    return found, seconds


def test_kills_at_random_moments_change_nothing(
    nursery: Nursery, source: Path, undisturbed: tuple[dict[str, bytes], float], tmp_path: Path, seed: int
) -> None:
    expected, seconds = undisturbed
    generator = random.Random(seed)
    kills = homes = 0
    while kills < KILLS:
        homes += 1
        home = tmp_path / f"home{homes}"
        complete = False
        while not complete:
            processes = generator.choice([1, 1, 1, 2])
            group = nursery.start(home, source, processes)
            if not nursery.ended(generator.uniform(0, seconds * (0.7 if processes == 1 else 1.5))):
                with suppress(ProcessLookupError):  # it has ended meanwhile
                    os.killpg(group, signal.SIGKILL)
            code = nursery.line()
            assert code in ("0\n", f"{-signal.SIGKILL}\n")
            complete = code == "0\n"
            kills += not complete
        assert contents(home) == expected
        assert SqliteCatalog(home / "shelver.sqlite").count_products("d") == PRODUCTS


@pytest.mark.parametrize("processes", [1, 2])
def test_an_interrupt_ends_it_soon_and_the_same_command_goes_on(
    nursery: Nursery, source: Path, undisturbed: tuple[dict[str, bytes], float], tmp_path: Path, processes: int
) -> None:
    group = nursery.start(tmp_path, source, processes)
    accounts = tmp_path / "objects" / "datasets" / "d" / "ingest"
    while not list(accounts.glob("*.json")):
        assert not nursery.ended(0.01)
    os.killpg(group, signal.SIGINT)
    assert nursery.ended(5)
    assert nursery.line() == "130\n"
    nursery.start(tmp_path, source, processes)
    assert nursery.line() == "0\n"
    assert contents(tmp_path) == undisturbed[0]
