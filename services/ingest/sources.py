"""Where products come from: a dump, plain or gzipped or on standard input, or pictures (a folder or a CSV)."""

import gzip
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from services.ingest.picture_sources import PictureSource, open_csv, open_folder
from shared.domain.errors import BadInputError
from shared.domain.taxonomy import Taxonomy
from shared.dumps import S3, Buckets, Dump, FileDump, file_identity, locate

KINDS = "a .bson or .bson.gz dump, '-' for standard input, a folder of class folders, or a .csv"
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Categories:
    """A category file: its bytes, and what they say."""

    content: bytes
    taxonomy: Taxonomy


@dataclass(frozen=True, slots=True)
class Source:
    """A source that is open: a `dump`, of which ranges can be read, or else a stream of BSON from `read(n)`."""

    name: str
    identity: str
    size: int | None = None
    dump: Dump | None = None
    read: Callable[[int], bytes] = field(default=lambda _: b"")
    pictures: PictureSource | None = None

    def place(self, offset: int, reason: str) -> tuple[str, str]:
        """(position, reason) of a bad document, in the words of the source."""
        return (f"offset {offset}", reason) if self.pictures is None else self.pictures.place(offset, reason)


@contextmanager
def open_source(name: str, taxonomy: Taxonomy | None, buckets: Buckets) -> Iterator[Source]:
    """The source called `name`. Raises BadInputError if it cannot be read."""
    with ExitStack() as files:
        try:
            source = _source(name, taxonomy, buckets, files)
        except OSError as error:
            reason = f"cannot be read: {error.strerror or error}"
            raise BadInputError(name, reason, remedy="check its permissions") from None
        yield source


def _source(name: str, taxonomy: Taxonomy | None, buckets: Buckets, files: ExitStack) -> Source:
    if name == "-":
        return Source("standard input", "", read=sys.stdin.buffer.read)
    if name.startswith(S3):
        return of_dump(name, locate(name, buckets))
    path = Path(name)
    if path.is_dir():
        pictures = open_folder(path, taxonomy)
        return Source(name, pictures.identity, read=pictures.read, pictures=pictures)
    if not path.is_file():
        raise BadInputError(name, "there is no such file or folder", remedy=f"give {KINDS}")
    if path.stat().st_size == 0:
        raise BadInputError(name, "the file is empty", position="offset 0", remedy="copy or make it again")
    if name.endswith(".csv"):
        pictures = open_csv(path, file_identity(path))
        return Source(name, pictures.identity, read=pictures.read, pictures=pictures)
    if name.endswith(".gz"):
        _check_gzip(name, path)
        return Source(name, file_identity(path), read=_gzip_reader(name, files.enter_context(gzip.open(path, "rb"))))
    with path.open("rb"):  # whoever reads ranges opens it anew
        return of_dump(name, FileDump(path))


def of_dump(name: str, dump: Dump) -> Source:
    """The source that is a plain dump."""
    return Source(name, dump.identity(), dump.size(), dump)


def _check_gzip(name: str, path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(_GZIP)) != _GZIP:
            remedy = "take .gz off its name, or copy or make it again"
            raise BadInputError(name, "this is not gzip data", position="offset 0", remedy=remedy)


def _gzip_reader(name: str, file: gzip.GzipFile) -> Callable[[int], bytes]:
    def read(count: int) -> bytes:
        try:
            return file.read(count)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            position = f"offset {file.tell()} of the unpacked dump"
            reason = f"its gzip data is damaged: {error}"
            raise BadInputError(name, reason, position=position, remedy="copy or make it again") from None

    return read
