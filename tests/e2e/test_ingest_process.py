import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shared.settings import to_environment
from tests.launcher_home import LauncherHome


def process(home: LauncherHome, index: int, count: int, **more: str) -> subprocess.Popen[str]:
    """One process of the ingest `d`."""
    order = ["--dataset", "d", "--index", str(index), "--count", str(count)]
    return subprocess.Popen(
        [sys.executable, "-m", "services.ingest", *order],
        env={**os.environ, **to_environment(home.settings), **more},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def home(tmp_path: Path, grocery: Path) -> LauncherHome:
    return LauncherHome(tmp_path, grocery)


def test_three_processes_at_once_make_one_dataset(home: LauncherHome) -> None:
    home.ask_ingest("train.bson")
    said = []
    for one in [process(home, index, 3) for index in range(3)]:
        said.append(one.communicate()[0])
        assert one.returncode == 0
    assert any("dataset d is complete" in line for line in said)
    assert home.ingested() == "complete"
    assert not list(home.stores.objects.list("datasets/d/ingest/"))


@pytest.mark.parametrize(
    ("more", "words"),
    [({}, "ingest d: nobody has asked for it"), ({"SHELVER_INGEST_PACK": "1"}, "no setting has this name")],
)
def test_what_cannot_be_done_is_one_line(home: LauncherHome, more: dict[str, str], words: str) -> None:
    one = process(home, 0, 1, **more)
    out, errors = one.communicate()
    assert (one.returncode, errors) == (2, "")
    assert words in out
    assert out.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_store_that_is_away_is_waited_for_until_a_signal(home: LauncherHome, number: signal.Signals) -> None:
    database = home.settings.home / "shelver.sqlite"
    database.unlink(missing_ok=True)
    database.mkdir()
    one = process(home, 0, 1)
    assert one.stderr is not None
    assert "waiting 1 s" in one.stderr.readline()
    one.send_signal(number)
    one.communicate()
    assert one.returncode == 143
