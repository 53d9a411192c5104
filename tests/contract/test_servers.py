"""The servers that tests start: each keeps its data when it is killed, and none outlives who started it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pymongo
import pytest
import redis

from shared.settings import from_environment
from tests.servers import fixtures, places, programs, server
from tests.servers.process import Process, ProcessError
from tests.servers.server import Server, s3_client

SECONDS = 20.0
MAKERS = (server.redis_server, server.mongo_server, server.minio_server, server.versity_server)


@pytest.fixture(params=MAKERS, ids=lambda make: make.__name__.removesuffix("_server"))
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with fixtures.started(request.param(tmp_path / "server")) as found:
        yield found


def test_a_killed_server_starts_again_with_its_data(own: Server) -> None:
    write(own, 1)
    own.kill()
    own.start()
    write(own, 2)
    own.stop()
    own.start()
    assert read(own) == {1, 2}


def test_a_server_ends_with_who_started_it(tmp_path: Path) -> None:
    lines = (
        "import pathlib, signal, sys",
        "from tests.servers.server import redis_server",
        "server = redis_server(pathlib.Path(sys.argv[1]))",
        "server.start()",
        "print(server.url, flush=True)",
        "signal.pause()",
    )
    command = [sys.executable, "-c", "\n".join(lines), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        url = starter.stdout.readline().strip()
        assert answers(url)
        starter.kill()
    wait(lambda: not answers(url), "the server ends")


def test_all_servers_come_up_and_tell_how_they_are_named(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.servers"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(7)]
            variables = dict(line.removeprefix("export ").strip().split("=") for line in lines[:-1])
            settings = from_environment({name: variables[name] for name in variables if name.startswith("SHELVER_")})
            assert settings.catalog.startswith("mongodb://127.0.0.1:")
            assert settings.objects == "s3://shelver"
            assert answers(settings.queue)
            keys = variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"]
            assert s3_client(Server("s3", settings.s3.endpoint, *keys)).bucket_exists("shelver")
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()
    assert not answers(settings.queue)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    command = [programs.installed("redis-server", "redis-server"), "--dir", str(tmp_path / "data")]
    process = Process("redis", command, tmp_path / "log", ready=lambda: False)
    with pytest.raises(ProcessError, match=r"(?s)redis ended with 1 while it started\n.*Not a directory"):
        process.start()


def test_a_frozen_process_stops_when_it_is_asked_to(tmp_path: Path) -> None:
    process = Process("sleep", ["sleep", "1000"], tmp_path / "log", ready=lambda: True)
    process.start()
    process.freeze()
    assert process.running()
    assert process.stop() == 128 + signal.SIGTERM
    assert not process.running()


def test_a_program_that_nothing_provides_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ProcessError, match=r"^there is no redis-server; install Debian's package redis-server$"):
        programs.installed("redis-server", "redis-server")
    with pytest.raises(
        ProcessError, match=r"^there is no minio; install Go 1.26 or newer, with which it is built once$"
    ):
        programs.built(programs.MINIO)


def test_a_program_is_built_once_and_only_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    builds: list[str] = []

    def build(to: Path) -> None:
        builds.append("build")
        (to / "nothing-has-this-name").write_text("program")
        if len(builds) == 1:
            raise subprocess.CalledProcessError(1, "go", stderr="no network\n")

    program = programs.Built("nothing-has-this-name", "v1", build)
    with pytest.raises(ProcessError, match=r"^Go does not build nothing-has-this-name: no network$"):
        programs.built(program)
    place = programs.built(program)
    assert programs.built(program) == place
    assert Path(place).read_text() == "program"
    assert len(builds) == 2


def test_places_on_one_server_are_apart(
    redis_server: Server, mongo_server: Server, minio_server: Server, tmp_path: Path
) -> None:
    with places.redis_database(redis_server) as one, places.redis_database(redis_server) as other:
        assert one != other
    with places.mongo_database(mongo_server) as one, places.mongo_database(mongo_server) as other:
        assert one != other
    with places.bucket(minio_server, tmp_path) as first, places.bucket(minio_server, tmp_path) as second:
        assert first.objects != second.objects
        assert first.s3.endpoint == second.s3.endpoint == minio_server.url


def test_a_named_server_has_the_keys_of_its_url() -> None:
    found = server.named("minio", "https://key:secret@s3.example:9000")
    assert (found.url, found.access_key, found.secret_key) == ("https://s3.example:9000", "key", "secret")
    with pytest.raises(ProcessError, match="names no keys"):
        server.named("minio", "https://s3.example:9000")


def write(found: Server, number: int) -> None:
    if found.name == "redis":
        with redis.Redis.from_url(found.url) as client:
            client.sadd("numbers", number)
    elif found.name == "mongo":
        with documents(found) as mongo:
            mongo.test.numbers.insert_one({"_id": number})
    else:
        store = s3_client(found)
        if not store.bucket_exists("numbers"):
            store.make_bucket("numbers")
        store.put_object("numbers", str(number), BytesIO(b"x"), 1)


def read(found: Server) -> set[int]:
    if found.name == "redis":
        with redis.Redis.from_url(found.url) as client:
            return {int(number) for number in client.smembers("numbers")}
    if found.name == "mongo":
        with documents(found) as mongo:
            return {row["_id"] for row in mongo.test.numbers.find()}
    return {int(one.object_name or -1) for one in s3_client(found).list_objects("numbers")}


def documents(found: Server) -> "pymongo.MongoClient[dict[str, int]]":
    return pymongo.MongoClient(found.url)


def answers(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {SECONDS:.0f} s: {what}"
        time.sleep(0.02)
