"""A multilabel catalog through every verb: the sample's photographs, their labels the nodes of all three levels."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import bson
import pytest

from services import cli
from shared import layout, wiring
from shared.settings import Settings
from tests import node_labels
from tests.gateway_scene import gateway
from tests.unit.test_report import Page

TINY = """
name: nodes
task: multilabel
splits: {A: {seed: 7, holdout: 0.3}}
defaults:
  input: {size: 32, fit: pad}
  batch_size: 64
  epochs: 3
  optimizer: adamw
  label_smoothing: 0.0
  schedule: {kind: cosine, rate: 4.0e-3}
members:
  all: {model: test_resnet}
  frequent: {model: test_resnet, labels: {least: 30}, class_weights: balanced}
  rare: {model: test_resnet, labels: {most: 29}, sampling: balanced}
views: [plain, hflip]
combinations: {added: [frequent, rare], every: [all, frequent, rare]}
duplicates: {images: unique, products: unique}
"""


@dataclass(frozen=True)
class Catalog:
    """A home, and the catalog that was made, trained on and scored in it."""

    home: Path
    folder: Path
    job: str


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory, grocery: Path) -> Catalog:
    folder = tmp_path_factory.mktemp("nodes")
    home, file = folder / "home", folder / "nodes.yaml"
    node_labels.write(grocery, folder)
    file.write_text(TINY)
    table = str(folder / "category_names.csv")
    for name in ("train", "test"):
        source = str(folder / f"{name}.bson")
        assert cli.run(["--home", str(home), "ingest", source, "--dataset", name, "--categories", table]) == 0
    assert cli.run(["--home", str(home), "train", str(file), "--dataset", "train"]) == 0
    assert cli.run(["--home", str(home), "score", "test", "--ensemble", "nodes", "--no-skip-decided"]) == 0
    return Catalog(home, folder, wiring.stores(Settings(home=home)).jobs.jobs()[0].id)


def test_an_export_has_labels_separated_by_spaces(shell, catalog: Catalog, tmp_path: Path) -> None:
    output = tmp_path / "answers.csv"
    assert shell("--home", catalog.home, "export", catalog.job, "-o", output)[0] == 0
    with output.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["_id", "category_ids"]
    jobs = wiring.stores(Settings(home=catalog.home)).jobs
    assert len(rows) == jobs.job(catalog.job).products
    answered = [row["category_ids"].split() for row in rows]
    assert any(len(labels) >= 2 for labels in answered)
    lines = tmp_path / "answers.ndjson"
    assert shell("--home", catalog.home, "export", catalog.job, "-o", lines, "--format", "ndjson")[0] == 0
    first = json.loads(lines.read_text().splitlines()[0])
    assert [str(label) for label in first["category_ids"]] == answered[0]
    assert len(first["probabilities"]) == len(first["category_ids"])
    assert shell("--home", catalog.home, "export", catalog.job, "-o", tmp_path / "a", "--format", "parquet")[0] == 0


def test_evaluate_prints_micro_and_macro_f1(shell, catalog: Catalog) -> None:
    judge = ["--home", catalog.home, "evaluate", catalog.job, "--labels", catalog.folder / "test_labels.csv"]
    code, out, _ = shell(*judge)
    assert code == 0
    assert "micro F1" in out
    code, out, _ = shell(*judge, "--json")
    found = json.loads(out)["combinations"]
    assert [one["combination"] for one in found] == ["added", "every"]
    for one in found:
        quality = one["quality_with_duplicates"]
        assert 0.3 < quality["micro_f1"]["low"] < quality["micro"]["f1"] < quality["micro_f1"]["high"]
        assert quality["micro"]["n"] == quality["accuracy"]["n"] > 100


def test_the_page_of_label_sets_is_one_file_with_every_part(shell, catalog: Catalog, tmp_path: Path) -> None:
    output = tmp_path / "page.html"
    labels = catalog.folder / "test_labels.csv"
    code, out, err = shell("--home", catalog.home, "evaluate", catalog.job, "--labels", labels, "--html", output)
    assert (code, err) == (0, "")
    assert "labels accepted at accuracy 0.95" in out
    read = Page(output.read_text())
    assert all(reference.startswith(("data:image/", "#")) for reference in read.references)
    assert any(picture.startswith("data:image/jpeg") for picture in read.pictures)
    places = [
        read.text.index(words)
        for words in (
            "How well test is labelled",
            "micro F1, with duplicates",
            "Accuracy of the surest answers",
            "Who decided",
            "Most frequent labels",
            "Worst labels",
            "Most certain mistakes",
            "its labels:",
            "Macro precision",
            "`shelver fit` finds thresholds".replace("`", ""),
            "Micro F1 of watched products",
        )
    ]
    assert places == sorted(places)


def test_compare_judges_members_as_their_trainings_did(shell, catalog: Catalog, tmp_path: Path) -> None:
    page, figures = tmp_path / "compare.html", tmp_path / "compare.csv"
    arguments = ["--home", catalog.home, "compare", "nodes", "--dataset", "train", "--html", page, "--csv", figures]
    code, out, err = shell(*arguments, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    stores = wiring.stores(Settings(home=catalog.home))
    alone = {row["name"]: row["all"] for row in found["tables"][1]["rows"]}
    for member, run in stores.runs.version("nodes").runs.items():
        measured = json.loads(stores.objects.read(layout.run_file(run, "metrics.json")))["holdout"]["micro"]
        assert alone[member]["n"] == measured["n"]
        assert alone[member]["mean"] == pytest.approx(measured["f1"], abs=0.002)
    assert len(list(csv.DictReader(figures.read_text().splitlines()))) == sum(len(t["rows"]) for t in found["tables"])
    assert "judged by the F1 of all labels together" in page.read_text()
    code, out, _ = shell(*arguments[:6])
    assert code == 0
    assert "micro F1 of" in out


def test_predict_answers_labels(shell, catalog: Catalog, grocery: Path) -> None:
    code, out, _ = shell("--home", catalog.home, "predict", grocery / "apple.jpg", "--ensemble", "nodes", "--json")
    assert code == 0
    prediction = json.loads(out)["predictions"]["every"]
    assert [label["probability"] > 0.5 for label in prediction["labels"]] == [True] * len(prediction["labels"])
    assert prediction["top"][0]["path"]
    assert prediction["nodes"] == []


def test_fit_says_what_it_took_and_a_fitted_version_scores(shell, catalog: Catalog) -> None:
    fit = ["--home", catalog.home, "fit", "nodes", "--least", "20"]
    code, out, err = shell(*fit, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [step["name"] for step in found["steps"]] == ["weights", "one threshold", "a threshold per label"]
    assert found["difference"]["mean"] == pytest.approx(found["fitted"]["mean"] - found["unfitted"]["mean"])
    assert found["difference"]["mean"] >= 0
    for of in found["macro"]:
        assert 0 <= of["low"] <= of["mean"] <= of["high"] <= 1
        assert of["n"] == found["products"]
    assert found["products"] == found["steps"][0]["gain"]["n"] > 20
    code, out, _ = shell(*fit, "--combination", "added", "--apply")
    assert code == 0
    assert "micro F1 with it" in out
    tables = json.loads(shell("--home", catalog.home, "compare", "nodes", "--json")[1])["tables"]
    assert [row["name"] for row in tables[-1]["rows"]] == ["added, as the file says", "added, fitted"]
    assert shell("--home", catalog.home, "score", "test", "--ensemble", "nodes", "--keep-scores")[0] == 0


def test_the_gateway_shows_labels(catalog: Catalog) -> None:
    with gateway(catalog.home) as scene, scene.client("read") as client:
        with (catalog.folder / "train.bson").open("rb") as dump:
            document = next(bson.decode_file_iter(dump))
        product = client.get(f"/v1/datasets/train/products/{document['_id']}").json()
        assert (product["category_id"], product["category_ids"]) == (None, document["category_ids"])
        manifest = client.get("/v1/datasets/train/manifest").json()
        assert manifest["label_sets"] > 10


def test_runs_and_describe_speak_of_labels(shell, catalog: Catalog) -> None:
    code, out, _ = shell("--home", catalog.home, "runs", "all")
    assert code == 0
    assert "products, all labels together: precision" in out
    code, out, _ = shell("--home", catalog.home, "describe", "train")
    assert code == 0
    assert "FRUIT / all / all" in out


def test_doctor_misses_the_label_sets(shell, catalog: Catalog) -> None:
    objects = wiring.stores(Settings(home=catalog.home)).objects
    key = layout.label_sets("train")
    content = objects.read(key)
    objects.delete(key)
    out = "".join(shell("--home", catalog.home, "doctor")[1:])
    objects.put(key, content)
    assert f"{key} is missing" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["score", "test", "--ensemble", "nodes", "--duplicates", "softmax"], "softmax is of one category per product"),
        (["train", "ensembles/grocery-small.yaml", "--dataset", "train"], "use an ensemble of task: multilabel"),
    ],
)
def test_what_label_sets_do_not_have_is_refused(shell, catalog: Catalog, arguments, words) -> None:
    code, _, err = shell("--home", catalog.home, *arguments)
    assert code == 2
    assert words in err
