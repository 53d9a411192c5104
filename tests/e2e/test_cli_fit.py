"""fit on a real home: what it finds is told, and nothing is changed by looking."""

import csv
import json
import re
from collections import Counter
from io import BytesIO

import numpy as np
import pytest

from shared import wiring
from shared.domain import stacking
from shared.domain.fits import from_plain
from shared.domain.records import EnsembleVersion
from shared.holdout_scores import VIEWS, read_held_out
from shared.packs import read_taxonomy
from shared.ports import Objects
from shared.settings import Settings
from tests.conftest import Shop
from tests.gateway_scene import gateway
from tests.holdout_scene import put_scores


def test_figures_have_their_n(shell, shop: Shop):
    code, out, err = shell("--home", shop.home, "fit", "tiny", "--least", "50", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [step["name"] for step in found["steps"]] == ["weights", "temperature", "stacking", "stacking with biases"]
    assert sum(one["right"]["n"] for one in found["decided"]) == found["products"] == found["fit"]["products"]
    assert {one["source"] for one in found["decided"]} == set(found["fit"]["thresholds"])


def test_tables_for_people(shell, shop: Shop):
    code, out, _ = shell("--home", shop.home, "fit", "tiny", "--least", "50", "--combination", "one")
    assert code == 0
    assert "log loss of the networks of one" in out
    assert "no weights, weights apart, stacking: there is one member" in out
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


def test_an_applied_fit_scores_and_decides(shell, shop: Shop, grocery, tmp_path):
    home, answers = tmp_path / "home", tmp_path / "answers.ndjson"
    shop.copy(home)
    runs = wiring.stores(Settings(home=home)).runs
    before = runs.version("tiny")
    fit = ["--home", home, "fit", "tiny", "--least", "50", "--accuracy", "0.5"]

    assert shell(*fit)[0] == 0
    assert [version.version for version in runs.versions("tiny")] == [before.version]
    code, out, _ = shell(*fit, "--apply", "--no-current", "--json")
    assert code == 0
    applied = json.loads(out)["applied"]
    assert runs.current("tiny") == before.version != applied
    code, out, _ = shell(*fit, "--apply")
    assert code == 0
    assert f"ensemble tiny@{applied} is ready and current" in out
    assert re.search(
        r"^product duplicate alone decides: right [01]\.\d+ \(.*, n=\d+\), which is its prob", out, re.MULTILINE
    )
    assert runs.current("tiny") == applied
    assert runs.version("tiny").runs == before.runs

    code, out, _ = shell("--home", home, "score", "test", "--ensemble", "tiny", "--json")
    assert code == 0
    job = json.loads(out)["job"]
    assert shell("--home", home, "export", job, "--format", "ndjson", "-o", answers)[0] == 0
    rows = [json.loads(line) for line in answers.read_text().splitlines()]
    thresholds = runs.version("tiny").fits["all"]["thresholds"]
    for row in rows:
        accept, _, _ = thresholds[row["source"]]
        assert (row["decision"] == "accept") == (accept is not None and row["probability"] >= accept)
        assert (row["decision_path"] is None) == (row["decision"] == "review")
        if row["decision"].startswith("level"):
            assert len(row["decision_path"]) == int(row["decision"][-1])
    assert {row["source"] for row in rows if row["decision"] == "accept"} >= {"product duplicate"}
    code, out, _ = shell("--home", home, "ensembles", "show", "tiny")
    assert "fitted" in out
    assert [one["fitted"] for one in json.loads(shell("--home", home, "ensembles", "--json")[1])] == [[], ["all"]]
    submission = tmp_path / "submission.csv"
    assert shell("--home", home, "export", job, "-o", submission)[0] == 0
    assert [(int(one["_id"]), one["decision"]) for one in csv.DictReader(submission.read_text().splitlines())] == [
        (row["_id"], row["decision"]) for row in rows
    ]
    with gateway(home) as scene, scene.client("read", "local") as client:
        theirs = client.get(f"/v1/jobs/{job}/predictions", params={"format": "csv"}).content
        (before, after) = client.get("/v1/ensembles").json()["ensembles"]
        one = client.get(f"/v1/jobs/{job}/predictions/{rows[0]['_id']}").json()["predictions"]["all"]
    assert theirs == submission.read_bytes()
    assert (before["fitted"], after["fitted"]) == ([], ["all"])
    assert (one["decision"], one["decision_path"]) == (rows[0]["decision"], rows[0]["decision_path"])

    labels = grocery / "test_labels.csv"
    code, out, _ = shell("--home", home, "evaluate", job, "--labels", labels, "--json")
    assert code == 0
    of_all = [one for one in json.loads(out)["detail"]["decisions"] if not one["source"]]
    assert {one["decision"]: one["right"]["n"] for one in of_all} == Counter(row["decision"] for row in rows)
    known = {int(one["_id"]): int(one["category_id"]) for one in csv.DictReader(labels.read_text().splitlines())}
    right = [row["category_id"] == known[row["_id"]] for row in rows if row["decision"] == "accept"]
    assert of_all[0]["right"]["share"] == sum(right) / len(right)
    code, out, _ = shell("--home", home, "evaluate", job, "--labels", labels)
    assert code == 0
    assert "product duplicate  accept" in out


def test_a_stack_is_found_told_and_scored_by(shell, shop: Shop, tmp_path):
    """The runs' holdout scores are made up: each member knows something else, and the second is too sure of itself."""
    home, file = tmp_path / "home", tmp_path / "tiny.yaml"
    shop.copy(home)
    file.write_text(shop.ensemble_file.read_text().replace("one: [first],", "one: [first], two: [second],"))
    assert shell("--home", home, "train", file, "--dataset", "train")[0] == 0  # nothing is left to train
    stores = wiring.stores(Settings(home=home))
    plant(stores.objects, stores.runs.version("tiny"))

    code, out, _ = shell("--home", home, "fit", "tiny", "--least", "50", "--apply")
    assert code == 0
    assert "no weights apart: they are fitted where 300 products of frequent and of rare categories each" in out
    assert re.search(r"^stacking +.* taken\s*$", out, re.MULTILINE)
    assert re.search(r"^powers: first \d\.\d{3}, second 0\.\d{3}$", out, re.MULTILINE)
    version = stores.runs.version("tiny")
    fit = from_plain(version.fits["all"])
    assert 0 < fit.powers["second"] < fit.powers["first"]
    code, out, _ = shell("--home", home, "compare", "tiny")
    assert code == 0
    assert "all, fitted: stacking" in out
    code, out, _ = shell("--home", home, "ensembles", "show", "tiny")
    assert "all: stacking" in out

    score = ["--home", home, "score", "test", "--ensemble", "tiny", "--keep-scores", "--json"]
    code, out, _ = shell(*score, "--duplicates", "none,none")
    assert code == 0
    for chunk in stores.jobs.chunks(json.loads(out)["job"], ["done"]):
        with np.load(BytesIO(stores.objects.read(chunk.scores))) as kept:
            names, order = kept["combination"].tolist(), kept["class_index"].argsort(axis=2)
            dense = np.take_along_axis(kept["probability"], order, axis=2).astype(np.float64)
        alone = np.stack([dense[:, names.index(name)] for name in ("one", "two")], axis=1)
        expected = stacking.stacked(alone, *fit.stack(["first", "second"]))
        np.testing.assert_allclose(dense[:, names.index("all")], expected, atol=1e-5)


def plant(objects: Objects, version: EnsembleVersion) -> None:
    held, noise = read_held_out(objects, version.runs["first"]), np.random.default_rng(1)
    classes = read_taxonomy(objects, "train").classes
    number = held.product_id - held.product_id.min()
    for member, sure in (("first", 1.0), ("second", 4.0)):
        signal = noise.normal(0, 1, (number.max() + 1, classes))[number]
        signal[np.arange(len(number)), held.class_index] += 1.5
        said = np.exp(sure * 1.5 * signal)
        said = (said / said.sum(axis=1, keepdims=True))[:, None].repeat(len(VIEWS), axis=1)
        put_scores(objects, version.runs[member], held, said.astype(np.float16))
