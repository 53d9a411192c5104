"""Where a dump lies: a file, or an object of any bucket; read by byte ranges, so that many processes share one."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from shared.domain.errors import BadInputError, NotFoundError
from shared.ports import Objects

S3 = "s3://"
_END_BYTES = 2**16  # of either end: what their digest covers

Buckets = Callable[[str], Objects]
"""The objects of a bucket by its name; it need not be the store's."""

Reader = Callable[[memoryview], int | None]
"""`readinto` of a source: fills what it is given from the start and returns how many bytes, 0 at the end."""


class Dump(Protocol):
    """A dump that may be read from any offset, by several processes at once."""

    def size(self) -> int:
        """Bytes. Raises BadInputError where it is gone."""

    def identity(self) -> str:
        """What tells that it is still the same. Raises BadInputError where it is gone."""

    def open(self, offset: int) -> AbstractContextManager[Reader]:
        """Read on from `offset`; may raise OSError."""


@dataclass(frozen=True, slots=True)
class FileDump:
    """A dump in a file."""

    path: Path

    def size(self) -> int:
        """See Dump."""
        return _status(self.path)[0]

    def identity(self) -> str:
        """Its size and modification time."""
        return file_identity(self.path)

    @contextmanager
    def open(self, offset: int) -> Iterator[Reader]:
        """See Dump."""
        with self.path.open("rb", buffering=0) as file:
            file.seek(offset)
            yield file.readinto


@dataclass(frozen=True, slots=True)
class ObjectDump:
    """A dump in a bucket."""

    name: str
    objects: Objects
    key: str

    def size(self) -> int:
        """See Dump."""
        try:
            return self.objects.size(self.key)
        except NotFoundError:
            raise _missing(self.name) from None

    def identity(self) -> str:
        """Its size and a digest of its ends: no server's notion of a version is relied upon."""
        size = self.size()
        ends = self.objects.read(self.key, 0, _END_BYTES) + self.objects.read(self.key, max(0, size - _END_BYTES))
        return f"{size} bytes, ends {sha256(ends).hexdigest()[:16]}"

    @contextmanager
    def open(self, offset: int) -> Iterator[Reader]:
        """One ranged read per block."""
        at = offset

        def read_into(room: memoryview) -> int:
            nonlocal at
            block = self.objects.read(self.key, at, len(room))
            room[: len(block)] = block
            at += len(block)
            return len(block)

        yield read_into


def locate(name: str, buckets: Buckets) -> Dump:
    """The dump called `name`, a path or s3://BUCKET/KEY. Raises BadInputError for what is not there or is empty."""
    if name.startswith(S3):
        bucket, _, key = name.removeprefix(S3).partition("/")
        if not bucket or not key:
            raise BadInputError(name, "it names no object", remedy="give s3://BUCKET/KEY")
        dump: Dump = ObjectDump(name, buckets(bucket), key)
    else:
        dump = FileDump(Path(name))
    if dump.size() == 0:
        raise BadInputError(name, "the file is empty", position="offset 0", remedy="copy or make it again")
    return dump


def read(name: str, buckets: Buckets, most: int) -> bytes:
    """All bytes of a small file or object. Raises BadInputError for one that is not there, or of more than `most`."""
    dump = locate(name, buckets)
    size = dump.size()
    if size > most:
        raise BadInputError(name, f"it has {size} bytes, more than {most}", remedy="name another file")
    content = bytearray(size)
    try:
        with dump.open(0) as read_into:
            done = 0
            while done < size and (count := read_into(memoryview(content)[done:])):
                done += count
    except OSError as error:
        raise _unreadable(name, error) from None
    return bytes(content[:done])


def blocks(name: str, dump: Dump, block_bytes: int = 4 * 2**20) -> Iterator[bytes]:
    """All bytes in order. Raises BadInputError where they cannot be read."""
    room = bytearray(block_bytes)
    try:
        with dump.open(0) as read_into:
            while count := read_into(memoryview(room)):
                yield bytes(room[:count])
    except OSError as error:
        raise _unreadable(name, error) from None


def file_identity(path: Path) -> str:
    """What tells that a file is still the same: its size and modification time. Raises BadInputError."""
    size, modified = _status(path)
    return f"{size} bytes, modified {modified}"


def _status(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
        if not path.is_file():
            raise _missing(str(path))
    except FileNotFoundError:
        raise _missing(str(path)) from None
    except OSError as error:
        raise _unreadable(str(path), error) from None
    return status.st_size, status.st_mtime_ns


def _missing(name: str) -> BadInputError:
    return BadInputError(name, "there is no such file", remedy="check its name")


def _unreadable(name: str, error: OSError) -> BadInputError:
    return BadInputError(name, f"cannot be read: {error.strerror or error}", remedy="check its permissions")
