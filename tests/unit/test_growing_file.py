import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.adapters.growing_file import GrowingFile

CONTENT = random.Random(1).randbytes(9 * 2**20 + 777)


def blocks(size: int) -> Iterator[memoryview]:
    """`CONTENT` in blocks that are void once the next is asked for."""
    room = bytearray(size)
    for at in range(0, len(CONTENT), size):
        part = CONTENT[at : at + size]
        room[: len(part)] = part
        yield memoryview(room)[: len(part)]


@pytest.mark.parametrize("size", [4096, 999_983, 2**20, 3 * 2**20 + 1, 2**23])
def test_blocks_of_any_size_lie_one_after_another(tmp_path: Path, size: int) -> None:
    with (tmp_path / "file").open("xb", buffering=0) as file, GrowingFile(file.fileno()) as growing:
        for block in blocks(size):
            growing.write(block)
        growing.finish()
        assert file.tell() == len(CONTENT)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_what_the_disk_refuses_unaligned_goes_through_the_page_cache(tmp_path: Path) -> None:
    with (tmp_path / "file").open("xb", buffering=0) as file:
        file.write(b"odd")
        with GrowingFile(file.fileno()) as growing:
            growing.write(CONTENT)
            growing.finish()
    assert (tmp_path / "file").read_bytes() == b"odd" + CONTENT


def test_a_full_disk_is_told_at_the_latest_at_the_end() -> None:
    with Path("/dev/full").open("wb", buffering=0) as file, GrowingFile(file.fileno()) as growing:
        growing.write(CONTENT[: 2**22])
        with pytest.raises(OSError, match=os.strerror(28)):
            growing.finish()
