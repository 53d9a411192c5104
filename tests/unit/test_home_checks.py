"""doctor's lines about a home, each with what breaks it."""

import errno
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from services.cli.checks import Check
from services.cli.diagnosis import content_checks
from services.cli.home_checks import home_checks
from shared import wiring
from shared.domain.records import Run
from shared.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a home with a row and an object."""
    settings = Settings(home=tmp_path / "home")
    stores = wiring.stores(settings)
    stores.runs.declare(Run(id="r1", member="M", dataset="d", definition={}))
    stores.objects.put("runs/r1/definition.json", b"{}")
    return settings


def look(settings: Settings) -> dict[str, Check]:
    return {check.name: check for check in home_checks(settings, busy_seconds=0.01)}


def files(home: Path) -> dict[str, bytes]:
    kept = (path for path in home.rglob("*") if path.is_file() and "shelver.sqlite" not in path.name)
    return {str(path.relative_to(home)): path.read_bytes() for path in kept}


def broken(settings: Settings, name: str) -> tuple[str, str]:
    """Words and remedy of the only line that is not ok."""
    found = look(settings)
    assert [check.name for check in found.values() if not check.ok] == [name]
    return found[name].words, found[name].remedy


def test_a_home_that_works_is_left_as_it_is(settings: Settings) -> None:
    before = files(settings.home)
    found = look(settings)
    assert all(check.ok and not check.remedy for check in found.values())
    assert list(found) == ["home", "lock", "disk", "object store", "document store"]
    assert found["document store"].words == "0 datasets, 1 runs, 0 jobs"
    assert files(settings.home) == before


def test_a_home_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    (check,) = home_checks(Settings(home=tmp_path / "none"))
    assert check.ok
    assert "is not there yet" in check.words
    assert not (tmp_path / "none").exists()


def test_an_empty_home_stays_empty(tmp_path: Path) -> None:
    assert all(check.ok for check in home_checks(Settings(home=tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = look(Settings(home=tmp_path / "file"))
    assert not found["home"].ok
    assert "is no folder" in found["home"].words
    assert "--home DIR" in found["home"].remedy


@pytest.mark.parametrize(
    ("number", "words", "remedy"),
    [
        (errno.EROFS, "cannot be written: Read-only file system", "name a folder that can be written"),
        (errno.EACCES, "cannot be written: Permission denied", "name a folder that can be written"),
        (errno.ENOSPC, "takes no more bytes: No space left on device", "`shelver gc` shows what can go"),
        (errno.EDQUOT, "takes no more bytes: Disk quota exceeded", "`shelver gc` shows what can go"),
    ],
)
def test_a_home_that_cannot_be_written(
    number: int, words: str, remedy: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, content: bytes) -> int:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    found = broken(settings, "home")
    assert words in found[0]
    assert remedy in found[1]


def test_a_disk_that_is_nearly_full(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(settings.home)._replace(free=2**29)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert broken(settings, "disk") == (
        "only 0.5 GiB free",
        "free some space (`shelver gc` shows what can go), or name a --home on a larger disk",
    )


def test_a_home_in_use_says_by_whom(settings: Settings) -> None:
    with wiring.exclusive(settings):
        lock = look(settings)["lock"]
    assert lock.ok
    assert f"process {os.getpid()} since" in lock.words
    assert "Ctrl-C" in lock.remedy
    assert look(settings)["lock"].words == "nobody works here"


def test_a_lock_that_cannot_be_opened(settings: Settings) -> None:
    (settings.home / "lock").mkdir()
    words, remedy = broken(settings, "lock")
    assert "lock" in words
    assert f"make {settings.home / 'lock'} writable" in remedy
    assert all(check.ok for check in content_checks(settings, 0.0))


def test_an_object_store_that_does_not_take_anything(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", refuse)
    words, remedy = broken(settings, "object store")
    assert "Input/output error" in words
    assert "writable for this user" in remedy


def test_a_document_store_of_garbage(settings: Settings) -> None:
    for path in settings.home.glob("shelver.sqlite-*"):  # the log would mend it
        path.unlink()
    (settings.home / "shelver.sqlite").write_bytes(b"this is no database, whatever its name may say" * 100)
    words, remedy = broken(settings, "document store")
    assert "is damaged: file is not a database" in words
    assert "restore shelver.sqlite from a backup" in remedy


def test_a_document_store_with_damaged_pages(settings: Settings) -> None:
    path = settings.home / "shelver.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    content = bytearray(path.read_bytes())
    content[size : 3 * size] = b"\xff" * (2 * size)
    path.write_bytes(content)
    words, remedy = broken(settings, "document store")
    assert "is damaged: " in words
    assert "\n" not in words
    assert "restore shelver.sqlite from a backup" in remedy


def test_a_document_store_that_is_gone(settings: Settings) -> None:
    (settings.home / "shelver.sqlite").unlink()
    words, remedy = broken(settings, "document store")
    assert "shelver.sqlite is gone, and there are objects" in words
    assert "restore shelver.sqlite from a backup" in remedy
    assert not (settings.home / "shelver.sqlite").exists()


def test_a_document_store_of_a_newer_shelver(settings: Settings) -> None:
    with closing(sqlite3.connect(settings.home / "shelver.sqlite")) as connection:
        connection.execute("PRAGMA user_version=99")
    words, remedy = broken(settings, "document store")
    assert "store version 99" in words
    assert "install the Shelver that wrote it" in remedy


def test_a_document_store_that_another_process_keeps_locked(settings: Settings) -> None:
    with closing(sqlite3.connect(settings.home / "shelver.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        words, remedy = broken(settings, "document store")
    assert "locked for 0.01 s" in words
    assert "fuser" in remedy
