"""Runs ingests in children that are forked, so that each starts at once: for each line `home source processes` on its
input, it prints the child's process group and then how it ended."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import services.ingest.ending  # noqa: F401 (imported here once, and not in each child)
from services.ingest import IngestRequest, run
from shared.adapters.directory import DirectoryObjects
from shared.adapters.sqlite_catalog import SqliteCatalog
from shared.settings import IngestSettings, Settings


def ingest(home: Path, source: str, processes: int) -> None:
    """One ingest with many small packs."""
    stores: Any = SimpleNamespace(
        objects=DirectoryObjects(home / "objects"), catalog=SqliteCatalog(home / "shelver.sqlite")
    )
    settings = Settings(home=home, ingest=IngestSettings(pack_bytes=20_000, block_bytes=4_000))
    run(stores, settings, IngestRequest(source, "d", allow_bad=9, processes=processes))


def main() -> None:
    """Serve until the input ends."""
    for line in sys.stdin:
        home, source, processes = line.split()
        child = os.fork()
        os.setpgid(child, child or os.getpid())  # here and there: whoever comes first
        if child == 0:
            code = 1
            try:
                ingest(Path(home), source, int(processes))
                code = 0
            except KeyboardInterrupt:
                code = 130
            finally:
                os._exit(code)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
