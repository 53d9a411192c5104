"""Fixtures: a server of each kind for the whole run, places of a test's own on them, and servers that it may stop.

TEST_REDIS_URL, TEST_MONGO_URL, TEST_MINIO_URL and TEST_VERSITY_URL (http://KEY:SECRET@HOST:PORT; any S3 server) name
servers to use instead of started ones.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from tests.servers import places, server
from tests.servers.process import Process
from tests.servers.server import Server

Folders = pytest.TempPathFactory
Started = TypeVar("Started", Server, Process)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: Folders) -> Iterator[Server]:
    """Shared: never stopped or flushed by a test."""
    with given_or_started("redis", server.redis_server, tmp_path_factory.mktemp("redis")) as found:
        yield found


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: Folders) -> Iterator[Server]:
    """Shared: never stopped by a test."""
    with given_or_started("mongo", server.mongo_server, tmp_path_factory.mktemp("mongo")) as found:
        yield found


@pytest.fixture(scope="session")
def minio_server(tmp_path_factory: Folders) -> Iterator[Server]:
    """Shared: never stopped by a test."""
    with given_or_started("minio", server.minio_server, tmp_path_factory.mktemp("minio")) as found:
        yield found


@pytest.fixture(scope="session")
def versity_server(tmp_path_factory: Folders) -> Iterator[Server]:
    """Shared: never stopped by a test."""
    with given_or_started("versity", server.versity_server, tmp_path_factory.mktemp("versity")) as found:
        yield found


@pytest.fixture
def redis_url(redis_server: Server) -> Iterator[str]:
    """An empty database: a value of SHELVER_QUEUE."""
    with places.redis_database(redis_server) as url:
        yield url


@pytest.fixture
def mongo_url(mongo_server: Server) -> Iterator[str]:
    """A new database: a value of SHELVER_CATALOG."""
    with places.mongo_database(mongo_server) as url:
        yield url


@pytest.fixture
def minio_bucket(minio_server: Server, tmp_path: Path) -> Iterator[places.Bucket]:
    """A new bucket of MinIO."""
    with places.bucket(minio_server, tmp_path) as bucket:
        yield bucket


@pytest.fixture
def versity_bucket(versity_server: Server, tmp_path: Path) -> Iterator[places.Bucket]:
    """A new bucket of versitygw."""
    with places.bucket(versity_server, tmp_path) as bucket:
        yield bucket


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Server]:
    """The test's own: it may stop and flush it."""
    with started(server.redis_server(tmp_path / "redis")) as found:
        yield found


@pytest.fixture
def own_mongo(tmp_path: Path) -> Iterator[Server]:
    """The test's own: it may stop it."""
    with started(server.mongo_server(tmp_path / "mongo")) as found:
        yield found


@pytest.fixture
def own_s3(tmp_path: Path) -> Iterator[Server]:
    """The test's own: it may stop it. The one that starts faster and is smaller."""
    with started(server.versity_server(tmp_path / "versity")) as found:
        yield found


@contextmanager
def started(found: Started) -> Iterator[Started]:
    """A server or a process from its start to its end."""
    try:
        found.start()
        yield found
    finally:
        found.kill()


@contextmanager
def given_or_started(name: str, make: Callable[[Path], Server], folder: Path) -> Iterator[Server]:
    """The server that TEST_<NAME>_URL names, else one of our own in `folder`."""
    if url := os.environ.get(f"TEST_{name.upper()}_URL"):
        yield server.named(name, url)
    else:
        with started(make(folder)) as found:
            yield found
