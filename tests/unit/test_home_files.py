"""Files of died processes: what is in use is never among them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.adapters.directory import DirectoryObjects
from shared.adapters.home_files import left_files
from shared.adapters.subprocesses import SubprocessLauncher

NOW = 1_000_000.0


def left(home: Path, *processes: str) -> list[str]:
    found = left_files(home, processes, now=NOW, log_seconds=1000.0)
    return [file.path.relative_to(home).as_posix() for file in found]


def test_a_home_without_any(tmp_path: Path) -> None:
    assert left(tmp_path) == []


def test_an_object_that_is_being_written_is_none(tmp_path: Path) -> None:
    seen: list[str] = []

    def content() -> Iterator[bytes]:
        yield b"first"
        (tmp_path / "objects" / ".partial" / "dead").write_bytes(b"half")
        seen.extend(left(tmp_path))
        yield b"last"

    DirectoryObjects(tmp_path / "objects").put("a/b", content())
    assert seen == ["objects/.partial/dead"]


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[SubprocessLauncher]:
    launcher = SubprocessLauncher(tmp_path / "processes", {})
    yield launcher
    for name in launcher.status():
        launcher.delete(name)


def test_a_process_that_runs_or_is_wanted_stays(tmp_path: Path, launcher: SubprocessLauncher) -> None:
    launcher.launch("runs", ["timeit", "-n", "1", "-r", "1", "import time; time.sleep(600)"])
    for name in ("wanted", "ended", "half-made"):
        (tmp_path / "processes" / name).mkdir()
    for name in ("wanted", "ended"):
        (tmp_path / "processes" / name / "log").write_text("12345")
        (tmp_path / "processes" / name / "process.json").write_text('{"pid": 1, "identity": "another boot"}')
    assert left(tmp_path, "wanted") == ["processes/ended", "processes/half-made"]


def test_a_log_goes_when_nothing_was_written_to_it_for_long(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for name, seconds in (("old.log", 1001), ("new.log", 999)):
        (tmp_path / "logs" / name).write_text("words")
        os.utime(tmp_path / "logs" / name, (NOW - seconds, NOW - seconds))
    assert left(tmp_path) == ["logs/old.log"]


def test_folders_and_files_go_whole_and_twice_is_fine(tmp_path: Path) -> None:
    folder = tmp_path / "processes" / "ended"
    folder.mkdir(parents=True)
    (folder / "log").write_text("12345")
    (tmp_path / ".probe-1").write_text("123")
    found = list(left_files(tmp_path, (), now=NOW, log_seconds=1000.0))
    assert [file.bytes for file in found] == [5, 3]
    for _ in ("removes them", "finds them gone"):
        for file in found:
            file.remove()
    assert [file.bytes for file in found] == [0, 0]
    assert left(tmp_path) == []
