from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.errors import BadInputError
from shared.domain.taxonomy import Taxonomy, build, parse

HEADER = b"category_id,category_level1,category_level2,category_level3\n"
GROCERY = Path(__file__).parents[2] / "examples" / "grocery" / "category_names.csv"

names = st.sampled_from(["A", "B", "C"])
paths = st.lists(st.tuples(names, names, names), min_size=1, max_size=20)


def numbered(tree: list[tuple[str, str, str]]) -> Taxonomy:
    return build(range(100, 100 + len(tree)), tree)


def test_class_index_is_row_order() -> None:
    taxonomy = parse(HEADER + b"7,A,B,C\n3,A,B,D\n", "c.csv")
    assert taxonomy.category_ids.tolist() == [7, 3]
    assert taxonomy.paths == (("A", "B", "C"), ("A", "B", "D"))
    assert taxonomy.index_of(np.array([3, 7, 5, 9, -1])).tolist() == [1, 0, -1, -1, -1]


def test_the_grocery_table_has_twelve_classes() -> None:
    taxonomy = parse(GROCERY.read_bytes(), str(GROCERY))
    assert taxonomy.classes == 12
    assert taxonomy.index_of(taxonomy.category_ids).tolist() == list(range(12))


def test_names_that_repeat_across_branches_are_different_nodes() -> None:
    taxonomy = numbered([("A", "X", "Z"), ("B", "X", "Z"), ("A", "X", "Y")])
    assert [nodes.tolist() for nodes in taxonomy.node_of] == [[0, 1, 0], [0, 1, 0], [0, 1, 2]]
    assert taxonomy.nodes[1] == (("A", "X"), ("B", "X"))


@given(paths)
@settings(max_examples=50)
def test_nodes_are_full_paths_by_first_appearance(tree: list[tuple[str, str, str]]) -> None:
    taxonomy = numbered(tree)
    for level in range(3):
        keys = [path[: level + 1] for path in tree]
        assert taxonomy.nodes[level] == tuple(dict.fromkeys(keys))
        assert [taxonomy.nodes[level][node] for node in taxonomy.node_of[level]] == keys


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=30, unique=True), st.data())
@settings(max_examples=50)
def test_index_of_inverts_category_ids(ids: list[int], data: st.DataObject) -> None:
    taxonomy = build(ids, [("A", "B", "C")] * len(ids))
    asked = data.draw(st.lists(st.sampled_from(ids) | st.integers(-(2**62), 2**62), max_size=10))
    expected = [ids.index(i) if i in ids else -1 for i in asked]
    assert taxonomy.index_of(np.array(asked, dtype=np.int64)).tolist() == expected


def test_the_fingerprint_follows_order_ids_and_names() -> None:
    texts = [b"1,A,B,C\n2,A,B,D\n", b"2,A,B,D\n1,A,B,C\n", b"1,A,B,C\n3,A,B,D\n", b"1,A,B,C\n2,A,B,E\n"]
    fingerprints = {parse(HEADER + text, "c.csv").fingerprint for text in texts}
    assert len(fingerprints) == len(texts)


def test_spelling_of_the_file_leaves_the_fingerprint_alone() -> None:
    plain = parse(HEADER + b'1,A,"B, b",C\n', "c.csv")
    columns = b"category_level1,category_id,note,category_level2,category_level3\r\n"
    other = parse(b"\xef\xbb\xbf" + columns + b'A,1,x,"B, b",C\r\n\r\n', "c.csv")
    assert plain.fingerprint == other.fingerprint


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "c.csv: the file is empty; it needs a header line"),
        (HEADER, "c.csv: there is no category below the header"),
        (b"id,name\n1,A\n", "line 1: the header lacks category_id, category_level1"),
        (HEADER + b"1,A,B,C\n2,A,B,C\n\n1,A,B,D\n", "c.csv, line 5: category 1 is on line 2 already; keep one"),
        (HEADER + b"1,A,B,C\nx,A,B,C\n", "line 3: 'x' is no category id"),
        (HEADER + b"9223372036854775808,A,B,C\n", "line 2: '9223372036854775808' is no category id"),
        (HEADER + b"1,A,B\n", "line 2: 3 fields where the header has 4"),
        (HEADER + b"1,A,B,C\n2,\xe9,B,C\n", "line 3: byte 70 is not UTF-8; save the file as UTF-8"),
        (HEADER.decode().encode("utf-16"), "line 1: byte 0 is not UTF-8"),
        (HEADER + b'1,A,B,"C\n', "line 2: unexpected end of data"),
    ],
)
def test_a_bad_file_is_refused_with_line_and_remedy(content: bytes, says: str) -> None:
    with pytest.raises(BadInputError) as refusal:
        parse(content, "c.csv")
    assert says in str(refusal.value)
    assert refusal.value.remedy
