"""Ctrl-C in the middle of the long verbs: they stop within 5 seconds, and the same command goes on to the same end."""

import csv
import itertools
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shared import wiring
from shared.settings import Settings

SECONDS_TO_STOP = 5
DEADLINE_SECONDS = 120


class Terminal:
    """A command line in a process group of its own, as a terminal starts it, in one home."""

    def __init__(self, home: Path, **settings: object) -> None:
        self.home = home
        self._environment = os.environ | {"SHELVER_HOME": str(home)}
        self._environment |= {f"SHELVER_{name.upper()}": str(value) for name, value in settings.items()}

    def interrupt(self, *arguments: str | Path, when: Callable[[], bool]) -> None:
        """Press Ctrl-C in a command when the condition comes true."""
        with self._start(arguments) as process:
            try:
                self._wait(when, process)
                os.killpg(process.pid, signal.SIGINT)
                assert process.wait(timeout=SECONDS_TO_STOP) == 130
            finally:
                process.kill()
            said = process.communicate()[1].decode()
        assert said.splitlines()[-1] == "interrupted; the same command goes on where this one stopped"
        assert "Traceback" not in said
        assert self._processes() == []

    def complete(self, *arguments: str | Path) -> str:
        """The standard output of a command that nobody disturbs."""
        with self._start(arguments) as process:
            out, err = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0, err.decode()
        return out.decode()

    def _start(self, arguments: tuple[str | Path, ...]) -> "subprocess.Popen[bytes]":
        line = [sys.executable, "-m", "services.cli", *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(line, env=self._environment, stdout=pipe, stderr=pipe, process_group=0)

    def _wait(self, when: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not when():
            assert process.poll() is None, process.communicate()[1].decode()
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.01)

    def _processes(self) -> list[str]:
        """What still runs with this home in its environment."""
        mark = f"SHELVER_HOME={self.home}\0".encode()
        return [folder.name for folder in Path("/proc").glob("[0-9]*") if mark in _environment(folder)]


def _environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""  # it ended meanwhile


@pytest.fixture
def large_dump(grocery: Path, tmp_path: Path) -> Path:
    """The sample's documents eight times, each time with new ids."""
    content, target = (grocery / "train.bson").read_bytes(), tmp_path / "large.bson"
    ids = itertools.count(1)
    with target.open("wb") as file:
        for _ in range(8):
            at = 0
            while at < len(content):
                end = at + int(struct.unpack_from("<i", content, at)[0])
                assert content[at + 4 : at + 9] == b"\x10_id\0"
                file.write(content[at : at + 9] + struct.pack("<i", next(ids)) + content[at + 13 : end])
                at = end
    return target


def objects_of(home: Path) -> dict[str, bytes]:
    root = home / "objects"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("processes", ["1", "2"])
def test_ingest(large_dump, grocery, tmp_path, processes):
    command = ["ingest", large_dump, "--dataset", "d", "--categories", grocery / "category_names.csv", "--json"]
    undisturbed = Terminal(tmp_path / "undisturbed", ingest_pack_bytes=200_000)
    terminal = Terminal(tmp_path / "home", ingest_pack_bytes=200_000)
    written = terminal.home / "objects" / "datasets" / "d" / "ingest"
    terminal.interrupt(*command, "--processes", processes, when=lambda: len(list(written.glob("*.json"))) >= 5)
    assert json.loads(terminal.complete("datasets", "--json")) == []
    manifest = json.loads(terminal.complete(*command, "--processes", processes))
    assert manifest["fingerprint"] == json.loads(undisturbed.complete(*command))["fingerprint"]
    assert objects_of(terminal.home) == objects_of(undisturbed.home)


def test_train(shop, grocery, tmp_path):
    terminal = Terminal(tmp_path / "home")
    categories = grocery / "category_names.csv"
    terminal.complete("ingest", grocery / "train.bson", "--dataset", "train", "--categories", categories)
    command = ["train", shop.ensemble_file, "--dataset", "train", "--member", "first", "--json"]

    def trains() -> bool:
        progress = list(terminal.home.glob("objects/runs/*/progress.json"))
        return bool(progress) and json.loads(progress[0].read_text())["step"] >= 1

    terminal.interrupt(*command, when=trains)
    checkpoints = list(terminal.home.glob("objects/runs/*/checkpoint/latest.json"))
    assert len(checkpoints) == 1
    assert json.loads(terminal.complete(*command))["version"] is None, "the second member is not trained"
    (run,) = terminal.home.glob("objects/runs/*")
    expected = shop.home / "objects" / "runs" / run.name / "weights.safetensors"
    assert (run / "weights.safetensors").read_bytes() == expected.read_bytes()


def test_score(shop, tmp_path):
    terminal = Terminal(tmp_path / "home")
    shutil.copytree(shop.home, terminal.home)
    command = ["score", "test", "--ensemble", "tiny", "--no-skip-decided", "--chunk-images", "64", "--json"]
    jobs = wiring.stores(Settings(home=terminal.home)).jobs

    def chunks_done() -> int:
        job = next((job.id for job in jobs.jobs() if job.id != shop.job), None)
        return len(jobs.chunks(job, ("done",))) if job else 0

    terminal.interrupt(*command, when=lambda: chunks_done() >= 1)
    (unfinished,) = (job for job in jobs.jobs() if job.id != shop.job)
    assert unfinished.state == "running"
    assert jobs.chunks(unfinished.id, ("running",)) == []
    found = json.loads(terminal.complete(*command))
    assert (found["job"], found["state"], found["done"]) == (unfinished.id, "succeeded", 290)
    submissions = [terminal.complete("export", job, "-o", "-") for job in (shop.job, unfinished.id)]
    assert submissions[0] == submissions[1]
    assert len(list(csv.reader(submissions[0].splitlines()))) == 291
