import numpy as np

from services.reports.answers import NO_ANSWER, CategoryColumns, collect
from shared.domain.records import Outcome
from shared.labels import Labels

LABELS = Labels("labels.csv", np.array([5, 7, 9]), np.array([30, 10, 20]), np.array([2, 3, 4]))
KNOWN = np.array([2, 0, 1])


def outcome(product, **more):
    return Outcome(job="j", product=product, position=product, chunk="c", **more)


def says(class_index, *best):
    return {"class_index": class_index, "probability": 0.25, "top": [[one, 0.1] for one in best]}


def test_only_labelled_products_in_the_order_of_the_job():
    found = collect(
        (outcome(product) for product in [9, 8, 5, 1, 4000]), LABELS, KNOWN, ["all"], CategoryColumns, alone=False
    )
    assert len(found) == 2
    assert found.product_id.tolist() == [9, 5]
    assert found.label.tolist() == [2, 0]
    assert found.known.tolist() == [1, 2]


def test_what_each_combination_says():
    rows = [
        outcome(5, source="image duplicate", predictions={"one": says(2, 2), "all": says(1, 1, 0)}),
        outcome(
            7, predictions={"one": says(1, 1, 2, 0), "all": says(0, 0)}, model_only={"one": says(0), "all": says(1)}
        ),
        outcome(9, error="not read"),
    ]
    found = collect(rows, LABELS, KNOWN, ["one", "all"], CategoryColumns, alone=True)
    assert found.source.tolist() == [1, 0, NO_ANSWER]
    one, every = found.with_duplicates["one"], found.with_duplicates["all"]
    assert (one.class_index.tolist(), every.class_index.tolist()) == ([2, 1, NO_ANSWER], [1, 0, NO_ANSWER])
    assert one.probability.tolist() == [0.25, 0.25, 0.0]
    assert (one.among_best.tolist(), every.among_best.tolist()) == ([True, True, False], [False, True, False])
    assert found.without_duplicates["one"].class_index.tolist() == [NO_ANSWER, 0, NO_ANSWER]
    kept = one.take(np.array([1, 2]))
    assert (kept.class_index.tolist(), kept.probability.tolist()) == ([1, NO_ANSWER], [0.25, 0.0])


def test_decisions_and_the_nodes_where_they_stop():
    nodes = {"nodes": [[3, 0.9], [5, 0.8], [7, 0.7]]}
    rows = [
        outcome(5, predictions={"all": says(1, 1) | nodes | {"decision": "level 2"}}),
        outcome(7, predictions={"all": says(1, 1) | nodes | {"decision": "level 1"}}),
        outcome(9, predictions={"all": says(1, 1) | nodes | {"decision": "review"}}, model_only={"all": says(1, 1)}),
    ]
    found = collect(rows, LABELS, KNOWN, ["all"], CategoryColumns, alone=True)
    both = found.with_duplicates["all"]
    assert (both.decision.tolist(), both.stop.tolist()) == ([1, 2, 3], [5, 3, NO_ANSWER])
    assert found.without_duplicates["all"].decision.tolist() == [NO_ANSWER] * 3
    kept = both.take(np.array([1]))
    assert (kept.decision.tolist(), kept.stop.tolist()) == ([2], [3])


def test_the_sixth_best_is_not_among_the_best_five():
    labels = Labels("labels.csv", np.array([1, 2]), np.array([4, 5]), np.array([2, 3]))
    rows = [outcome(product, predictions={"all": says(0, 0, 1, 2, 3, 4, 5)}) for product in (1, 2)]
    found = collect(rows, labels, labels.category_id, ["all"], CategoryColumns, alone=False)
    assert found.with_duplicates["all"].among_best.tolist() == [True, False]


def test_pages_of_any_number_of_outcomes():
    ids = np.arange(4500, dtype=np.int64)
    labels = Labels("labels.csv", ids, np.full(len(ids), 10), ids + 2)
    rows = (outcome(int(product)) for product in ids[::-1])
    found = collect(rows, labels, np.zeros_like(ids), ["all"], CategoryColumns, alone=True)
    assert found.product_id.tolist() == ids[::-1].tolist()
    assert set(found.without_duplicates["all"].class_index.tolist()) == {NO_ANSWER}
