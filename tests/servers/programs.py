"""Where the programs of servers come from: the PATH, else built once with Go into a folder of this user."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from tests.servers.process import ProcessError

_SOURCES = Path(__file__).with_name("mongo")
_LOCK_SECONDS = 1800.0  # another process builds the same program


@dataclass(frozen=True)
class Built:
    """A program that Go builds: `build` puts it into the folder it is given."""

    name: str
    version: str
    build: Callable[[Path], None]


def installed(name: str, package: str) -> str:
    """A program of the PATH. Raises ProcessError that names the Debian package which has it."""
    if found := shutil.which(name):
        return found
    raise ProcessError(f"there is no {name}; install Debian's package {package}")


def built(program: Built) -> str:
    """A program of the PATH or of the cache, made there if need be. Raises ProcessError."""
    if found := shutil.which(program.name):
        return found
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shelver-test-servers"
    place = cache / f"{program.name}-{program.version}"
    if not place.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock", timeout=_LOCK_SECONDS):
            if not place.exists():
                _make(program, place)
    return str(place)


def _make(program: Built, place: Path) -> None:
    if not shutil.which("go"):
        raise ProcessError(f"there is no {program.name}; install Go 1.26 or newer, with which it is built once")
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        try:
            program.build(Path(folder))
        except subprocess.CalledProcessError as error:
            raise ProcessError(f"Go does not build {program.name}: {error.stderr.strip()}") from None
        (Path(folder) / program.name).rename(place)


def _go(*arguments: str, folder: Path, **variables: str) -> None:
    command = ["go", *arguments]
    subprocess.run(command, check=True, cwd=folder, env=os.environ | variables, capture_output=True, text=True)


def _module(name: str, package: str, version: str) -> Built:
    return Built(name, version, lambda to: _go("install", f"{package}@{version}", folder=to, GOBIN=str(to)))


def mongo() -> Built:
    """The server of the folder `mongo`; its version is that of its sources."""
    files = sorted(path for path in _SOURCES.iterdir() if path.is_file())
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:12]
    name = "shelver-mongo"
    return Built(name, digest, lambda to: _go("build", "-o", str(to / name), ".", folder=_SOURCES))


MINIO = _module("minio", "github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c")
VERSITY = _module("versitygw", "github.com/versity/versitygw/cmd/versitygw", "v1.8.0")
HELM = _module("helm", "helm.sh/helm/v3/cmd/helm", "v3.22.0")
