import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shared.adapters.directory import DirectoryObjects
from shared.domain.errors import StoreUnavailableError

WRITER = """
import sys
from pathlib import Path
from shared.adapters.directory import DirectoryObjects
def blocks():
    yield b"half of it"
    print("half", flush=True)
    sys.stdin.read()
    yield b"the rest"
DirectoryObjects(Path(sys.argv[1])).put("folder/k", blocks())
"""


def files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_what_a_killed_writer_leaves_is_no_object_and_removed_by_the_next_put(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    objects = DirectoryObjects(tmp_path)
    with writers[0] as killed, writers[1] as living:
        assert killed.stdout is not None
        assert living.stdout is not None
        assert (killed.stdout.readline(), living.stdout.readline()) == ("half\n", "half\n")
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        assert list(objects.list("")) == []
        assert len(files(tmp_path)) == 2
        objects.put("other", b"")
        assert len(files(tmp_path)) == 2  # that of the living writer, and the new object
        living.communicate("go on", timeout=30)
    assert files(tmp_path) == ["folder/k", "other"]
    assert objects.read("folder/k") == b"half of itthe rest"


def test_folders_that_become_empty_are_removed(tmp_path: Path) -> None:
    objects = DirectoryObjects(tmp_path / "objects")
    for key in ("a/b/c/d", "a/e"):
        objects.put(key, b"")
    objects.delete("a/b/c/d")
    assert not (tmp_path / "objects" / "a" / "b").exists()
    objects.delete("a/e")
    assert not (tmp_path / "objects" / "a").exists()
    assert (tmp_path / "objects").exists()


def test_a_root_that_is_no_folder_is_a_store_that_is_away(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnavailableError, match="check the disk and its permissions"):
        DirectoryObjects(tmp_path / "file").put("k", b"")
    assert list(DirectoryObjects(tmp_path / "nothing").list("")) == []
