import csv
import itertools
import json
from pathlib import Path

import bson
import pytest

from shared import layout

COUNTS = ("changed", "added", "removed", "equal")


@pytest.fixture
def home(shop, tmp_path) -> Path:
    """A copy of the shop, to change."""
    shop.copy(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def corrected(grocery, tmp_path) -> Path:
    """Labels of the training catalog: two exchanged, one taken away, one as it is."""
    with (grocery / "train.bson").open("rb") as file:
        documents = list(itertools.islice(bson.decode_file_iter(file), 200))
    first = documents[0]
    other = next(document for document in documents if document["category_id"] != first["category_id"])
    removed, equal = documents[50], documents[60]
    rows = [
        (first["_id"], other["category_id"]),
        (other["_id"], first["category_id"]),
        (removed["_id"], ""),
        (equal["_id"], equal["category_id"]),
    ]
    path = tmp_path / "corrected.csv"
    path.write_text("_id,category_id\n" + "".join(f"{product},{category}\n" for product, category in rows))
    return path


def test_it_reports_what_it_did_and_is_a_dataset(shell, home, corrected, tmp_path, grocery):
    command = ("--home", home, "relabel", "train", "--labels", corrected, "--as", "better", "--json")
    code, out, _ = shell(*command)
    found = json.loads(out)
    assert code == 0
    assert [found[name] for name in COUNTS] == [2, 0, 1, 1]
    assert (found["dataset"], found["of"], found["products"], found["labelled"]) == ("better", "train", 436, 435)
    code, again, err = shell(*command)
    assert (code, again) == (0, out)
    assert "dataset better is complete already: skipped" in err
    listed = {one["name"]: one for one in json.loads(shell("--home", home, "datasets", "--json")[1])}
    assert listed["better"]["fingerprint"] == found["fingerprint"] == ingested(shell, grocery, corrected, tmp_path)


def ingested(shell, grocery: Path, corrected: Path, folder: Path) -> str:
    """The fingerprint of the catalog written anew with the corrected labels, and ingested."""
    labels = {int(row["_id"]): row["category_id"] for row in csv.DictReader(corrected.read_text().splitlines())}
    with (grocery / "train.bson").open("rb") as file, (folder / "again.bson").open("wb") as out:
        for document in bson.decode_file_iter(file):
            category = labels.get(document["_id"], document["category_id"])
            del document["category_id"]
            out.write(bson.encode(document | ({} if category == "" else {"category_id": int(category)})))
    table = grocery / "category_names.csv"
    command = ("ingest", folder / "again.bson", "--dataset", "again", "--categories", table, "--json")
    fingerprint: str = json.loads(shell("--home", folder / "second", *command)[1])["fingerprint"]
    return fingerprint


def test_a_relabelled_dataset_is_trained_scored_judged_and_exported(shell, home, shop, corrected, grocery, tmp_path):
    assert shell("--home", home, "relabel", "train", "--labels", corrected, "--as", "better")[0] == 0
    labels = grocery / "test_labels.csv"
    assert shell("--home", home, "relabel", "test", "--labels", labels, "--as", "judged")[0] == 0
    one = tmp_path / "one.yaml"
    lines = shop.ensemble_file.read_text().replace("name: tiny", "name: corrected").splitlines()
    alone = [line for line in lines if "second: {" not in line and not line.startswith("combinations")]
    one.write_text("\n".join([*alone, "combinations: {one: [first]}"]))
    assert shell("--home", home, "train", one, "--dataset", "better")[0] == 0
    score = ("score", "judged", "--ensemble", "corrected", "--no-skip-decided", "--json")
    code, out, _ = shell("--home", home, *score)
    assert code == 0
    job = json.loads(out)["job"]
    found = json.loads(shell("--home", home, "evaluate", job, "--labels", labels, "--json")[1])
    assert (found["labels"], found["unknown"], found["errors"]) == (290, 0, 0)
    target = tmp_path / "answers.csv"
    assert shell("--home", home, "export", job, "-o", target)[0] == 0
    assert len(target.read_text().splitlines()) == 291
    assert not list((home / "objects").glob("datasets/judged/packs/*.bson"))


def test_the_original_stays_while_it_is_needed(shell, tmp_path, grocery):
    categories = grocery / "category_names.csv"
    assert (
        shell("--home", tmp_path, "ingest", grocery / "test.bson", "--dataset", "d", "--categories", categories)[0] == 0
    )
    labels = grocery / "test_labels.csv"
    assert shell("--home", tmp_path, "relabel", "d", "--labels", labels, "--as", "judged")[0] == 0
    code, _, err = shell("--home", tmp_path, "rm", "dataset", "d")
    assert (code, err) == (2, "shelver: dataset 'd' is in use by dataset judged (a relabel); remove that first\n")
    assert (tmp_path / "objects" / layout.pack("d", 0)).exists()
    assert shell("--home", tmp_path, "rm", "dataset", "judged")[0] == 0
    assert shell("--home", tmp_path, "rm", "dataset", "d")[0] == 0
    assert not list((tmp_path / "objects").rglob("*.bson"))


def test_what_it_refuses(shell, home, corrected, tmp_path):
    corrected.write_text("_id,category_id\n1,2\n")
    before = sorted((home / "objects").rglob("*"))
    for labels, words in (
        (corrected, "corrected.csv, line 2: category 2 is not in"),
        (tmp_path / "none.csv", "No such"),
    ):
        code, out, err = shell("--home", home, "relabel", "train", "--labels", labels, "--as", "new")
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert words in err
    assert sorted((home / "objects").rglob("*")) == before


def test_interrupted_it_goes_on_with_the_same_command(open_terminal, shell, tmp_path, grocery, monkeypatch):
    monkeypatch.setenv("SHELVER_INGEST_PACK_BYTES", "100000")
    source, table, labels = (grocery / name for name in ("test.bson", "category_names.csv", "test_labels.csv"))
    assert shell("--home", tmp_path, "ingest", source, "--dataset", "d", "--categories", table)[0] == 0
    command = ("relabel", "d", "--labels", labels, "--as", "judged", "--json")
    packs = tmp_path / "objects" / "datasets" / "judged" / "packs"
    terminal = open_terminal(tmp_path)
    terminal.interrupt(*command, when=lambda: len(list(packs.glob("*.parquet"))) >= 3)
    assert not (tmp_path / "objects" / layout.manifest("judged")).exists()
    found = json.loads(terminal.complete(*command))
    assert (found["added"], found["labelled"]) == (290, 290)
    expected = json.loads(shell("--home", tmp_path, *command[:-2], "expected", "--json")[1])
    assert found == expected | {"dataset": "judged"}
