import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bson
import pytest

from services.ingest import IngestRequest, run
from shared.adapters.directory import DirectoryObjects
from shared.adapters.sqlite_catalog import SqliteCatalog
from shared.settings import IngestSettings, Settings

KILLS = 20
DRIVER = """
import sys
from pathlib import Path
from test_ingest_kills import ingest
home, source, processes = sys.argv[1:]
print("ready", flush=True)
ingest(Path(home), Path(source), int(processes))
"""


def ingest(home: Path, source: Path, processes: int) -> None:
    stores: Any = SimpleNamespace(
        objects=DirectoryObjects(home / "objects"), catalog=SqliteCatalog(home / "shelver.sqlite")
    )
    settings = Settings(home=home, ingest=IngestSettings(pack_bytes=20_000, block_bytes=4_000))
    run(stores, settings, IngestRequest(str(source), "d", allow_bad=9, processes=processes))


def start(home: Path, source: Path, processes: int) -> subprocess.Popen[bytes]:
    """An ingest in a process group of its own, once it has imported what it needs."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(home), str(source), str(processes)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def contents(home: Path) -> dict[str, bytes]:
    objects = DirectoryObjects(home / "objects")
    return {key: objects.read(key) for key in objects.list("")}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = random.Random(5)
    path = tmp_path_factory.mktemp("dump") / "dump.bson"
    documents = [
        bson.encode({"_id": number % 790, "imgs": [{"picture": generator.randbytes(generator.randrange(1, 2000))}]})
        for number in range(790)
    ]
    path.write_bytes(b"".join([*documents[:300], generator.randbytes(25_000), *documents[300:], *documents[:10]]))
    return path


def test_kills_at_random_moments_change_nothing(source: Path, tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    ingest(tmp_path / "undisturbed", source, 1)
    expected = contents(tmp_path / "undisturbed")
    assert len(expected) > 80
    kills = homes = 0
    while kills < KILLS:
        homes += 1
        home = tmp_path / f"home{homes}"
        while True:
            process = start(home, source, generator.choice([1, 1, 2]))
            try:
                assert process.wait(generator.expovariate(1 / 0.3)) == 0
                break
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
            finally:
                process.stdout.close()  # type: ignore[union-attr]
        assert contents(home) == expected
        assert SqliteCatalog(home / "shelver.sqlite").count_products("d") == 790


@pytest.mark.parametrize("processes", [1, 2])
def test_an_interrupt_ends_it_soon_and_the_same_command_goes_on(source: Path, tmp_path: Path, processes: int) -> None:
    home = tmp_path / "home"
    process = start(home, source, processes)
    packs = home / "objects" / "datasets" / "d" / "packs"
    while process.poll() is None and not list(packs.glob("*.bson")):
        pass
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(5) != 0
    ...
