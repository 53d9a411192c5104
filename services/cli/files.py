"""Files that a verb writes: they appear whole or not at all."""

import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from shared.domain.errors import BadInputError


@contextmanager
def whole(output: Path) -> Iterator[BinaryIO]:
    """A file to write, put in its place at the end; `-` is standard output. Raises BadInputError."""
    if str(output) == "-":
        with tempfile.TemporaryFile() as file:
            yield file
            file.seek(0)
            shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        return
    partial = output.with_name(f".{output.name}.{uuid.uuid4().hex[:8]}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(output)
    except OSError as error:
        raise BadInputError(str(output), error.strerror or "cannot be written", remedy="name a writable file") from None
    finally:
        partial.unlink(missing_ok=True)


def check_target(output: Path) -> None:
    """Refuse before long work what could not be written after it. Raises BadInputError."""
    folder = output.absolute().parent
    if output.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise BadInputError(str(output), "it cannot be written", remedy="name a file in a folder that can be written")
