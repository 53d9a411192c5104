"""What died processes left in an embedded home beside its stores: half-written objects, process folders, old logs."""

import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.adapters.directory import abandoned
from shared.adapters.subprocesses import idle_folders

PROBE = ".probe-"
"""How the name of a file begins that is written into a home only to see whether that works."""


@dataclass(frozen=True, slots=True)
class LeftFile:
    """A file or folder that nobody uses any more."""

    path: Path
    why: str

    @property
    def bytes(self) -> int:
        """Its size, with all that is in it; 0 once it is gone."""
        files = [self.path, *self.path.rglob("*")] if self.path.is_dir() else [self.path]
        return sum(file.stat().st_size for file in files if file.is_file())

    def remove(self) -> None:
        """Remove it; not being there is fine."""
        if self.path.is_dir():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)


def left_files(home: Path, processes: Collection[str], *, now: float, log_seconds: float) -> Iterator[LeftFile]:
    """What can go. `processes` are names that are still wanted; a log goes `log_seconds` after its last line.

    `now`: seconds since the epoch.
    """
    for path in abandoned(home / "objects"):
        yield LeftFile(path, "an interrupted write of an object")
    for path in idle_folders(home / "processes"):
        if path.name not in processes:
            yield LeftFile(path, "the process of a run that is complete, gone or further")
    for path in sorted(home.glob("logs/*")):
        if now - path.stat().st_mtime > log_seconds:
            yield LeftFile(path, f"nothing was written to it for {int((now - path.stat().st_mtime) / 86_400)} days")
    for path in sorted(home.glob(f"{PROBE}*")):
        yield LeftFile(path, "an interrupted check of the home")
