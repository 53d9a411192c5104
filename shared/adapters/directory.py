"""Objects in a directory: one file per key, written beside the store and renamed into place. Local disk only."""

import fcntl
import io
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from shared.adapters import object_keys
from shared.adapters.growing_file import GrowingFile
from shared.domain.errors import NotFoundError, StoreUnavailableError

_PARTIAL = ".partial"  # where files grow; no key starts with a dot
_MOVES = 100  # tries to move a file into a folder that deletes remove as empty meanwhile


class DirectoryObjects:
    """The embedded object store. Instances hold no open files, so they may be pickled and shared."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, content: bytes | Iterable[bytes | memoryview]) -> int:
        """Store `content` under `key`, replacing what was there, return its size; if it raises, nothing is stored."""
        path = self._path(key)
        with _translated(self._root):
            partial, file = self._new_partial()
        try:
            with file, GrowingFile(file.fileno()) as growing:
                for block in [content] if isinstance(content, bytes) else content:
                    with _translated(partial):
                        growing.write(block)
                with _translated(path):
                    growing.finish()
                    size = file.tell()
                    os.fsync(file.fileno())
                    _move(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return size

    @contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        """The object as a seekable stream. Raises NotFoundError."""
        with self._found(key):
            file = self._path(key).open("rb")
        with file:
            yield file

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """`length` bytes from `offset` (all of it by default), fewer at the end. Raises NotFoundError."""
        with self._found(key), self._path(key).open("rb", buffering=0) as file:
            file.seek(offset)
            if length is None:
                return file.readall()
            blocks: list[bytes] = []
            while length > 0 and (block := file.read(length)):
                blocks.append(block)
                length -= len(block)
            return b"".join(blocks)  # of one, as almost always, it is that one and no copy

    def size(self, key: str) -> int:
        """Bytes of the object. Raises NotFoundError."""
        with self._found(key):
            path = self._path(key)
            if not path.is_file():
                raise FileNotFoundError
            return path.stat().st_size

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        with _translated(self._root):
            return self._path(key).is_file()

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that start with `prefix`, sorted."""
        folder = prefix.rpartition("/")[0]
        with _translated(self._root):
            found = []
            for place, folders, names in os.walk(self._path(folder) if folder else self._root):
                folders[:] = [name for name in folders if not name.startswith(".")]
                base = Path(place).relative_to(self._root).as_posix()
                found += [name if base == "." else f"{base}/{name}" for name in names]
        return iter(sorted(key for key in found if key.startswith(prefix)))

    def delete(self, key: str) -> None:
        """Remove the object and the folders that it leaves empty; not being there is fine."""
        path = self._path(key)
        with _translated(path):
            try:
                path.unlink(missing_ok=True)
            except (IsADirectoryError, NotADirectoryError):
                return
            with suppress(OSError):  # the first folder that is not empty, or gone
                for folder in path.parents:
                    if folder == self._root:
                        break
                    folder.rmdir()

    def _path(self, key: str) -> Path:
        return self._root.joinpath(*object_keys.parts(key))

    @contextmanager
    def _found(self, key: str) -> Iterator[None]:
        with _translated(self._path(key)):
            try:
                yield
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                raise NotFoundError(f"there is no object '{key}' in {self._root}") from None

    def _new_partial(self) -> tuple[Path, io.FileIO]:
        """A locked file to write to. The lock dies with its process: files without one are left-overs."""
        folder = self._root / _PARTIAL
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.iterdir():
            _remove_unlocked(left)
        while True:
            path = folder / secrets.token_hex(8)
            file = path.open("xb", buffering=0)
            fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists():  # else someone took it for a left-over before it was locked
                return path, file
            file.close()


def abandoned(root: Path) -> list[Path]:
    """Files of interrupted puts into the store at `root`: what is being written is locked."""
    folder = root / _PARTIAL
    return [path for path in sorted(folder.iterdir()) if _is_unlocked(path)] if folder.is_dir() else []


def _is_unlocked(path: Path) -> bool:
    with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _remove_unlocked(path: Path) -> None:
    with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


def _move(partial: Path, path: Path) -> None:
    for attempt in range(_MOVES):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(path)
            return
        except (FileExistsError, FileNotFoundError):
            if attempt == _MOVES - 1:
                raise


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailableError(f"{path}: {error.strerror or error}; check the disk and its permissions") from error
