"""compare on a real home: its figures are those that the trainings measured."""

import csv
import json

import pytest

from shared import layout, wiring
from shared.settings import Settings
from tests.conftest import Shop


def test_members_have_the_figures_of_their_trainings(shell, shop: Shop, tmp_path):
    page, figures = tmp_path / "compare.html", tmp_path / "compare.csv"
    code, out, err = shell("--home", shop.home, "compare", "tiny", "--json", "--html", page, "--csv", figures)
    assert (code, err) == (0, "")
    found = json.loads(out)
    stores = wiring.stores(Settings(home=shop.home))
    version = stores.runs.version("tiny")
    alone = {row["name"]: row for row in found["tables"][1]["rows"]}
    assert set(alone) == {"first", "second"}
    for member, run in version.runs.items():
        measured = json.loads(stores.objects.read(layout.run_file(run, "metrics.json")))["holdout"]["products"]
        for part in ("all", "new", "seen"):
            assert alone[member][part]["n"] == measured[part]["n"]
            if measured[part]["n"]:
                assert alone[member][part]["accuracy"] == pytest.approx(
                    measured[part]["accuracy"], abs=1.5 / measured[part]["n"]
                )
    rows = list(csv.DictReader(figures.read_text().splitlines()))
    assert len(rows) == sum(len(table["rows"]) for table in found["tables"])
    assert "What tiny could do otherwise" in page.read_text()


def test_tables_for_people(shell, shop: Shop):
    code, out, _ = shell("--home", shop.home, "compare", "tiny", "--dataset", "train", "--combination", "one")
    assert code == 0
    assert "members, networks alone" in out
    assert "the reference" in out
    assert "products of train that every member held out" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tiny", "--dataset", "test"], "was trained on 'train'"),
        (["tiny", "--combination", "none"], "there is no 'none'; one of one, all"),
        (["none"], "there is no current version of 'none'"),
    ],
)
def test_what_cannot_be_compared_is_told(shell, shop: Shop, arguments, words):
    code, out, err = shell("--home", shop.home, "compare", *arguments)
    assert (code, out) == (2, "")
    assert words in err
