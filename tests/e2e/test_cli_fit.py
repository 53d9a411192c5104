"""fit on a real home: what it finds is told, and nothing is changed by looking."""

import json

import pytest

from tests.conftest import Shop


def test_figures_have_their_n(shell, shop: Shop):
    code, out, err = shell("--home", shop.home, "fit", "tiny", "--least", "50", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [step["name"] for step in found["steps"]] == ["weights", "temperature"]
    assert sum(one["right"]["n"] for one in found["decided"]) == found["products"] == found["fit"]["products"]
    assert {one["source"] for one in found["decided"]} == set(found["fit"]["thresholds"])


def test_tables_for_people(shell, shop: Shop):
    code, out, _ = shell("--home", shop.home, "fit", "tiny", "--least", "50", "--combination", "one")
    assert code == 0
    assert "log loss of the networks of one" in out
    assert "no weights: there is one member" in out
    assert "products of train that every member held out" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tiny"], "a fit needs 300"),
        (["tiny", "--combination", "none"], "there is no 'none'; one of one, all"),
        (["none"], "there is no current version of 'none'"),
    ],
)
def test_what_cannot_be_fitted_is_told(shell, shop: Shop, arguments, words):
    code, out, err = shell("--home", shop.home, "fit", *arguments)
    assert (code, out) == (2, "")
    assert words in err
