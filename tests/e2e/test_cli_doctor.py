"""doctor on a real home: content, what breaks it, and remedies that work as they are said."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli import machine_checks
from shared import layout


@pytest.fixture
def home(shop, tmp_path) -> Path:
    shop.copy(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def no_torch(monkeypatch):
    """A device probe that takes no seconds: the first test asks the real one."""
    found = json.dumps({"name": "CPU", "kind": "cpu", "precision": "float32", "cuda": None})
    monkeypatch.setattr(machine_checks, "run", lambda command: subprocess.CompletedProcess(command, 0, found, ""))
    monkeypatch.setenv("PATH", "")  # nor an nvidia-smi


@pytest.fixture
def doctor(shell, home, no_torch):
    """The lines that are not ok, and the exit code that has to go with them."""

    def run() -> dict[str, dict[str, str]]:
        code, out, _ = shell("--home", home, "doctor", "--json")
        found = json.loads(out)
        assert code == (0 if all(check["ok"] for check in found) else 1)
        return {check["name"]: check for check in found if not check["ok"]}

    return run


def files(home: Path) -> dict[str, tuple[int, int]]:
    """Sizes and times of all but the document store, whose log moves when it is opened."""
    kept = (path for path in home.rglob("*") if path.is_file() and "shelver.sqlite" not in path.name)
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in kept}


def test_a_home_that_is_well_stays_as_it_is(shell, home):
    before = files(home)
    code, out, err = shell("--home", home, "doctor")
    assert (code, err) == (0, "")
    assert all(line.startswith(("ok  ", "    -> ")) for line in out.splitlines())
    assert "dataset train" in out
    assert "436 products" in out
    assert files(home) == before


def test_variables_that_stop_every_other_verb(shell, doctor, home, monkeypatch):
    monkeypatch.setenv("SHELVER_SCORING_DEVISE", "cpu")
    assert shell("--home", home, "datasets")[0] == 2
    assert doctor()["settings"]["remedy"] == "unset it, or did you mean SHELVER_SCORING_DEVICE?"


def test_a_pack_that_is_cut_off_is_mended_from_another_home(shell, doctor, home, grocery, tmp_path):
    pack = home / "objects" / layout.pack("train", 0)
    os.truncate(pack, 1000)
    found = doctor()["dataset train"]
    assert "has 1,000 bytes, not" in found["words"]
    command = found["remedy"].partition("the same bytes: ")[2].replace("CSV", str(grocery / "category_names.csv"))
    assert shell(*command.replace("OTHER", str(tmp_path / "other")).split()[1:])[0] == 0
    shutil.copy(tmp_path / "other" / "objects" / layout.pack("train", 0), pack)
    assert doctor() == {}


def test_a_duplicate_table_that_is_gone_comes_back_by_train(shell, shop, doctor, home):
    table = home / "objects" / layout.duplicate_table("train", "all")
    content = table.read_bytes()
    table.unlink()
    (found,) = doctor().values()
    assert "`shelver train` its file on train again, which makes the table and trains nothing" in found["remedy"]
    assert shell("--home", home, "train", shop.ensemble_file, "--dataset", "train")[0] == 0
    assert table.read_bytes() == content
    assert doctor() == {}


def test_a_removal_that_was_interrupted_is_finished_as_it_says(shell, doctor, home, grocery):
    ingest = ("ingest", grocery / "test.bson", "--dataset", "again", "--categories", grocery / "category_names.csv")
    assert shell("--home", home, *ingest)[0] == 0
    (home / "objects" / layout.manifest("again")).unlink()
    remedy = doctor()["dataset again"]["remedy"]
    assert shell("--home", home, *remedy.partition("shelver ")[2].split())[0] == 0
    assert doctor() == {}


def test_a_damaged_document_store_is_said_and_nothing_more(shell, doctor, home):
    for path in home.glob("shelver.sqlite-*"):
        path.unlink()
    (home / "shelver.sqlite").write_bytes(b"no database" * 1000)
    assert list(doctor()) == ["document store"]


def test_who_works_there(shell, home, no_torch):
    line = "import sys; from pathlib import Path; from shared.adapters.home_lock import exclusive\n"
    line += "with exclusive(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", line, home], stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout.readline() == "held\n"
        code, out, _ = shell("--home", home, "doctor")
        other.send_signal(signal.SIGKILL)
    assert code == 0
    assert f"another shelver works here: process {other.pid} since" in out
    assert "nobody works here" in shell("--home", home, "doctor")[1]
