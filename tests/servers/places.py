"""Places of a test's own on a server that many tests share: a Redis database, a document database, a bucket."""

import itertools
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pymongo
import redis
from minio.deleteobjects import DeleteObject

from shared.settings import S3Settings
from tests.servers.server import Server, s3_client

_NUMBERS = itertools.count()


@dataclass(frozen=True)
class Bucket:
    """A bucket as settings name it."""

    objects: str
    s3: S3Settings


@contextmanager
def redis_database(server: Server) -> Iterator[str]:
    """redis://HOST:PORT/DB, empty; emptied at the end."""
    with redis.Redis.from_url(server.url) as client:
        number = next(_NUMBERS) % int(client.config_get("databases")["databases"])
    url = f"{server.url}/{number}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        yield url
        client.flushdb()


@contextmanager
def mongo_database(server: Server) -> Iterator[str]:
    """mongodb://HOST:PORT/DATABASE, new; dropped at the end."""
    name = f"test_{secrets.token_hex(6)}"
    yield f"{server.url}/{name}"
    with pymongo.MongoClient[dict[str, object]](server.url) as client:
        client.drop_database(name)


@contextmanager
def bucket(server: Server, folder: Path) -> Iterator[Bucket]:
    """A new one, its keys in a file of `folder`; removed at the end."""
    name = f"test-{secrets.token_hex(6)}"
    file = credentials_file(server, folder / f"{name}.credentials")
    client = s3_client(server)
    client.make_bucket(name)
    yield Bucket(f"s3://{name}", S3Settings(endpoint=server.url, credentials_file=str(file)))
    keys = (DeleteObject(one.object_name) for one in client.list_objects(name, recursive=True))
    assert list(client.remove_objects(name, keys)) == []
    client.remove_bucket(name)


def credentials_file(server: Server, path: Path) -> Path:
    """The keys of an S3 server in AWS's format."""
    path.write_text(
        f"[default]\naws_access_key_id = {server.access_key}\naws_secret_access_key = {server.secret_key}\n"
    )
    return path
