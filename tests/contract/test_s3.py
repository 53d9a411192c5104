"""What an S3 server can do wrong, and what its clients are told."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from shared.adapters.s3 import S3Objects
from shared.domain.errors import BadInputError, StoreUnavailableError
from shared.settings import S3Settings
from tests.ports import free_port
from tests.servers.places import Bucket
from tests.servers.server import Server, s3_client

CONTENT = bytes(range(256)) * 40_000
PART = 17 * 2**20


@pytest.fixture
def objects(minio_bucket: Bucket) -> S3Objects:
    return S3Objects(minio_bucket.s3, minio_bucket.objects.removeprefix("s3://"))


def test_a_bucket_that_is_not_there_is_told(minio_bucket: Bucket) -> None:
    missing = S3Objects(minio_bucket.s3, "not-made")
    with pytest.raises(BadInputError, match="s3://not-made: there is no such bucket"):
        missing.check()
    for act in actions(missing):
        with pytest.raises(StoreUnavailableError, match=r"s3://not-made .*there is no such bucket"):
            act()


def test_credentials_that_the_server_refuses_are_told(minio_bucket: Bucket, tmp_path: Path) -> None:
    file = tmp_path / "wrong"
    file.write_text("[default]\naws_access_key_id = nobody\naws_secret_access_key = nothing1\n")
    refused = S3Objects(
        replace(minio_bucket.s3, credentials_file=str(file)), minio_bucket.objects.removeprefix("s3://")
    )
    with pytest.raises(BadInputError, match="refuses the credentials"):
        refused.check()
    for act in actions(refused):
        with pytest.raises(StoreUnavailableError, match="refuses the credentials"):
            act()


def test_settings_without_credentials_or_server_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    endpoint = "http://127.0.0.1:1"
    for settings, where in (
        (S3Settings(endpoint=endpoint), "AWS_ACCESS_KEY_ID"),
        (S3Settings(endpoint=endpoint, credentials_file=str(tmp_path / "none")), "none"),
        (S3Settings(endpoint="127.0.0.1:9000"), "SHELVER_S3_ENDPOINT"),
        (S3Settings(endpoint=endpoint, ca_file=str(tmp_path / "none.pem")), "SHELVER_S3_CA_FILE"),
    ):
        with pytest.raises(BadInputError, match=where):
            S3Objects(settings, "bucket").exists("k")


def test_credentials_come_from_the_environment(
    minio_server: Server, minio_bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", minio_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", minio_server.secret_key)
    settings = S3Settings(endpoint=minio_bucket.s3.endpoint, tries=3)
    S3Objects(settings, minio_bucket.objects.removeprefix("s3://")).check()


def test_a_server_that_is_away_is_unavailable(minio_bucket: Bucket) -> None:
    settings = replace(minio_bucket.s3, endpoint=f"http://127.0.0.1:{free_port()}", tries=2)
    for act in (*actions(S3Objects(settings, "bucket")), S3Objects(settings, "bucket").check):
        with pytest.raises(StoreUnavailableError, match="is the server up"):
            act()


@pytest.mark.parametrize("error", [RuntimeError("the source broke"), KeyboardInterrupt()])
def test_a_put_in_parts_that_raises_leaves_no_parts(
    objects: S3Objects, minio_server: Server, minio_bucket: Bucket, error: BaseException
) -> None:
    def blocks() -> Iterator[bytes]:
        yield bytes(PART)
        yield bytes(PART)
        raise error

    with pytest.raises(type(error)):
        objects.put("k", blocks())
    left = s3_client(minio_server)._list_multipart_uploads(minio_bucket.objects.removeprefix("s3://"), prefix="k")
    assert left.uploads == []
    assert not objects.exists("k")


def test_an_open_object_reads_any_place_of_many_ranges(objects: S3Objects) -> None:
    objects.put("k", CONTENT)
    with objects.open("k") as stream:
        for place in (0, 2**20 - 3, 5_000_000, len(CONTENT) - 10, 17):
            stream.seek(place)
            assert stream.read(20) == CONTENT[place : place + 20]
        stream.seek(0)
        assert stream.read() == CONTENT


def test_a_large_object_that_is_replaced_while_it_is_read_is_no_mixture(objects: S3Objects) -> None:
    objects.put("k", CONTENT)
    with objects.open("k") as stream:
        objects.put("k", bytes(len(CONTENT)))
        with pytest.raises(StoreUnavailableError, match="replaced"):
            stream.read()


def test_a_read_goes_on_where_its_connection_broke(tmp_path: Path) -> None:
    with breaking_server() as (endpoint, asked):
        settings = S3Settings(endpoint=endpoint, credentials_file=str(credentials(tmp_path)))
        assert S3Objects(settings, "bucket").read("k", 10) == CONTENT[10:]
        assert asked[0] == "bytes=10-"
        assert asked[1] > asked[0]
        assert len(asked) == 3
        asked.clear()
        once = S3Objects(replace(settings, tries=1), "bucket")
        with pytest.raises(StoreUnavailableError):
            once.read("k")


def actions(objects: S3Objects) -> list[Callable[[], object]]:
    return [
        lambda: objects.put("k", b"x"),
        lambda: objects.read("k"),
        lambda: objects.size("k"),
        lambda: objects.exists("k"),
        lambda: objects.open("k").__enter__(),
        lambda: list(objects.list("")),
        lambda: objects.delete("k"),
    ]


def credentials(folder: Path) -> Path:
    file = folder / "credentials"
    file.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    return file


@contextmanager
def breaking_server() -> Iterator[tuple[str, list[str]]]:
    """Serves CONTENT, and ends the first two of its answers in their middle; with the ranges that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers["Range"] or "bytes=0-"
            asked.append(wanted)
            body = CONTENT[int(wanted.removeprefix("bytes=").split("-")[0]) :]
            self.send_response(206)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", '"tag"')
            self.end_headers()
            self.wfile.write(body if len(asked) > 2 else body[: len(body) // 2])
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
