import json
from collections import Counter

from shared import wiring
from shared.exports import stored_outcomes
from shared.settings import Settings
from tests.catalog_scene import PageCheck


def test_a_dataset_is_described_as_text(shell, shop):
    code, out, err = shell("--home", shop.home, "describe", "train")
    assert code == 0, err
    assert "436 of 436 (100.0 %)" in out
    for section in ("Dataset train", "Categories", "Equal images", "Pictures ("):
        assert section in out
    assert "looks at images" in err
    assert "images/s" in err


def test_json_is_one_document_and_agrees_with_what_was_ingested(shell, shop, grocery):
    code, out, _ = shell("--home", shop.home, "describe", "train", "--json")
    assert code == 0
    found = json.loads(out)
    rows = (grocery / "category_names.csv").read_text().splitlines()[1:]
    assert (found["products"], found["labelled"]) == (436, 436)
    assert found["categories"]["categories"] == len(rows)
    assert sum(count for _, count in found["categories"]["counts"]) == 436
    assert sum(n * products for n, products in found["images_per_product"]) == found["images"]
    assert found["pictures"]["sizes"][0] | {"share": 0} == {"width": 180, "height": 180, "share": 0}


def test_products_decided_by_duplicates_are_those_that_a_job_decides(shell, shop):
    code, out, _ = shell("--home", shop.home, "describe", "test", "--against", "train", "--json")
    assert code == 0
    against = json.loads(out)["against"]
    jobs = wiring.stores(Settings(home=shop.home)).jobs
    sources = Counter(outcome.source for outcome in stored_outcomes(jobs, shop.job))
    assert against["decided_by_product"] == sources["product duplicate"] > 0
    overridden = sum(outcome.overridden > 0 for outcome in stored_outcomes(jobs, shop.job))
    assert against["sharing_image"] >= overridden > against["decided_by_images"]


def test_the_page_stands_alone(shell, shop, tmp_path):
    page = tmp_path / "test.html"
    code, out, _ = shell("--home", shop.home, "describe", "test", "--against", "train", "--html", page)
    assert code == 0
    assert str(page) in out
    check = PageCheck(page.read_text())
    assert check.pictures > 10
    assert "Against train" in check.text
    assert [file.name for file in tmp_path.iterdir()] == ["test.html"]


def test_refusals_are_one_line_and_write_nothing(shell, shop, tmp_path):
    page = tmp_path / "nowhere" / "page.html"
    for arguments, words in (
        (("train", "--against", "train"), "--against train: it is the described dataset"),
        (("nothing",), "there is no dataset 'nothing'"),
        (("train", "--against", "nothing"), "there is no dataset 'nothing'"),
        (("train", "--html", page), "page.html: it cannot be written"),
        (("train", "--html", tmp_path), "it cannot be written"),
    ):
        code, out, err = shell("--home", shop.home, "describe", *arguments)
        assert (code, out, len(err.splitlines())) == (2, "", 1), err
        assert words in err
    assert list(tmp_path.iterdir()) == []
