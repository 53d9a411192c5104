"""Objects on any S3 server: streamed puts that show whole or not at all, ranged reads that go on after a break."""

import io
import os
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.credentials.providers import AWSConfigProvider, EnvAWSProvider
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from shared.adapters import object_keys
from shared.adapters.s3_streams import Source, Stream
from shared.domain.errors import BadInputError, NotFoundError, StoreUnavailableError
from shared.settings import S3Settings

_PART_BYTES = 16 * 2**20  # of a put in parts: 10,000 of them at most, so 160 GB; one is in memory at a time
_AHEAD_BYTES = 2**20  # read at once by an open stream: a footer, an index of a pack, or a run of documents
_BLOCK_BYTES = 2**20
_BACK_OFF = 0.2  # seconds before the first repetition; doubled by each
_CONNECTIONS = 32  # kept open per process: at least as many as it has threads that read
_REFUSALS = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthorizationHeaderMalformed"}
_OVERLOADED = (429, 500, 502, 503, 504)


class S3Objects:
    """The Objects port on a bucket of an S3 server. Instances hold no connection, so they may be pickled and shared."""

    def __init__(self, settings: S3Settings, bucket: str, prefix: str = "") -> None:
        """Keys lie below `prefix` in the bucket."""
        self._settings = settings
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def check(self) -> None:
        """Raise BadInputError unless the bucket is there and the credentials open it."""
        try:
            there = self._client().bucket_exists(self._bucket)
        except S3Error as error:
            if error.code not in _REFUSALS:
                self._raise(error)
            reason, remedy = _refused(error)
            raise BadInputError(self._place(), reason, remedy=remedy) from error
        except (MinioException, HTTPError) as error:
            self._raise(error)
        except ValueError as error:  # no bucket can have this name
            raise BadInputError(self._place(), str(error)) from None
        if not there:
            raise BadInputError(self._place(), "there is no such bucket", remedy="make it, or correct its name")

    def put(self, key: str, content: bytes | Iterable[bytes | memoryview]) -> int:
        """Store `content` under `key`, replacing what was there, return its size; if it raises, nothing is stored."""
        name = self._name(key)
        source = Source([content] if isinstance(content, bytes) else content)
        length = len(content) if isinstance(content, bytes) else -1
        with self._translated(key):
            try:
                self._client().put_object(
                    self._bucket, name, cast(BinaryIO, source), length, part_size=_PART_BYTES, num_parallel_uploads=1
                )
            except Exception:
                if source.error is None:
                    raise
        if source.error is not None:
            raise source.error
        return source.size

    @contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        """The object as a seekable stream. Raises NotFoundError."""
        size, etag = self._stat(key)
        first = self._fetch(key, 0, min(size, _AHEAD_BYTES), etag)  # small objects are read whole: see `Stream`
        stream = Stream(lambda offset, length: self._fetch(key, offset, length, etag), size, first)
        with io.BufferedReader(stream, _AHEAD_BYTES) as buffered:
            yield buffered

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """`length` bytes from `offset` (all of it by default), fewer at the end. Raises NotFoundError."""
        if length == 0:
            self.size(key)
            return b""
        return self._fetch(key, offset, length)

    def size(self, key: str) -> int:
        """Bytes of the object. Raises NotFoundError."""
        return self._stat(key)[0]

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        try:
            self._stat(key)
        except NotFoundError:
            return False
        return True

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that start with `prefix`, sorted."""
        with self._translated(prefix):
            found = self._client().list_objects(self._bucket, self._prefix + prefix, recursive=True)
            names = [one.object_name or "" for one in found]
        return iter(sorted(name.removeprefix(self._prefix) for name in names if not name.endswith("/")))

    def delete(self, key: str) -> None:
        """Remove the object; not being there is fine."""
        try:
            with self._translated(key):
                self._client().remove_object(self._bucket, self._name(key))
        except NotFoundError:
            pass

    def _stat(self, key: str) -> tuple[int, str]:
        name = self._name(key)
        with self._translated(key):
            try:
                found = self._client().stat_object(self._bucket, name)
            except S3Error as error:
                if error.code == "NoSuchKey" and not self._client().bucket_exists(self._bucket):
                    error = _no_bucket(error)  # an answer without a body does not tell which of them is missing
                raise error from None
        return int(found.size or 0), found.etag or ""

    def _fetch(self, key: str, offset: int, length: int | None, etag: str = "") -> bytes:
        """A range in as many requests as it takes. Raises NotFoundError."""
        name, blocks, got, breaks = self._name(key), [], 0, 0
        while length is None or got < length:
            headers = {"If-Match": f'"{etag}"'} if etag else {}
            try:
                wanted = None if length is None else length - got
                with self._translated(key), self._response(name, offset + got, wanted, headers) as body:
                    etag = body.headers.get("etag", "").strip('"')
                    for block in body.stream(_BLOCK_BYTES):
                        blocks.append(block)
                        got += len(block)
                    return b"".join(blocks)
            except _PastEndError:
                break
            except _BrokenError as error:
                breaks += 1
                if breaks == self._settings.tries:
                    self._raise(error.cause)
                time.sleep(_BACK_OFF * 2**breaks)
        return b"".join(blocks)

    @contextmanager
    def _response(
        self, name: str, offset: int, length: int | None, headers: Mapping[str, str]
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        try:
            response = self._client().get_object(
                self._bucket, name, offset, length or 0, request_headers=cast(Any, dict(headers))
            )
        except S3Error as error:
            if error.code == "InvalidRange":
                raise _PastEndError from None
            raise
        try:
            yield response
        except HTTPError as error:
            raise _BrokenError(error) from error
        finally:
            response.close()
            response.release_conn()

    def _client(self) -> Minio:
        return _client(self._settings, os.getpid())

    def _name(self, key: str) -> str:
        return self._prefix + "/".join(object_keys.parts(key))

    def _place(self) -> str:
        return f"s3://{self._bucket}"

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except S3Error as error:
            if error.code in ("NoSuchKey", "NoSuchObject"):
                raise NotFoundError(f"there is no object '{key}' in {self._place()}/{self._prefix}") from None
            self._raise(error)
        except (MinioException, HTTPError, OSError) as error:
            self._raise(error)
        except ValueError as error:
            raise BadInputError(self._place(), str(error), remedy="correct SHELVER_OBJECTS") from None

    def _raise(self, error: Exception) -> NoReturn:
        server = self._settings.endpoint or "AWS"
        if isinstance(error, S3Error) and error.code == "NoSuchBucket":
            reason = "there is no such bucket; make it, or correct its name"
        elif isinstance(error, S3Error) and error.code in _REFUSALS:
            reason = "; ".join(_refused(error))
        elif isinstance(error, S3Error) and error.code == "PreconditionFailed":
            reason = "an object was replaced while it was read; read it again"
        elif isinstance(error, S3Error):
            reason = f"{error.code}: {error.message}"
        else:
            reason = f"no answer ({type(error).__name__}); is the server up?"
        raise StoreUnavailableError(f"{self._place()} at {server}: {reason}") from error


class _PastEndError(Exception):
    """The range begins where the object ends."""


class _BrokenError(Exception):
    """The connection broke while a body came."""

    def __init__(self, cause: HTTPError) -> None:
        self.cause = cause


@lru_cache(maxsize=16)
def _client(settings: S3Settings, process: int) -> Minio:  # noqa: ARG001 - connections are not shared over a fork
    """The client of this process. Raises BadInputError for settings that name no server or no credentials."""
    address = urlsplit(settings.endpoint or f"https://s3.{settings.region}.amazonaws.com")
    if address.scheme not in ("http", "https") or not address.netloc or address.path.strip("/"):
        remedy = "such as https://s3.example:9000"
        raise BadInputError("SHELVER_S3_ENDPOINT", "it is no http(s)://HOST[:PORT]", remedy=remedy)
    if settings.ca_file and not Path(settings.ca_file).is_file():
        raise BadInputError("SHELVER_S3_CA_FILE", f"there is no file {settings.ca_file}", remedy="correct or unset it")
    trust = ssl.create_default_context()
    if settings.ca_file:
        trust.load_verify_locations(settings.ca_file)
    pool = urllib3.PoolManager(
        maxsize=_CONNECTIONS,
        timeout=urllib3.Timeout(connect=settings.connect_seconds, read=settings.read_seconds),
        retries=urllib3.Retry(
            max(settings.tries - 1, 0), backoff_factor=_BACK_OFF, status_forcelist=_OVERLOADED, allowed_methods=None
        ),
        ssl_context=trust,
    )
    client = Minio(
        address.netloc,
        secure=address.scheme == "https",
        region=settings.region,
        credentials=_credentials(settings),
        http_client=pool,
    )
    if not settings.path_style:
        client.enable_virtual_style_endpoint()  # type: ignore[no-untyped-call]
    return client


def _credentials(settings: S3Settings) -> AWSConfigProvider | EnvAWSProvider:
    if settings.credentials_file:
        provider: AWSConfigProvider | EnvAWSProvider = AWSConfigProvider(settings.credentials_file)
        where, remedy = settings.credentials_file, "write aws_access_key_id and aws_secret_access_key under [default]"
    else:
        provider = EnvAWSProvider()
        where, remedy = "AWS_ACCESS_KEY_ID", "set it and AWS_SECRET_ACCESS_KEY, or SHELVER_S3_CREDENTIALS_FILE"
    try:
        found = provider.retrieve()
    except ValueError:
        found = None
    if found is None or not found.access_key or not found.secret_key:
        raise BadInputError(where, "there are no credentials of S3", remedy=remedy)
    return provider


def _refused(error: S3Error) -> tuple[str, str]:
    return f"the server refuses the credentials ({error.code})", "correct them, or give them rights to the bucket"


def _no_bucket(error: S3Error) -> S3Error:
    return S3Error(error.response, "NoSuchBucket", "", "", "", "")
