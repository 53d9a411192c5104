import random
import subprocess
import sys
from pathlib import Path

import bson
import pytest

LIMIT = 512 * 2**20
DUMP = 160 * 2**20  # more than one pack of the default size

SCRIPT = """
import resource, sys
from pathlib import Path
from types import SimpleNamespace
from services.ingest import IngestRequest, run
from shared.adapters.directory import DirectoryObjects
from shared.adapters.sqlite_catalog import SqliteCatalog
from shared.settings import Settings
home = Path(sys.argv[1])
stores = SimpleNamespace(objects=DirectoryObjects(home / "objects"), catalog=SqliteCatalog(home / "shelver.sqlite"))
run(stores, Settings(home=home), IngestRequest(sys.argv[2], "d", processes=int(sys.argv[3])))
peak = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(*(kilobytes * (1 if sys.platform == "darwin" else 1024) for kilobytes in peak))
"""


# a process counts the memory of the one that started it as its own peak, so a small one stands between
SMALL = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("memory") / "dump.bson"
    pictures = [{"picture": random.Random(1).randbytes(7000)}] * 2
    with path.open("wb") as file:
        number = 0
        while file.tell() < DUMP:
            file.write(bson.encode({"_id": number, "imgs": pictures}))
            number += 1
    return path


@pytest.mark.parametrize(("source", "processes"), [("path", 2), ("-", 1)])
def test_memory_stays_small_whatever_the_dump(dump: Path, tmp_path: Path, source: str, processes: int) -> None:
    command = [
        sys.executable,
        "-c",
        SMALL,
        sys.executable,
        "-c",
        SCRIPT,
        str(tmp_path),
        str(dump) if source == "path" else "-",
        str(processes),
    ]
    with dump.open("rb") as content:
        done = subprocess.run(command, stdin=content, capture_output=True, check=True)
    own, largest_child = map(int, done.stdout.split())
    assert own > 2**20
    assert own + processes * largest_child < LIMIT
