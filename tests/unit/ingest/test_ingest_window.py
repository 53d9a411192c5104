import io
import random

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.window import Window, find_start
from shared.domain.errors import FailedError


def document(number: int, size: int) -> bytes:
    return bson.encode({"_id": number, "imgs": [{"picture": bytes(size)}]})


def window(content: bytes, base: int = 0, block_bytes: int = 64) -> Window:
    return Window(io.BytesIO(content[base:]).readinto, base, block_bytes)


sizes = st.lists(st.integers(0, 300), min_size=1, max_size=20)


@given(sizes, st.binary(max_size=50), st.data())
@settings(max_examples=100)
def test_from_any_place_the_next_document_is_found(lengths: list[int], damage: bytes, data: st.DataObject) -> None:
    parts = [damage, *(document(number, size) for number, size in enumerate(lengths))]
    starts = [sum(map(len, parts[:place])) for place in range(1, len(parts))]
    content = b"".join(parts)
    position = data.draw(st.integers(0, starts[-1]))
    block = data.draw(st.sampled_from([16, 50, 10_000]))
    found = find_start(window(content, position, block), position, 3)
    assert found == min(start for start in starts if start >= position)


@given(sizes, st.integers(1, 400))
@settings(max_examples=50)
def test_none_is_found_at_the_limit_or_after_it(lengths: list[int], limit: int) -> None:
    content = b"".join(document(number, size) for number, size in enumerate(lengths))
    starts = [0, len(document(0, lengths[0]))]
    expected = starts[1] if len(lengths) > 1 and starts[1] < limit else None
    assert find_start(window(content, 1), 1, 1, limit) == expected or limit > starts[1] + 5


def test_a_document_within_a_picture_is_not_taken_for_one() -> None:
    inner = b"".join(document(number, 10) for number in range(3))
    content = b"\0\0" + bson.encode({"_id": 1, "imgs": [{"picture": inner + b"\1"}]}) + document(2, 5) + document(3, 5)
    start = 2 + content[2:].index(inner)
    assert find_start(window(content, start - 1), start - 1, 8) == len(content) - len(document(2, 5) + document(3, 5))
    assert find_start(window(content, start - 1), start - 1, 3) == start


def test_nothing_is_found_in_noise() -> None:
    content = random.Random(4).randbytes(5000)
    assert find_start(window(content), 0, 8) is None


def test_a_truncated_document_is_no_start() -> None:
    content = document(1, 50)[:-1]
    assert find_start(window(content), 0, 8) is None


def test_a_search_keeps_only_the_last_blocks() -> None:
    noise = window(bytes(100_000), block_bytes=1000)
    assert find_start(noise, 0, 8) is None
    assert len(noise.data) < 3000


def test_a_source_that_breaks_off_is_named_with_the_offset() -> None:
    def read(room: memoryview) -> int:
        raise OSError(5, "Input/output error")

    with pytest.raises(FailedError, match="at offset 7: Input/output error"):
        Window(read, 7, 100).grow()
