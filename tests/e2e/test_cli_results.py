import csv
import json
from dataclasses import replace
from pathlib import Path

import bson
import pyarrow.parquet as pq
import pytest

from shared import wiring
from shared.settings import Settings


def dump_ids(path: Path) -> list[int]:
    with path.open("rb") as file:
        return [document["_id"] for document in bson.decode_file_iter(file)]


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_submission_has_one_row_per_product_in_dump_order(shell, shop, grocery, tmp_path):
    target = tmp_path / "submission.csv"
    code, _, _ = shell("--home", shop.home, "export", shop.job, "-o", target)
    assert code == 0
    lines = list(csv.reader(target.read_text().splitlines()))
    assert lines[0] == ["_id", "category_id"]
    assert [int(line[0]) for line in lines[1:]] == dump_ids(grocery / "test.bson")
    known = {row["category_id"] for row in table(grocery / "category_names.csv")}
    assert {line[1] for line in lines[1:]} <= known


def test_formats_agree(shell, shop, tmp_path):
    files = {form: tmp_path / f"answers.{form}" for form in ("csv", "ndjson", "parquet")}
    for form, file in files.items():
        assert shell("--home", shop.home, "export", shop.job, "--format", form, "-o", file)[0] == 0
    submitted = [(int(row["_id"]), int(row["category_id"])) for row in table(files["csv"])]
    lines = [json.loads(line) for line in files["ndjson"].read_text().splitlines()]
    assert [(line["_id"], line["category_id"]) for line in lines] == submitted
    assert pq.read_table(files["parquet"]).to_pylist() == lines
    assert all(0 < line["probability"] <= 1 for line in lines)
    assert {"model", "product duplicate"} <= {line["source"] for line in lines}


def test_combinations_can_be_exported_apart(shell, shop, tmp_path):
    one, both = tmp_path / "one.ndjson", tmp_path / "all.ndjson"
    for name, file in (("one", one), ("all", both)):
        code, _, _ = shell(
            "--home", shop.home, "export", shop.job, "--format", "ndjson", "--combination", name, "-o", file
        )
        assert code == 0
    assert one.read_text() != both.read_text()


def test_export_to_standard_output(shell, shop):
    code, out, _ = shell("--home", shop.home, "export", shop.job, "-o", "-")
    assert code == 0
    assert out.startswith("_id,category_id\n")
    assert len(out.splitlines()) == 291


def test_unknown_combination_is_refused_and_nothing_written(shell, shop, tmp_path):
    target = tmp_path / "no.csv"
    code, _, err = shell("--home", shop.home, "export", shop.job, "--combination", "best", "-o", target)
    assert code == 2
    assert "one, all" in err
    assert list(tmp_path.iterdir()) == []


def test_evaluate_gives_figures_with_n_and_interval(shell, shop, grocery, tmp_path):
    labels = grocery / "test_labels.csv"
    page = tmp_path / "report.html"
    code, out, _ = shell("--home", shop.home, "evaluate", shop.job, "--labels", labels, "--html", page, "--json")
    assert code == 0
    found = json.loads(out)
    assert [c["combination"] for c in found["combinations"]] == ["one", "all"]
    for combination in found["combinations"]:
        for figure in (combination["with_duplicates"], combination["without_duplicates"]):
            assert figure["n"] == 290
            assert figure["low"] < figure["share"] < figure["high"]
    assert found["detail"]["n"] == 290
    assert {one["source"] for one in found["detail"]["sources"]} == {"model", "image duplicate", "product duplicate"}
    assert sum(one["coverage"]["share"] for one in found["detail"]["sources"]) == pytest.approx(1)
    assert [one["member"] for one in found["members"]] == ["first", "second"]
    assert all(one["epochs"] and one["holdout"]["products"]["n"] for one in found["members"])
    text = page.read_text()
    assert "How well test is sorted" in text
    assert text.count("data:image/jpeg;base64,") >= 12, "the surest mistakes of two tiny networks"
    assert f"{found['combinations'][-1]['with_duplicates']['share']:.1%}".replace("%", " %") in text


def test_evaluate_tells_the_essential_to_people(shell, shop, grocery):
    code, out, _ = shell("--home", shop.home, "evaluate", shop.job, "--labels", grocery / "test_labels.csv")
    assert code == 0
    for words in (
        "accuracy with duplicates",
        "right on level 1",
        "decided by product duplicate",
        "accepted at accuracy",
    ):
        assert words in out
    assert out.splitlines()[-1] == "290 labelled products judged"


def test_a_page_that_cannot_be_written_is_refused_before_any_work(shell, shop, grocery, tmp_path):
    target = tmp_path / "missing" / "report.html"
    labels = grocery / "test_labels.csv"
    code, out, err = shell("--home", shop.home, "evaluate", shop.job, "--labels", labels, "--html", target)
    assert (code, out) == (2, "")
    assert str(target) in err


def test_the_training_dataset_is_judged_on_what_was_held_out(shell, shop, grocery, tmp_path):
    """Scored again under the name of a relabelled copy, it is recognised by its products."""
    stores = wiring.stores(Settings(home=shop.home))
    job = replace(stores.jobs.job(shop.job), id="trained", dataset="train", dataset_fingerprint="a relabelled copy's")
    stores.jobs.create(job)
    with (grocery / "train.bson").open("rb") as file:
        known = {document["_id"]: document["category_id"] for document in bson.decode_file_iter(file)}
    outcomes = stores.jobs.outcomes(shop.job, limit=len(known))
    stores.jobs.add_outcomes(
        replace(outcome, job="trained", product=product) for outcome, product in zip(outcomes, known, strict=False)
    )
    labels = tmp_path / "labels.csv"
    labels.write_text("_id,category_id\n" + "".join(f"{product},{category}\n" for product, category in known.items()))
    try:
        code, out, _ = shell("--home", shop.home, "evaluate", "trained", "--labels", labels, "--json")
    finally:
        stores.jobs.remove_job("trained")
    assert code == 0
    found = json.loads(out)
    assert found["shared"] == 290
    for combination in found["combinations"]:
        assert combination["with_duplicates"] is None
        assert combination["without_duplicates"]["n"] == 290 - combination["trained"]
        assert 0.1 < combination["without_duplicates"]["n"] / 290 < 0.3


def test_evaluate_agrees_with_the_submission(shell, shop, grocery, tmp_path):
    target = tmp_path / "submission.csv"
    shell("--home", shop.home, "export", shop.job, "-o", target)
    truth = {row["_id"]: row["category_id"] for row in table(grocery / "test_labels.csv")}
    right = [truth[row["_id"]] == row["category_id"] for row in table(target)]
    _, out, _ = shell("--home", shop.home, "evaluate", shop.job, "--labels", grocery / "test_labels.csv", "--json")
    assert json.loads(out)["combinations"][-1]["with_duplicates"]["share"] == sum(right) / len(right)


def test_labels_of_another_shop_are_refused(shell, shop, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("_id,category_id\n20,42\n")
    code, _, err = shell("--home", shop.home, "evaluate", shop.job, "--labels", labels)
    assert code == 2
    assert "category 42" in err
    labels.write_text("product,category\n20,42\n")
    code, _, err = shell("--home", shop.home, "evaluate", shop.job, "--labels", labels)
    assert code == 2
    assert "line 1" in err


def test_predict_answers_as_the_job_did(shell, shop, grocery, tmp_path):
    target = tmp_path / "answers.ndjson"
    shell("--home", shop.home, "export", shop.job, "--format", "ndjson", "-o", target)
    expected = {row["_id"]: row for row in map(json.loads, target.read_text().splitlines())}
    with (grocery / "test.bson").open("rb") as file:
        product = next(d for d in bson.decode_file_iter(file) if expected[d["_id"]]["source"] == "model")
    pictures = []
    for number, image in enumerate(product["imgs"]):
        pictures.append(tmp_path / f"{number}.jpg")
        pictures[-1].write_bytes(image["picture"])
    code, out, _ = shell("--home", shop.home, "predict", *pictures, "--ensemble", "tiny", "--json")
    assert code == 0
    answer = json.loads(out)["predictions"]["all"]
    assert answer["category_id"] == expected[product["_id"]]["category_id"]
    assert abs(answer["probability"] - expected[product["_id"]]["probability"]) < 1e-4


def test_predict_refuses_what_is_no_image(shell, shop, tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    code, _, err = shell("--home", shop.home, "predict", text, "--ensemble", "tiny")
    assert code == 2
    assert "JPEG, PNG or WebP" in err
