"""What `doctor` looks at. Every check answers, whatever is broken, and says what to do."""

import json
import shutil
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata, util
from typing import Any

from shared import wiring
from shared.domain import states
from shared.domain.errors import ShelverError
from shared.settings import Settings

_FREE_BYTES = 2 * 2**30  # less than this and a training or an ingest of any size will not end
_DEVICE_SECONDS = 120.0  # importing torch from a cold disk


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `doctor`."""

    name: str
    ok: bool
    words: str
    remedy: str = ""

    def plain(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def all_checks(settings: Settings) -> list[Check]:
    """Every check, in the order in which a person would mend things."""
    return [
        _answer("python", "install Python 3.11 or newer", _python),
        _answer("packages", "run `make setup`, or install shelver[workers]", _packages),
        _answer("home", f"make {settings.home} writable, or name another --home", lambda: _home(settings)),
        _answer("disk", "free some space, or name a --home on a larger disk", lambda: _disk(settings)),
        _answer("document store", "restore shelver.sqlite, or begin with another --home", lambda: _database(settings)),
        _answer("object store", f"make {settings.home}/objects writable", lambda: _objects(settings)),
        _answer("device", "install shelver[workers]; for a GPU, a driver that fits torch", _device),
        *_unfinished(settings),
    ]


def _answer(name: str, remedy: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except (ShelverError, OSError, sqlite3.Error, subprocess.SubprocessError, ValueError) as error:
        return Check(name, False, str(error), remedy)


def _python() -> str:
    return f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}"


def _packages() -> str:
    missing = [
        name
        for name in ("torch", "torchvision", "timm", "simplejpeg", "PIL", "safetensors")
        if not util.find_spec(name)
    ]
    if missing:
        raise ValueError(f"not installed: {', '.join(missing)}; training and scoring need them")
    named = ("shelver", "torch", "timm", "pyarrow", "numpy")
    return ", ".join(f"{name} {metadata.version(name)}" for name in named)


def _home(settings: Settings) -> str:
    settings.home.mkdir(parents=True, exist_ok=True)
    probe = settings.home / f".probe-{uuid.uuid4().hex}"
    probe.write_bytes(b"shelver")
    probe.unlink()
    return str(settings.home.absolute())


def _disk(settings: Settings) -> str:
    free = shutil.disk_usage(settings.home).free
    if free < _FREE_BYTES:
        raise ValueError(f"only {free / 2**30:.1f} GiB free")
    return f"{free / 2**30:.0f} GiB free"


def _database(settings: Settings) -> str:
    stores = wiring.stores(settings)
    counts = (
        f"{len(stores.catalog.datasets())} datasets, {len(stores.runs.runs())} runs, {len(stores.jobs.jobs())} jobs"
    )
    with sqlite3.connect(settings.home / "shelver.sqlite", timeout=5) as connection:
        found = connection.execute("PRAGMA quick_check").fetchone()[0]
    connection.close()
    if found != "ok":
        raise ValueError(f"shelver.sqlite is damaged: {found}")
    return counts


def _objects(settings: Settings) -> str:
    objects = wiring.objects(settings)
    key = f"uploads/doctor-{uuid.uuid4().hex}"
    try:
        objects.put(key, b"0123456789")
        if objects.read(key, 3, 4) != b"3456" or list(objects.list(key)) != [key]:
            raise ValueError("what was put does not come back")
    finally:
        objects.delete(key)
    return "put, range, list and delete work"


def _device() -> str:
    if not util.find_spec("torch"):
        raise ValueError("torch is not installed")
    asked = subprocess.run(
        [sys.executable, "-m", "workers.vision"], capture_output=True, text=True, timeout=_DEVICE_SECONDS, check=False
    )
    if asked.returncode:
        raise ValueError(f"torch does not load: {(asked.stderr.strip().splitlines() or ['no word'])[-1]}")
    found: dict[str, Any] = json.loads(asked.stdout)
    return f"{found['name']}, precision {found['precision']}"


def _unfinished(settings: Settings) -> Iterator[Check]:
    """What waits to be gone on with; nothing here is broken."""
    try:
        stores = wiring.stores(settings)
        for run in stores.runs.runs():
            if run.state == "failed":
                yield Check(
                    f"run {run.id}", False, f"{run.member} failed: {run.reason}", "mend that and `shelver train` again"
                )
        for job in stores.jobs.jobs():
            if job.state == "failed":
                yield Check(f"job {job.id}", False, f"failed: {job.error}", "mend that and `shelver score` again")
            elif job.state in states.UNFINISHED:
                yield Check(f"job {job.id}", True, f"{job.state}; the same `shelver score` goes on with it")
    except ShelverError:
        return  # the check of the document store has said it already
