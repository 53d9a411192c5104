"""Weights that were trained elsewhere become an ensemble version that scores."""

import json
import shutil
from pathlib import Path

import bson
import pytest
from safetensors.torch import load_file, save_file

from shared import layout, wiring
from shared.settings import Settings
from tests.conftest import TINY, Shop


@pytest.fixture
def elsewhere(shop: Shop, tmp_path: Path) -> tuple[Path, list[str]]:
    """A home with the shop's datasets alone, and the options that name the weights of its runs as files."""
    home = tmp_path / "home"
    stores = wiring.stores(Settings(home=shop.home))
    version = stores.runs.version("tiny")
    shop.copy(home)
    options = []
    for member, run in version.runs.items():
        file = tmp_path / f"{member}.safetensors"
        shutil.copy(shop.home / "objects" / layout.run_file(run, "weights.safetensors"), file)
        options += ["--weights", f"{member}={file}"]
    return home, options


def imported_file(folder: Path) -> Path:
    file = folder / "imported.yaml"
    file.write_text(TINY.replace("name: tiny", "name: imported"))
    return file


def test_imported_weights_score_as_those_of_the_training(shell, shop, elsewhere, tmp_path):
    home, options = elsewhere
    file = imported_file(tmp_path)

    code, out, err = shell("--home", home, "ensembles", "import", file, "--dataset", "train", *options)
    assert (code, err) == (0, "")
    assert out.startswith("ensemble imported@")
    again = shell("--home", home, "ensembles", "import", file, "--dataset", "train", *options)
    assert again == (0, out, "")

    score = ("score", "test", "--ensemble", "imported", "--no-skip-decided", "--chunk-images", "128", "--json")
    code, scored, _ = shell("--home", home, *score)
    assert code == 0
    for job, name in ((json.loads(scored)["job"], "ours.csv"), (shop.job, "theirs.csv")):
        assert shell("--home", home, "export", job, "-o", tmp_path / name)[0] == 0
    assert (tmp_path / "ours.csv").read_bytes() == (tmp_path / "theirs.csv").read_bytes()


def test_nothing_of_its_dataset_judges_an_import(shell, shop, elsewhere, tmp_path, grocery):
    home, options = elsewhere
    assert shell("--home", home, "ensembles", "import", imported_file(tmp_path), "--dataset", "train", *options)[0] == 0
    _, scored, _ = shell("--home", home, "score", "train", "--ensemble", "imported", "--no-skip-decided", "--json")

    labels = tmp_path / "labels.csv"
    with (grocery / "train.bson").open("rb") as dump:
        rows = [f"{document['_id']},{document['category_id']}" for document in bson.decode_file_iter(dump)]
    labels.write_text("\n".join(["_id,category_id", *rows]) + "\n")
    code, out, _ = shell("--home", home, "evaluate", json.loads(scored)["job"], "--labels", labels, "--json")

    assert code == 0
    assert json.loads(out)["judged"] == 0
    assert {one["without_duplicates"] for one in json.loads(out)["combinations"]} == {None}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda options, _: options[:2], "no weights for second"),
        (lambda options, _: [*options, "--weights", "third=a"], "no member third"),
        (lambda options, _: [*options, *options[:2]], "named twice"),
        (lambda options, _: ["--weights", "first"], "not MEMBER=FILE"),
        (lambda options, folder: [*options[:2], "--weights", f"second={folder / 'none'}"], "no such file"),
    ],
)
def test_what_is_named_wrongly_is_refused_and_nothing_stored(shell, elsewhere, tmp_path, spoil, words):
    home, options = elsewhere
    before = len(wiring.stores(Settings(home=home)).runs.runs())

    code, _, err = shell(
        "--home", home, "ensembles", "import", imported_file(tmp_path), "--dataset", "train", *spoil(options, tmp_path)
    )

    assert code == 2
    assert words in err
    assert len(wiring.stores(Settings(home=home)).runs.runs()) == before


def test_weights_of_other_classes_are_refused(shell, elsewhere, tmp_path):
    home, options = elsewhere
    file = Path(options[1].partition("=")[2])
    save_file(
        {name: tensor[:-1] if name.startswith("fc.") else tensor for name, tensor in load_file(file).items()}, file
    )

    code, _, err = shell("--home", home, "ensembles", "import", imported_file(tmp_path), "--dataset", "train", *options)

    assert code == 2
    assert "weights of first: no tensor has" in err
