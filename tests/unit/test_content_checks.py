"""doctor's lines about datasets and ensemble versions, each with what breaks it."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from services.cli.checks import Check
from services.cli.content_checks import dataset_checks, leftover_checks, version_checks
from shared import layout
from shared.adapters.sqlite import Database
from shared.packs import Manifest, read_manifest
from shared.settings import Settings
from tests.retention_home import INGEST, NOW, Home, ago, job, run, training, version

HEADER = json.dumps({"w": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}, "__metadata__": {}}).encode()
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + b"1234"


@pytest.fixture
def home(tmp_path: Path, make_dataset: Callable[..., Manifest]) -> Home:
    """The dataset `d` and the version e@v0 of one run."""
    home = Home(tmp_path, make_dataset)
    taxonomy = read_manifest(home.stores.objects, "d").taxonomy
    home.add(run("r1"), version("v0", "r1", taxonomy=taxonomy), training("t1", "r1"))
    home.stores.runs.set_current("e", "v0")
    home.stores.objects.put(layout.run_file("r1", "weights.safetensors"), WEIGHTS)
    home.put(layout.run_file("r1", "member.yaml"))
    return home


def look(home: Home, *, busy: bool = False) -> dict[str, Check]:
    settings = Settings(home=home.folder)
    found = [*dataset_checks(settings, home.stores, busy=busy), *version_checks(settings, home.stores)]
    return {check.name: check for check in found}


def broken(home: Home, name: str) -> tuple[str, str]:
    found = look(home)
    assert not found[name].ok
    return found[name].words, found[name].remedy


def test_what_is_whole_says_what_it_is(home: Home) -> None:
    found = look(home)
    assert {name: (check.ok, check.words, check.remedy) for name, check in found.items()} == {
        "dataset d": (True, "3 products, 4 images in 1 pack", ""),
        "ensemble e@v0": (True, "1 members trained on d", ""),
    }


def cut(home: Home, key: str) -> None:
    home.stores.objects.put(key, home.stores.objects.read(key)[: -len("shelf,class 2\n")])


@pytest.mark.parametrize("key", [layout.pack("d", 0), layout.pack_index("d", 0), layout.categories("d")])
def test_a_missing_object_of_a_dataset(home: Home, key: str) -> None:
    home.stores.objects.delete(key)
    words, remedy = broken(home, "dataset d")
    assert words == f"{key} is missing"
    assert "from a backup" in remedy


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (layout.pack("d", 0), r"bytes, not "),
        (layout.pack_index("d", 0), "is cut off or damaged"),
        (layout.categories("d"), "3 fields where the header has 4"),
    ],
)
def test_a_truncated_object_of_a_dataset(home: Home, key: str, words: str) -> None:
    cut(home, key)
    said, remedy = broken(home, "dataset d")
    assert said.startswith(key)
    assert words in said
    assert "from a backup" in remedy


def test_another_category_table(home: Home) -> None:
    key = layout.categories("d")
    home.stores.objects.put(key, home.stores.objects.read(key).replace(b"class 2", b"class 3"))
    for name in ("dataset d", "ensemble e@v0"):
        assert broken(home, name)[0] == f"{key} is another category table"


def test_an_empty_index(home: Home) -> None:
    home.stores.objects.put(layout.pack_index("d", 0), b"")
    assert broken(home, "dataset d")[0] == f"{layout.pack_index('d', 0)} is cut off or damaged"


def test_a_truncated_manifest(home: Home) -> None:
    home.stores.objects.put(layout.manifest("d"), b'{"schema": 1')
    _, remedy = broken(home, "dataset d")
    assert "from a backup" in remedy


def test_a_manifest_of_a_newer_shelver(home: Home) -> None:
    home.stores.objects.put(layout.manifest("d"), b'{"schema": 99}')
    assert "schema 99" in broken(home, "dataset d")[0]


def test_a_missing_manifest_of_a_dataset_in_use(home: Home) -> None:
    home.stores.objects.delete(layout.manifest("d"))
    words, remedy = broken(home, "dataset d")
    assert words == "its manifest is gone, and ensemble e@v0 needs it"
    assert "from a backup" in remedy


def test_an_interrupted_removal(home: Home, make_dataset: Callable[..., Manifest]) -> None:
    home.dataset("other", make_dataset(home.stores.objects, "other", products=3))
    home.stores.objects.delete(layout.manifest("other"))
    assert broken(home, "dataset other") == ("its removal was interrupted", "finish it: shelver rm dataset other")


def test_an_interrupted_ingest_says_how_to_go_on(home: Home, tmp_path: Path) -> None:
    source = tmp_path / "a dump.bson"
    source.write_bytes(b"content")
    status = source.stat()
    identity = f"{status.st_size} bytes, modified {status.st_mtime_ns}"
    ingest = replace(INGEST, source=str(source), source_identity=identity, allow_bad=3, categories="digest")
    home.stores.catalog.begin_ingest(ingest)
    found = look(home)["dataset new"]
    assert (found.ok, found.words) == (True, "its ingest was interrupted")
    command = f"shelver ingest '{source}' --dataset new --categories CSV --allow-bad 3"
    assert command in found.remedy
    assert "shelver rm dataset new" in found.remedy
    under_way = look(home, busy=True)["dataset new"]
    assert (under_way.ok, under_way.words, under_way.remedy) == (True, "an ingest is under way", "")
    os.utime(source, (1, 1))
    words, remedy = broken(home, "dataset new")
    assert "has changed or gone since" in words
    assert "shelver rm dataset new" in remedy
    source.unlink()
    assert "has changed or gone since" in broken(home, "dataset new")[0]


def test_an_ingest_that_was_asked_of_the_launcher_says_who_goes_on(home: Home) -> None:
    home.stores.catalog.begin_ingest(replace(INGEST, requested=True))
    found = look(home)["dataset new"]
    assert (found.ok, found.words) == (True, "its ingest was asked of the launcher")
    assert "python -m services.launcher" in found.remedy
    home.stores.catalog.end_ingest("new", "failed", "the file is empty")
    assert broken(home, "dataset new") == (
        "its ingest failed: the file is empty",
        "begin anew: shelver rm dataset new, then ask for it again",
    )


def test_an_interrupted_relabel_says_how_to_go_on(home: Home) -> None:
    home.stores.catalog.begin_ingest(replace(INGEST, source="dataset d by relabel", source_identity="fingerprint"))
    found = look(home)["dataset new"]
    assert (found.ok, found.words) == (True, "its ingest was interrupted")
    assert found.remedy == (
        "go on: shelver relabel d --labels CSV --as new (the same CSV); or give it up: shelver rm dataset new"
    )


TABLE = layout.duplicate_table("d", "all")
WEIGHTS_KEY = layout.run_file("r1", "weights.safetensors")


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        (TABLE, "`shelver train` its file on d again"),
        (layout.categories("d"), "copy the category table that was ingested to"),
        (WEIGHTS_KEY, "`shelver rm` its jobs, ensemble e@v0 and run r1, then `shelver train` again"),
        (layout.run_file("r1", "member.yaml"), "restore the files from a backup, or train anew"),
    ],
)
def test_an_ensemble_version_with_a_part_missing(home: Home, key: str, remedy: str) -> None:
    home.stores.objects.delete(key)
    words, todo = broken(home, "ensemble e@v0")
    assert words == f"{key} is missing"
    assert remedy in todo


@pytest.mark.parametrize("content", [WEIGHTS[:-1], WEIGHTS[:20], b"", b"no such file", b"\2\0\0\0\0\0\0\0[]"])
def test_damaged_weights(home: Home, content: bytes) -> None:
    home.stores.objects.put(WEIGHTS_KEY, content)
    assert broken(home, "ensemble e@v0")[0] == f"{WEIGHTS_KEY} is cut off or damaged"


def test_all_that_is_missing_is_said_at_once(home: Home) -> None:
    home.stores.objects.delete(TABLE)
    home.stores.objects.delete(WEIGHTS_KEY)
    words, remedy = broken(home, "ensemble e@v0")
    assert words == f"{TABLE} is missing; {WEIGHTS_KEY} is missing"
    assert "makes the table" in remedy
    assert "train anew" in remedy


def test_current_that_points_nowhere(home: Home) -> None:
    rows = Database(home.folder / "shelver.sqlite", "")
    rows.write("UPDATE current_versions SET version = 'gone'")
    words, remedy = broken(home, "ensemble e")
    assert words == "the current version, gone, is not there"
    assert "e@VERSION" in remedy


def test_leftovers_are_worth_a_word(home: Home) -> None:
    settings = Settings(home=home.folder)
    home.collect()
    assert list(leftover_checks(settings, home.stores, NOW)) == []
    home.add(job("old", ended=ago(100)), job("new", ended=ago(1)))
    home.put("elsewhere/file")
    removable, unknown = leftover_checks(settings, home.stores, NOW)
    assert removable.ok
    assert unknown.ok
    assert removable.words == "1 things that nothing needs, 5 bytes"
    assert "shelver gc --apply" in removable.remedy
    assert "elsewhere/file" in unknown.words
