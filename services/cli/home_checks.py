"""What `doctor` looks at in a home: the folder, who works there, the disk, the two stores."""

import errno
import shutil
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from services.cli.checks import Check, FaultError, answer
from shared import layout, wiring
from shared.adapters.home_files import PROBE
from shared.domain.errors import BadInputError, NewerSchemaError
from shared.settings import Settings

_FREE_BYTES = 2 * 2**30  # less than this and a training or an ingest of any size will not end
_BUSY_SECONDS = 5.0  # longer than any write of a Shelver that works
_RESTORE = "stop all shelver processes and restore shelver.sqlite from a backup, or begin with another --home"
_SERVERS = "start the server, or correct the settings that name it"
_OTHER_HOME = "name a folder that can be written, with --home DIR or SHELVER_HOME"


def home_checks(settings: Settings, *, busy_seconds: float = _BUSY_SECONDS) -> Iterator[Check]:
    """The home, then its stores, as far as there are any; the last one is of the document store."""
    if not settings.home.exists():
        yield Check("home", True, f"{settings.home} is not there yet; the first verb that writes makes it")
        return
    yield answer("home", _OTHER_HOME, lambda: _home(settings.home))
    yield _lock(settings)
    yield answer("disk", "name a --home on a disk that answers", lambda: _disk(settings.home))
    if settings.objects:
        yield answer("object store", _SERVERS, lambda: _objects(settings))
    elif (settings.home / "objects").is_dir():
        remedy = f"make {settings.home / 'objects'} and all in it writable for this user"
        yield answer("object store", remedy, lambda: _objects(settings))
    if settings.queue:
        yield answer("queue", _SERVERS, lambda: _queue(settings))
    if settings.catalog:
        yield answer("document store", _SERVERS, lambda: _documents(settings))
    else:
        yield answer("document store", _RESTORE, lambda: _database(settings, busy_seconds))


def _home(home: Path) -> str:
    if not home.is_dir():
        raise FaultError(f"{home} is no folder", _OTHER_HOME)
    probe = home / f"{PROBE}{uuid.uuid4().hex}"
    try:
        probe.write_bytes(b"shelver")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = "free some space (`shelver gc` shows what can go), or name a --home on a larger disk"
            raise FaultError(f"{home} takes no more bytes: {error.strerror}", remedy) from error
        raise FaultError(f"{home} cannot be written: {error.strerror}", _OTHER_HOME) from error
    finally:
        probe.unlink(missing_ok=True)
    return str(home.absolute())


def _lock(settings: Settings) -> Check:
    try:
        held = wiring.holder(settings)
    except OSError as error:
        return Check("lock", False, f"{error}", f"make {settings.home / 'lock'} writable for this user")
    if not held:
        return Check("lock", True, "nobody works here")
    remedy = "verbs that write wait for it; Ctrl-C there, or `kill` its number, ends it, and the same command goes on"
    return Check("lock", True, f"another shelver works here: {held}", remedy)


def _disk(home: Path) -> str:
    free = shutil.disk_usage(home).free
    if free < _FREE_BYTES:
        remedy = "free some space (`shelver gc` shows what can go), or name a --home on a larger disk"
        raise FaultError(f"only {free / 2**30:.1f} GiB free", remedy)
    return f"{free / 2**30:.0f} GiB free"


def _database(settings: Settings, busy_seconds: float) -> str:
    path = settings.home / "shelver.sqlite"
    if not path.exists():
        if any(wiring.objects(settings).list("")):
            raise FaultError("shelver.sqlite is gone, and there are objects that only it can name", _RESTORE)
        return "nothing is stored yet"
    try:
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", timeout=busy_seconds, uri=True)
        ) as connection:
            found = connection.execute("PRAGMA quick_check").fetchone()[0]
            if found == "ok":
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            remedy = f"let it end; `fuser {path}` names it"
            raise FaultError(f"another process has kept {path} locked for {busy_seconds:g} s", remedy) from error
        raise FaultError(f"{path}: {error}", _OTHER_HOME) from error
    except sqlite3.DatabaseError as error:
        raise FaultError(f"{path} is damaged: {error}", _RESTORE) from error
    if found != "ok":
        raise FaultError(f"{path} is damaged: {' '.join(str(found).split())}", _RESTORE)
    return _documents(settings)


def _documents(settings: Settings) -> str:
    try:
        stores = wiring.stores(settings)
        counts = (len(stores.catalog.datasets()), len(stores.runs.runs()), len(stores.jobs.jobs()))
    except NewerSchemaError as error:
        raise FaultError(str(error), "install the Shelver that wrote it, or use another store") from error
    except BadInputError as error:
        raise FaultError(f"{error.where}: {error.reason}", error.remedy) from error
    return "{} datasets, {} runs, {} jobs".format(*counts)


def _queue(settings: Settings) -> str:
    queue = wiring.queue(settings)
    try:
        queue.check()
    finally:
        queue.close(grace=0.0)
    return "it takes messages"


def _objects(settings: Settings) -> str:
    objects = wiring.objects(settings)
    key = layout.upload(layout.upload_request(time.time(), uuid.uuid4().hex), 0)
    try:
        objects.put(key, b"0123456789")
        if objects.read(key, 3, 4) != b"3456" or list(objects.list(key)) != [key]:
            raise ValueError("what was put does not come back")
    finally:
        objects.delete(key)
    return "put, range, list and delete work"
