import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.predictions import from_plain, one_hot, predict, to_plain
from shared.domain.taxonomy import Taxonomy, build

names = st.sampled_from(["A", "B"])


@st.composite
def cases(draw: st.DrawFn) -> tuple[Taxonomy, list[float], int]:
    paths = draw(st.lists(st.tuples(names, names, names), min_size=1, max_size=10))
    sixteenths = draw(st.lists(st.integers(0, 3), min_size=len(paths), max_size=len(paths)).filter(any))
    ids = draw(st.permutations(range(50, 50 + len(paths))))
    total = 2 ** math.ceil(math.log2(sum(sixteenths)))  # dyadic shares: sums are exact, so ties are ties
    p = [s / total for s in sixteenths]
    p[p.index(max(p))] += 1 - sum(p)
    return build(ids, paths), p, draw(st.integers(1, 12))


@given(cases())
@settings(max_examples=200)
def test_a_prediction_agrees_with_sorting_and_sums_in_plain_numbers(case: tuple[Taxonomy, list[float], int]) -> None:
    taxonomy, p, top_k = case
    (prediction,) = predict(np.array([p]), taxonomy, top_k)
    ranked = sorted(range(len(p)), key=lambda c: (-p[c], c))
    assert prediction.class_index == ranked[0]
    assert prediction.category_id == taxonomy.category_ids[ranked[0]]
    assert prediction.probability == p[ranked[0]]
    assert prediction.top == tuple((c, p[c]) for c in ranked[:top_k] if p[c] > 0)
    for level, best in enumerate(prediction.nodes):
        sums = [0.0] * len(taxonomy.nodes[level])
        for c, node in enumerate(taxonomy.node_of[level].tolist()):
            sums[node] += p[c]
        assert best == (sums.index(max(sums)), max(sums))
    assert prediction.margin == p[ranked[0]] - (p[ranked[1]] if len(p) > 1 else 0)
    assert prediction.entropy == round(prediction.entropy, 7)
    assert prediction.entropy == pytest.approx(-sum(q * math.log(q) for q in p if q), abs=5.1e-8)


def test_one_hot_is_the_prediction_of_a_one_hot_vector() -> None:
    taxonomy = build([7, 5, 9], [("A", "B", "C"), ("A", "B", "D"), ("E", "B", "C")])
    assert [one_hot(c, taxonomy) for c in range(3)] == predict(np.eye(3, dtype=np.float32), taxonomy, 3)


def test_rows_are_independent_of_their_neighbours() -> None:
    taxonomy = build(range(6), [("A", "B", str(c)) for c in range(6)])
    p = np.random.default_rng(0).dirichlet(np.ones(6), size=20).astype(np.float32)
    alone = [prediction for row in p for prediction in predict(row[None], taxonomy, 4)]
    assert predict(p, taxonomy, 4) == alone
    assert predict(p[:0], taxonomy, 4) == []


def test_the_plain_form_survives_json() -> None:
    taxonomy = build(range(9), [("A", str(c // 3), str(c)) for c in range(9)])
    p = np.random.default_rng(0).dirichlet(np.ones(9), size=5).astype(np.float32)
    for prediction in predict(p, taxonomy, 4):
        assert from_plain(json.loads(json.dumps(to_plain(prediction)))) == prediction


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=2))
def test_numbers_have_seven_decimals_as_python_rounds_them(p: list[float]) -> None:
    taxonomy = build(range(2), [("A", "B", "C"), ("D", "E", "F")])
    (prediction,) = predict(np.array([p], dtype=np.float32), taxonomy, 2)
    best, other = sorted(p, reverse=True)
    assert [probability for _, probability in prediction.top] == [round(q, 7) for q in (best, other) if q or q is best]
    assert prediction.margin == round(best - other, 7)
