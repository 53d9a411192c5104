from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import labels
from shared.domain import taxonomy
from shared.domain.errors import BadInputError
from shared.packs import NO_CATEGORY

TABLE = taxonomy.build([10, 20, -30], [("a", "b", "c"), ("a", "b", "d"), ("a", "e", "f")])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "labels.csv"


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.integers(-(2**63) + 1, 2**63 - 1), st.sampled_from([10, 20, -30, None]), min_size=1).flatmap(
        lambda known: st.tuples(st.just(known), st.lists(st.sampled_from(sorted(known)), max_size=5))
    ),
    st.booleans(),
)
def test_it_is_a_dictionary_in_arrays(
    path: Path, given_labels: tuple[dict[int, int | None], list[int]], spare: bool
) -> None:
    known, again = given_labels
    rows = [(product, "" if known[product] is None else known[product]) for product in [*known, *again]]
    header = "note,category_id,_id" if spare else "_id,category_id"
    lines = [f"x,{category},{product}" if spare else f"{product},{category}" for product, category in rows]
    path.write_text("\n".join([header, *lines, ""]))
    found = labels.read(path, TABLE, removals=True)
    assert found.product_id.tolist() == sorted(known)
    expected = [NO_CATEGORY if known[product] is None else known[product] for product in sorted(known)]
    assert found.category_id.tolist() == expected
    assert found.line.tolist() == [2 + list(known).index(product) for product in sorted(known)]
    assert {column.dtype for column in (found.product_id, found.category_id, found.line)} == {np.dtype(np.int64)}


def test_byte_order_mark_quotes_and_empty_lines_are_fine(path: Path) -> None:
    path.write_bytes(b'\xef\xbb\xbf"_id",category_id\r\n\r\n"7", 10\r\n5,"20"\r\n')
    found = labels.read(path, TABLE)
    assert (found.product_id.tolist(), found.category_id.tolist(), found.line.tolist()) == ([5, 7], [20, 10], [4, 3])


HEADER = b"_id,category_id\n"
REFUSED: list[tuple[bytes, str, str]] = [
    (b"", "line 1", "no columns _id and category_id"),
    (b"id,category\n1,10\n", "line 1", "no columns"),
    (HEADER, "", "no labels"),
    (HEADER + b"1,10\n2,\n", "line 3", "whole numbers"),
    (HEADER + b"1,10\n2\n", "line 3", "whole numbers"),
    (HEADER + b"1.5,10\n", "line 2", "whole numbers"),
    (HEADER + b"1,9223372036854775808\n", "line 2", "up to 64 bits"),
    (HEADER + b"1,-9223372036854775808\n", "line 2", "up to 64 bits"),
    (HEADER + b"1,10\n1,10\n1,20\n1,10\n", "line 4", "product 1 has two categories"),
    (HEADER + b"9,10\n1,10\n9,20\n1,20\n", "line 4", "product 9 has two categories"),
    (HEADER + b"1,10\n2,30\n0,40\n", "line 3", "category 30 is not in the category table"),
    (HEADER + b"1,10\n2,\xff\n", "line 3", "not UTF-8"),
    (HEADER + b'1,"10\n', "line 2", "unexpected end of data"),
]


@pytest.mark.parametrize(("content", "position", "reason"), REFUSED)
def test_what_is_no_label_is_refused_with_its_line(path: Path, content: bytes, position: str, reason: str) -> None:
    path.write_bytes(content)
    with pytest.raises(BadInputError) as refused:
        labels.read(path, TABLE)
    assert (refused.value.where, refused.value.position) == (str(path), position)
    assert reason in refused.value.reason
    assert refused.value.remedy


def test_a_file_that_is_not_there_is_refused(path: Path) -> None:
    with pytest.raises(BadInputError, match="No such file or directory; name a readable CSV"):
        labels.read(path, TABLE)
