import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import label_sets, taxonomy
from shared.domain.duplicates import Overrides
from shared.domain.label_sets import LabelSets, canonical, set_id

TABLE = taxonomy.build([70, 20, 50, 10], [("a", "b", str(number)) for number in range(4)])
of_labels = st.lists(st.sampled_from(TABLE.category_ids.tolist()), max_size=6).map(canonical)


def built(sets: list[tuple[int, ...]]) -> LabelSets:
    return label_sets.build(label_sets.merge([{set_id(one): one for one in sets}]), TABLE)


def test_a_set_has_one_number_however_it_is_written() -> None:
    assert canonical([30, 10, 30]) == canonical((10, 30)) == (10, 30)
    assert set_id((10, 30)) == 981669006411181208
    numbers = [set_id(one) for one in [(), (10,), (30,), (10, 30), (10, 30, 50)]]
    assert len(set(numbers)) == 5
    assert all(0 <= number < 2**63 for number in numbers)


def test_two_sets_of_one_number_are_refused() -> None:
    assert label_sets.merge([{5: (1,)}, {3: (), 5: (1,)}]) == {3: (), 5: (1,)}
    with pytest.raises(ValueError, match="have one number"):
        label_sets.merge([{5: (1,)}, {5: (2,)}])


@given(st.lists(of_labels, min_size=1, unique=True), st.data())
def test_a_row_says_which_labels_its_set_has(sets: list[tuple[int, ...]], data: st.DataObject) -> None:
    found = built(sets)
    assert (found.classes, found.labels) == (len(sets), 4)
    chosen = data.draw(st.lists(st.sampled_from([*sets, None]), max_size=5))
    numbers = np.array([-1 if one is None else set_id(one) for one in chosen], dtype=np.int64)
    rows = found.index_of(numbers)
    dense = np.zeros((len(chosen), 4))
    for place, one in enumerate(chosen):
        assert (rows[place] >= 0) == (one is not None)
        for label in one or ():
            dense[place, TABLE.category_ids.tolist().index(label)] = 1
    np.testing.assert_array_equal(found.dense(rows), dense)
    assert [found.of(row) for row in rows if row >= 0] == [np.flatnonzero(d).tolist() for d in dense[rows >= 0]]


@given(st.lists(of_labels, min_size=1, unique=True), st.data())
def test_spread_overrides_are_sums_over_sets(sets: list[tuple[int, ...]], data: st.DataObject) -> None:
    found = built(sets)
    entries = data.draw(st.lists(st.lists(st.integers(0, len(sets) - 1), unique=True), max_size=4))
    flat = np.array([row for some in entries for row in some], dtype=np.int32)
    start = np.concatenate([[0], np.cumsum([len(some) for some in entries])]).astype(np.int64)
    value = np.arange(1, len(flat) + 1, dtype=np.float32)
    known, base = np.diff(start) > 0, np.zeros(len(entries), np.float32)
    spread = found.spread(Overrides(known, base, start, flat, value))
    np.testing.assert_array_equal(spread.known, known)
    for image in range(len(entries)):
        dense = np.zeros(4)
        dense[spread.class_index[spread.start[image] : spread.start[image + 1]]] = spread.value[
            spread.start[image] : spread.start[image + 1]
        ]
        mine = slice(start[image], start[image + 1])
        np.testing.assert_array_equal(dense, value[mine] @ found.dense(flat[mine]))
