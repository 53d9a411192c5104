"""The servers: how each is started, when it is ready, and what a client needs to know."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import minio
import pymongo
import redis
import urllib3
from pymongo.errors import PyMongoError

from tests.ports import free_port
from tests.servers import programs
from tests.servers.process import Process, ProcessError

LOOPBACK = "127.0.0.1"
ACCESS_KEY, SECRET_KEY = "shelver", "shelver-secret"
_REDIS_DATABASES = 1000  # a test gets one of its own
_PROBE_SECONDS = 2.0
_ANSWER_SECONDS = 30.0  # a busy machine takes its time; who is not there refuses at once


@dataclass(frozen=True)
class Server:
    """One server. `url` is redis://HOST:PORT, mongodb://HOST:PORT or http://HOST:PORT of S3 with its two keys."""

    name: str
    url: str
    access_key: str = ""
    secret_key: str = ""
    process: Process | None = None  # None: it was named by URL and is not ours

    def start(self) -> None:
        """Start, again on the same port and data, and wait until it is ready. Raises ProcessError."""
        self._own().start()

    def stop(self) -> None:
        """End it as an operator would; not running is fine."""
        self._own().stop()

    def kill(self) -> None:
        """End it as a machine would; not running is fine."""
        self._own().kill()

    def running(self) -> bool:
        """Whether it has not ended."""
        return self._own().running()

    def _own(self) -> Process:
        assert self.process, f"{self.name} is not this test's: {self.url}"
        return self.process


def named(name: str, url: str) -> Server:
    """A server that runs elsewhere; the keys of S3 are the user and password of its URL. Raises ProcessError."""
    parts = urlsplit(url)
    if not parts.scheme.startswith("http"):
        return Server(name, url)
    host = parts.netloc.rpartition("@")[2]
    if not (parts.username and parts.password):
        raise ProcessError(f"http://{host} names no keys; write http://KEY:SECRET@{host}")
    return Server(name, f"{parts.scheme}://{host}", parts.username, parts.password)


def redis_server(folder: Path, bind: str = LOOPBACK) -> Server:
    """Redis as in production: persistent, and refusing writes rather than forgetting."""
    port = free_port(bind)
    program = programs.installed("redis-server", "redis-server")
    keeps = ["--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction", "--dir", str(_data(folder))]
    where = ["--bind", bind, "--port", str(port), "--protected-mode", "no"]
    command = [program, *where, *keeps, "--databases", str(_REDIS_DATABASES)]
    url = f"redis://{bind}:{port}"
    return Server("redis", url, process=Process("redis", command, folder / "log", ready=lambda: _redis_answers(url)))


def mongo_server(folder: Path, bind: str = LOOPBACK) -> Server:
    """MongoDB's protocol over SQLite files."""
    address = f"{bind}:{free_port(bind)}"
    command = [programs.built(programs.mongo()), "-listen", address, "-data", str(_data(folder))]
    url = f"mongodb://{address}"
    return Server("mongo", url, process=Process("mongo", command, folder / "log", ready=lambda: _mongo_answers(url)))


def minio_server(folder: Path, bind: str = LOOPBACK) -> Server:
    """S3 by MinIO."""
    keys = {"MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY, "MINIO_BROWSER": "off"}
    program = programs.built(programs.MINIO)
    arguments = ["server", "--quiet", "--address"]
    return _s3("minio", folder, bind, keys, lambda at: [program, *arguments, at, str(_data(folder))])


def versity_server(folder: Path, bind: str = LOOPBACK) -> Server:
    """S3 by versitygw."""
    keys = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
    program = programs.built(programs.VERSITY)
    return _s3("versity", folder, bind, keys, lambda at: [program, "--port", at, "posix", str(_data(folder))])


def s3_client(server: Server) -> minio.Minio:
    """A client that does not try twice: it asks whether the server is there."""
    parts = urlsplit(server.url)
    pool = urllib3.PoolManager(timeout=_ANSWER_SECONDS, retries=False)
    secure = parts.scheme == "https"
    return minio.Minio(
        parts.netloc, access_key=server.access_key, secret_key=server.secret_key, secure=secure, http_client=pool
    )


def _s3(name: str, folder: Path, bind: str, keys: dict[str, str], command: Callable[[str], Sequence[str]]) -> Server:
    address = f"{bind}:{free_port(bind)}"
    client = s3_client(Server(name, f"http://{address}", ACCESS_KEY, SECRET_KEY))
    process = Process(name, command(address), folder / "log", ready=lambda: _s3_answers(client), environment=keys)
    return Server(name, f"http://{address}", ACCESS_KEY, SECRET_KEY, process)


def _data(folder: Path) -> Path:
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    return data


def _redis_answers(url: str) -> bool:
    with redis.Redis.from_url(url, socket_timeout=_PROBE_SECONDS) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def _mongo_answers(url: str) -> bool:
    with pymongo.MongoClient[dict[str, object]](url, serverSelectionTimeoutMS=int(_PROBE_SECONDS * 1000)) as client:
        try:
            client.admin.command("ping")
        except PyMongoError:
            return False
    return True


def _s3_answers(client: minio.Minio) -> bool:
    try:
        client.list_buckets()
    except (minio.error.MinioException, urllib3.exceptions.HTTPError):
        return False
    return True
