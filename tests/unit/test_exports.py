import csv
import io
import json

import pytest

from services.gateway.predictions import outcome_view
from shared import exports
from shared.domain import taxonomy
from shared.domain.fits import Fit
from shared.domain.records import EnsembleVersion, Outcome
from shared.domain.submission import Answer

TREE = taxonomy.build(
    [10, 11, 12], [("food", 'dry, "loose"', "rice"), ("food", "fresh\nor not", "figs"), ("toys", "", "")]
)
FIT = Fit(thresholds={"model": (0.9, 0.8, 0.7)}).plain()
PATHS = {
    "accept": ["food", "fresh\nor not", "figs"],
    "level 2": ["food", "fresh\nor not"],
    "level 1": ["food"],
    "review": None,
}


def version(fits):
    return EnsembleVersion(
        name="tiny",
        version="v",
        document={"task": "multiclass"},
        runs={},
        dataset="tiny",
        dataset_fingerprint="f",
        taxonomy=TREE.fingerprint,
        duplicate_table="",
        fits=fits,
    )


def prediction(decision):
    return {
        "category_id": 11,
        "class_index": 1,
        "probability": 0.5,
        "top": [(1, 0.5)],
        "nodes": [(0, 0.8), (1, 0.6), (1, 0.5)],
        "margin": 0.1,
        "entropy": 0.9,
        **({"decision": decision} if decision else {}),
    }


def outcome(product, decision):
    return Outcome(
        job="j",
        product=product,
        position=product,
        chunk="c",
        source="model",
        predictions={"all": prediction(decision), "one": prediction("")},
    )


ANSWERS = [
    *(Answer(product, 11, outcome(product, decision)) for product, decision in enumerate(PATHS)),
    Answer(4, 12, Outcome(job="j", product=4, position=4, chunk="c", error="not read")),
    Answer(5, 12, None),
]


def text(combination, fits):
    return b"".join(exports.lines(ANSWERS, combination, TREE, "csv", version(fits))).decode()


def test_a_submission_says_what_was_decided_where_thresholds_were_fitted():
    said = text("all", {"all": FIT})
    assert len(said.splitlines()) == 1 + len(ANSWERS), "a row is a line, whatever names hold"
    rows = list(csv.DictReader(io.StringIO(said)))
    assert list(rows[0]) == ["_id", "category_id", "decision", "decision_path"]
    assert [(row["_id"], row["category_id"]) for row in rows] == [(str(a.product), str(a.category_id)) for a in ANSWERS]
    assert [row["decision"] for row in rows] == [*PATHS, "", ""]
    assert [row["decision_path"] for row in rows] == [
        "food / fresh or not / figs",
        "food / fresh or not",
        "food",
        *[""] * 3,
    ]


def test_names_with_commas_and_quotes_come_back():
    plain = prediction("level 2") | {"nodes": [(0, 0.8), (0, 0.6), (0, 0.5)]}
    one = Outcome(job="j", product=0, position=0, chunk="c", source="model", predictions={"all": plain})
    lines = exports.lines([Answer(0, 11, one)], "all", TREE, "csv", version({"all": FIT}))
    (row,) = csv.DictReader(io.StringIO(b"".join(lines).decode()))
    assert row["decision_path"] == 'food / dry, "loose"'


@pytest.mark.parametrize(("combination", "fits"), [("all", {}), ("one", {"all": FIT}), ("all", {"all": Fit().plain()})])
def test_a_submission_without_thresholds_is_a_submission(combination, fits):
    assert text(combination, fits).splitlines()[:2] == ["_id,category_id", "0,11"]


def test_ndjson_and_the_view_of_one_product_name_the_same_path():
    rows = [json.loads(line) for line in exports.lines(ANSWERS[:4], "all", TREE, "ndjson", version({"all": FIT}))]
    assert {row["decision"]: row["decision_path"] for row in rows} == PATHS
    for answer, row in zip(ANSWERS[:4], rows, strict=True):
        view = outcome_view(answer.outcome.plain(), TREE)["predictions"]
        assert (view["all"].decision, view["all"].decision_path) == (row["decision"], row["decision_path"])
        assert (view["one"].decision, view["one"].decision_path) == ("", None)
