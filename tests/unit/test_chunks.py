from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import chunks, states
from shared.domain.chunks import PackProducts
from shared.domain.errors import ConflictError
from shared.domain.records import Chunk

products = st.lists(st.tuples(st.integers(1, 6), st.integers(20, 40), st.integers(0, 9)), max_size=40)


def pack_of(number: int, rows: list[tuple[int, int, int]]) -> PackProducts:
    """Rows are images, length and the gap before the product."""
    images, length, gap = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    offset = np.cumsum(gap) + np.cumsum(length) - length
    return PackProducts(number, offset, length, np.concatenate([[0], np.cumsum(images)]).astype(np.int64))


@given(st.lists(products, min_size=1, max_size=3), st.integers(1, 20))
def test_chunks_hold_every_product_once_in_dump_order(rows: list[list[tuple[int, int, int]]], most: int) -> None:
    packs = [pack_of(number, pack) for number, pack in enumerate(rows)]
    planned = list(chunks.plan("j", packs, most))
    assert [chunk.position for chunk in planned] == list(np.cumsum([0] + [chunk.products for chunk in planned])[:-1])
    assert sum(chunk.products for chunk in planned) == sum(map(len, rows))
    assert sum(chunk.images for chunk in planned) == sum(images for pack in rows for images, _, _ in pack)
    assert all(chunk.images <= most or chunk.products == 1 for chunk in planned)
    for one, other in pairwise(planned):
        joined = one.images + rows[other.pack][chunks.locate(other, packs[other.pack])][0]
        assert one.pack != other.pack or joined > most, "a chunk takes all that fits"


@given(products.filter(lambda rows: len(rows) > 1), st.data())
def test_children_divide_their_parent(rows: list[tuple[int, int, int]], data: st.DataObject) -> None:
    pack = pack_of(0, rows)
    whole = list(chunks.plan("j", [pack], 60))
    parent = data.draw(st.sampled_from(whole))
    if parent.products == 1:
        with pytest.raises(ConflictError, match="one product"):
            chunks.cuts(parent)
        return
    parent = states.split(parent, cuts=chunks.cuts(parent), done=3)
    children = chunks.children(parent, pack)
    assert children == chunks.children(parent, pack)
    assert 2 <= len(children) <= 8
    assert max(c.products for c in children) - min(c.products for c in children) <= 1
    assert [c.position for c in children] == list(parent.cuts)
    assert (sum(c.products for c in children), sum(c.images for c in children)) == (parent.products, parent.images)
    assert children[0].offset == parent.offset
    assert children[-1].offset + children[-1].length == parent.offset + parent.length
    assert all(c.solo and c.parent == parent.id and c.done_before == 3 and c.state == "pending" for c in children)
    assert len({c.id for c in [*whole, *children]}) == len(whole) + len(children)


def test_an_id_depends_on_job_and_place_alone() -> None:
    rows = [(1, 20, 0)] * 6
    first = list(chunks.plan("j", [pack_of(0, rows)], 2))
    assert [c.id for c in first] == [c.id for c in chunks.plan("j", [pack_of(0, rows)], 2)]
    assert {c.id for c in first}.isdisjoint(c.id for c in chunks.plan("other", [pack_of(0, rows)], 2))
    assert {c.id for c in first}.isdisjoint(c.id for c in chunks.plan("j", [pack_of(1, rows)], 2))


def test_a_product_larger_than_a_chunk_is_a_chunk() -> None:
    planned = list(chunks.plan("j", [pack_of(0, [(2, 20, 0), (9, 20, 0), (2, 20, 0)])], 4))
    assert [chunk.images for chunk in planned] == [2, 9, 2]


def test_a_chunk_that_is_not_in_the_index_is_refused() -> None:
    pack = pack_of(0, [(1, 20, 0)] * 3)
    stranger = Chunk(id="c", job="j", pack=0, offset=7, length=20, position=0, products=1, images=1)
    with pytest.raises(ConflictError, match="does not lie"):
        chunks.locate(stranger, pack)
    too_long = Chunk(id="c", job="j", pack=0, offset=40, length=40, position=2, products=2, images=2)
    with pytest.raises(ConflictError, match="does not lie"):
        chunks.locate(too_long, pack)


def test_a_chunk_of_no_images_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        list(chunks.plan("j", [], 0))


def test_a_chunk_is_blamed_again_only_after_all_else_was_tried() -> None:
    rows = list(chunks.plan("j", [pack_of(0, [(1, 20, 0)] * 12)], 2))
    small = replace(rows[0], products=1)
    lost = [replace(rows[1], solo=True, losses=1), replace(small, solo=True), replace(rows[3], solo=True), rows[4]]
    assert chunks.in_order(lost) == [rows[4], lost[2], lost[1], lost[0]]
