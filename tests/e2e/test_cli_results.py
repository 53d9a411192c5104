import csv
import json
from pathlib import Path

import bson
import pyarrow.parquet as pq


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
    assert "95 % interval" in page.read_text()


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
