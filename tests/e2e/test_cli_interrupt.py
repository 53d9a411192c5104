"""Ctrl-C in the middle of the long verbs: they stop there, and the same command goes on to the same end."""

import csv
import itertools
import json
import struct
from pathlib import Path

import pytest

from services import cli
from shared import wiring
from shared.settings import Settings

PACK_BYTES = "200000"


@pytest.fixture(scope="module")
def large_dump(grocery: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's documents four times, each time with new ids."""
    content, target = (grocery / "train.bson").read_bytes(), tmp_path_factory.mktemp("dump") / "large.bson"
    ids = itertools.count(1)
    with target.open("wb") as file:
        for _ in range(4):
            at = 0
            while at < len(content):
                end = at + int(struct.unpack_from("<i", content, at)[0])
                assert content[at + 4 : at + 9] == b"\x10_id\0"
                file.write(content[at : at + 9] + struct.pack("<i", next(ids)) + content[at + 13 : end])
                at = end
    return target


def ingest_of(dump: Path, grocery: Path) -> list[str | Path]:
    return ["ingest", dump, "--dataset", "d", "--categories", grocery / "category_names.csv", "--json"]


def objects_of(home: Path) -> dict[str, bytes]:
    root = home / "objects"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(large_dump: Path, grocery: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    home = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SHELVER_INGEST_PACK_BYTES", PACK_BYTES)
        assert cli.run(["--home", str(home), *map(str, ingest_of(large_dump, grocery))]) == 0
    found = objects_of(home)
    assert len(found) > 2 * 100  # packs and their indexes: enough for an interrupt to come between
    return found


@pytest.mark.parametrize("processes", ["1", "2"])
def test_ingest(open_terminal, shell, large_dump, undisturbed, grocery, tmp_path, processes):
    command = [*ingest_of(large_dump, grocery), "--processes", processes]
    terminal = open_terminal(tmp_path, ingest_pack_bytes=PACK_BYTES)
    written = tmp_path / "objects" / "datasets" / "d" / "ingest"
    terminal.interrupt(*command, when=lambda: len(list(written.glob("*.json"))) >= 5)
    assert json.loads(shell("--home", tmp_path, "datasets", "--json")[1]) == []
    manifest = json.loads(terminal.complete(*command))
    assert (manifest["products"], manifest["repeated"]) == (4 * 436, 0)
    assert objects_of(tmp_path) == undisturbed


def test_train(open_terminal, shell, shop, grocery, tmp_path):
    terminal = open_terminal(tmp_path / "home")
    ingest = ("ingest", grocery / "train.bson", "--dataset", "train", "--categories", grocery / "category_names.csv")
    assert shell("--home", terminal.home, *ingest)[0] == 0
    command = ["train", shop.ensemble_file, "--dataset", "train", "--member", "first", "--json"]

    def trains() -> bool:
        progress = list(terminal.home.glob("objects/runs/*/progress.json"))
        return bool(progress) and json.loads(progress[0].read_text())["step"] >= 1

    terminal.interrupt(*command, when=trains)
    checkpoints = list(terminal.home.glob("objects/runs/*/checkpoint/latest.json"))
    assert len(checkpoints) == 1
    assert not list(terminal.home.glob("objects/runs/*/manifest.json")), "it did not train to its end first"
    assert json.loads(terminal.complete(*command))["version"] is None, "the second member is not trained"
    (run,) = terminal.home.glob("objects/runs/*")
    expected = shop.home / "objects" / "runs" / run.name / "weights.safetensors"
    assert (run / "weights.safetensors").read_bytes() == expected.read_bytes()


def test_score(open_terminal, shell, shop, tmp_path):
    terminal = open_terminal(tmp_path / "home")
    shop.copy(terminal.home)
    command = ["score", "test", "--ensemble", "tiny", "--no-skip-decided", "--chunk-images", "64", "--json"]
    jobs = wiring.stores(Settings(home=terminal.home)).jobs

    def chunks_done() -> int:
        job = next((job.id for job in jobs.jobs() if job.id != shop.job), None)
        return len(jobs.chunks(job, ("done",))) if job else 0

    terminal.interrupt(*command, when=lambda: chunks_done() >= 1)
    (unfinished,) = (job for job in jobs.jobs() if job.id != shop.job)
    assert unfinished.state == "running"
    assert jobs.chunks(unfinished.id, ("running",)) == []
    for asked in ((), (unfinished.id,)):
        assert "the same `shelver score` goes on" in shell("--home", terminal.home, "jobs", *asked)[2]
    found = json.loads(terminal.complete(*command))
    assert (found["job"], found["state"], found["done"]) == (unfinished.id, "succeeded", 290)
    submissions = [shell("--home", terminal.home, "export", job, "-o", "-")[1] for job in (shop.job, unfinished.id)]
    assert submissions[0] == submissions[1]
    assert len(list(csv.reader(submissions[0].splitlines()))) == 291
