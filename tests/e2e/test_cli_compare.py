"""compare on a real home: its figures are those that the trainings measured."""

import csv
import json
import re

import pytest

from services.reports.pages import figure
from shared import layout, wiring
from shared.domain.intervals import Accuracy
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
    lines, text = list(csv.DictReader(figures.read_text().splitlines())), page.read_text()
    rows = [(table["title"], row) for table in found["tables"] for row in table["rows"]]
    assert [(line["table"], line["row"]) for line in lines] == [(title, row["name"]) for title, row in rows]
    for line, (_, row) in zip(lines, rows, strict=True):
        for part, ending in (("all", ""), ("new", "_new"), ("seen", "_seen")):
            assert int(line[f"n{ending}"]) == row[part]["n"] > 0
            assert float(line[f"accuracy{ending}"]) == pytest.approx(row[part]["accuracy"], abs=1e-6)
    of_page = [
        [" ".join(cell.split()) for cell in re.findall(r"<t[hd][^>]*>([^<]*)", row)] for row in text.split("<tr>")
    ]
    for _, row in rows:
        cells = [row["name"], *(figure(Accuracy.from_plain(row[part])) for part in ("all", "new", "seen"))]
        assert any(of_row[:4] == cells for of_row in of_page), cells
    assert "What tiny could do otherwise" in text


def test_tables_for_people(shell, shop: Shop):
    code, out, _ = shell("--home", shop.home, "compare", "tiny", "--dataset", "train", "--combination", "one")
    assert code == 0
    assert "members, networks alone" in out
    assert "product duplicates of one, beside those of images, best first" in out
    assert re.search(r"^ +all +new products +seen products +against the reference *$", out, re.MULTILINE)
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
