"""Where products come from: a dump, plain or gzipped or on standard input, or pictures (a folder or a CSV)."""

import gzip
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from services.ingest.picture_sources import PictureSource, open_csv, open_folder
from shared.domain.errors import BadInputError
from shared.domain.taxonomy import Taxonomy

KINDS = "a .bson or .bson.gz dump, '-' for standard input, a folder of class folders, or a .csv"


@dataclass(slots=True)
class Source:
    """A source that is open. `read(n)` gives its bytes as one BSON stream; `path` is set where ranges can be read."""

    name: str
    identity: str
    read: Callable[[int], bytes]
    size: int | None = None
    path: Path | None = None
    pictures: PictureSource | None = field(default=None)

    def place(self, offset: int, reason: str) -> tuple[str, str]:
        """(position, reason) of a bad document, in the words of the source."""
        return (f"offset {offset}", reason) if self.pictures is None else self.pictures.place(offset, reason)


def identity(path: Path) -> str:
    """What tells that a file is still the same: its size and modification time."""
    status = path.stat()
    return f"{status.st_size} bytes, modified {status.st_mtime_ns}"


def open_source(name: str, taxonomy: Taxonomy | None) -> Source:
    """The source called `name`. Raises BadInputError if it cannot be read."""
    if name == "-":
        return Source("standard input", "", sys.stdin.buffer.read)
    path = Path(name)
    try:
        if path.is_dir():
            pictures = open_folder(path, taxonomy)
            return Source(name, pictures.identity, pictures.read, pictures=pictures)
        if not path.is_file():
            raise BadInputError(name, "there is no such file or folder", remedy=f"give {KINDS}")
        if name.endswith(".csv"):
            pictures = open_csv(path, identity(path))
            return Source(name, pictures.identity, pictures.read, pictures=pictures)
        size = path.stat().st_size
        if size == 0:
            raise BadInputError(name, "the file is empty", position="offset 0", remedy="check how it was made")
        if name.endswith(".gz"):
            return Source(name, identity(path), _gzip_reader(name, path))
        return Source(name, identity(path), path.open("rb").read, size, path)
    except OSError as error:
        raise BadInputError(
            name, f"cannot be read: {error.strerror or error}", remedy="check its permissions"
        ) from None


def _gzip_reader(name: str, path: Path) -> Callable[[int], bytes]:
    file = gzip.open(path, "rb")  # noqa: SIM115 (read to its end, or the process ends)

    def read(count: int) -> bytes:
        try:
            return file.read(count)
        except (OSError, EOFError, zlib.error) as error:
            position = f"offset {file.tell()} of the unpacked dump"
            raise BadInputError(
                name, f"its gzip data is damaged: {error}", position=position, remedy="copy or make it again"
            ) from None

    return read
