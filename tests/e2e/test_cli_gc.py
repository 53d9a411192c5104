"""gc and rm as a person uses them: look first, then remove, and what is in use still works."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from shared import layout, wiring
from shared.domain.records import Training
from shared.settings import Settings


@pytest.fixture
def home(shop, tmp_path) -> Path:
    """The shop with an old job of 5 bytes, a dead upload of 3 and a run that nothing names."""
    shop.copy(tmp_path / "home")
    stores = wiring.stores(Settings(home=tmp_path / "home"))
    job = stores.jobs.job(shop.job)
    stores.jobs.create(replace(job, id="0123456789abcdef", ended=1.0))
    stores.objects.put("jobs/0123456789abcdef/export/all.parquet", b"12345")
    stores.objects.put(layout.upload(layout.upload_request(1.0, "x"), 0), b"123")
    stores.runs.declare(replace(stores.runs.runs()[0], id="fedcba9876543210", state="failed", ended=1.0))
    return tmp_path / "home"


def files(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in (home / "objects").rglob("*") if path.is_file()}


def test_it_shows_first_and_removes_when_told(shell, shop, home):
    before = files(home)
    export = ("--home", home, "export", shop.job, "-o", "-")
    answers = shell(*export)[1]
    code, out, _ = shell("--home", home, "gc")
    assert code == 0
    for words in (
        "0123456789abcdef",
        "fedcba9876543210",
        "upload",
        "3 to remove, 8 bytes; do it with `shelver gc --apply`",
    ):
        assert words in out
    assert files(home) == before
    code, out, _ = shell("--home", home, "gc", "--apply", "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["applied"], found["bytes"]) == (True, 8)
    assert [(one["kind"], one["bytes"], one["removable"]) for one in found["garbage"]] == [
        ("job", 5, True),
        ("run", 0, True),
        ("upload", 3, True),
    ]
    assert files(home) == before - {path for path in before if "0123456789abcdef" in path or "uploads/" in path}
    assert shell("--home", home, "gc")[1] == "there is nothing to remove\n"
    assert shell(*export)[1] == answers
    assert shell("--home", home, "jobs", "0123456789abcdef")[0] == 2


def test_what_it_does_not_know_is_left_to_a_person(shell, home):
    objects = wiring.objects(Settings(home=home))
    objects.put("notes/mine.txt", b"12")
    assert shell("--home", home, "gc", "--apply")[0] == 0
    code, out, _ = shell("--home", home, "gc")
    assert code == 0
    assert "Left to a person:" in out
    assert "notes/mine.txt" in out
    assert "there is nothing to remove" in out
    assert objects.exists("notes/mine.txt")


def test_files_of_died_processes_go_with_it(shell, home):
    partial = home / "objects" / ".partial" / "0011223344556677"
    partial.parent.mkdir(exist_ok=True)
    partial.write_bytes(b"half an object")
    folder = home / "processes" / "train-fedcba9876543210-1"
    folder.mkdir(parents=True)
    (folder / "log").write_text("it died")
    (home / ".probe-1").write_bytes(b"shelver")
    out = json.loads(shell("--home", home, "gc", "--apply", "--json")[1])
    names = [one["name"] for one in out["garbage"] if one["kind"] == "file"]
    assert names == ["objects/.partial/0011223344556677", "processes/train-fedcba9876543210-1", ".probe-1"]
    assert not any((partial.exists(), folder.exists(), (home / ".probe-1").exists()))
    assert shell("--home", home, "gc")[1] == "there is nothing to remove\n"


def test_it_waits_for_nobody_but_says_who_works_there(shell, home):
    with wiring.exclusive(Settings(home=home)):
        code, _, err = shell("--home", home, "gc", "--apply")
        assert shell("--home", home, "gc")[0] == 0
    assert code == 1
    assert "another shelver is working here (process " in err


def test_an_ensemble_goes_after_its_jobs_and_its_runs_after_it(shell, shop, home):
    (version,) = json.loads(shell("--home", home, "ensembles", "--json")[1])
    name = f"tiny@{version['version']}"
    refused = shell("--home", home, "rm", "ensemble", name)
    assert refused[0] == 2
    assert "in use by job" in refused[2]
    for job in json.loads(shell("--home", home, "jobs", "--json")[1]):
        assert shell("--home", home, "rm", "job", job["id"])[0] == 0
    assert shell("--home", home, "rm", "ensemble", name)[:2] == (0, f"ensemble {name} is removed\n")
    for run in version["runs"].values():
        assert shell("--home", home, "rm", "run", run)[0] == 0
    assert shell("--home", home, "ensembles")[1].startswith("no ensembles yet")
    assert not list((home / "objects").glob("ensembles/*"))


def test_an_interrupted_training_can_be_given_up(shell, home):
    stores = wiring.stores(Settings(home=home))
    run = replace(stores.runs.runs()[0], id="aaaaaaaaaaaaaaaa", state="running", attempt=1)
    stores.runs.declare(run)
    stores.runs.add_training(
        Training(id="t1", ensemble="tiny", dataset="train", document={}, runs={"first": run.id}, state="running")
    )
    assert shell("--home", home, "rm", "run", run.id)[0] == 2
    assert shell("--home", home, "rm", "training", "t1")[0] == 0
    assert stores.runs.run(run.id).state == "cancelled"
    assert shell("--home", home, "rm", "run", run.id)[0] == 0
    with closing(sqlite3.connect(home / "shelver.sqlite")) as rows:
        assert rows.execute("SELECT count(*) FROM trainings WHERE id = 't1'").fetchone() == (0,)
