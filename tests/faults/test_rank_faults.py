"""A training in two processes under torchrun: asked to go, killed in parts, given what it cannot train."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from shared import layout, wiring
from shared.domain.definitions import run_definition, run_id
from shared.domain.ensemble import Member, Split
from shared.domain.records import Run
from shared.packs import Manifest
from shared.ports import Objects
from shared.settings import Settings, TrainingSettings, to_environment
from tests import tiny_member

DEADLINE_SECONDS = 600.0
MEMBER = replace(tiny_member.MEMBER, epochs=40, split=Split(seed=26, holdout=0.25))
SETTINGS = Settings(training=TrainingSettings(device="cpu", decode_threads=1, processes=2))
LATEST = "checkpoint/latest.json"


@dataclass
class Ward:
    """A home with declared runs, and the processes that train them."""

    home: Path
    objects: Objects
    manifest: Manifest
    parents: list[subprocess.Popen[str]] = field(default_factory=list)

    def declare(self, member: Member) -> str:
        fingerprints = {"dataset": self.manifest.fingerprint, "taxonomy": self.manifest.taxonomy}
        definition = run_definition(member, **fingerprints, parent="")
        run = Run(id=run_id(definition), member="tiny", dataset="tiny", definition=definition)
        self.objects.put(layout.run_file(run.id, "definition.json"), json.dumps(run.plain()).encode())
        return run.id

    def start(self, run: str, attempt: int = 1, checkpoint_seconds: float = 0.0) -> subprocess.Popen[str]:
        training = replace(SETTINGS.training, checkpoint_seconds=checkpoint_seconds)
        settings = replace(SETTINGS, home=self.home, training=training)
        environment = {**os.environ, **to_environment(settings), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "workers.training", "--run", run, "--attempt", str(attempt)]
        with (self.home / f"log-{run}-{attempt}").open("w") as log:
            parent = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, text=True
            )
        self.parents.append(parent)
        return parent

    def lines(self, run: str, attempt: int = 1) -> list[str]:
        return (self.home / f"log-{run}-{attempt}").read_text().splitlines()

    def wait_for_a_checkpoint(self, run: str, parent: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not self.objects.exists(layout.run_file(run, LATEST)):
            assert parent.poll() is None, self.lines(run)
            assert time.monotonic() < deadline, self.lines(run)
            time.sleep(0.005)

    def result(self, run: str) -> dict[str, Any]:
        names = ["weights.safetensors", "holdout/scores-00000.npy", "manifest.json"]
        found: dict[str, Any] = {name: self.objects.read(layout.run_file(run, name)) for name in names[:2]}
        return found | {"steps": json.loads(self.objects.read(layout.run_file(run, "manifest.json")))["steps"]}

    def processes(self, run: str) -> dict[str, int]:
        """Process ids of torchrun and its ranks."""
        found = {}
        for folder in Path("/proc").iterdir():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                variables = (folder / "environ").read_bytes().split(b"\0")
            except OSError:  # it ended meanwhile, or is none
                continue
            if not {run.encode(), b"workers.training.rank_process"} <= set(words):
                continue
            if f"SHELVER_HOME={self.home}".encode() not in variables:  # the same run in another test
                continue
            ranks = [one.removeprefix(b"RANK=").decode() for one in variables if one.startswith(b"RANK=")]
            found[ranks[0] if ranks else "torchrun"] = int(folder.name)
        return found

    def wait_until_gone(self, run: str) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self.processes(run):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def forget(self, run: str) -> None:
        for key in list(self.objects.list(layout.run_prefix(run))):
            if not key.endswith("definition.json"):
                self.objects.delete(key)


@pytest.fixture
def ward(tmp_path: Path, make_dataset: Callable[..., Manifest]) -> Iterator[Ward]:
    objects = wiring.objects(replace(SETTINGS, home=tmp_path))
    opened = Ward(tmp_path, objects, make_dataset(objects))
    yield opened
    for parent in opened.parents:
        parent.kill()  # which ends its ranks
        parent.communicate()


def test_asked_to_go_it_saves_and_ends_the_same_later(ward: Ward) -> None:
    run = ward.declare(MEMBER)
    assert ward.start(run, checkpoint_seconds=60.0).wait(DEADLINE_SECONDS) == 0, ward.lines(run)
    undisturbed = ward.result(run)
    ward.forget(run)

    parent = ward.start(run)
    ward.wait_for_a_checkpoint(run, parent)
    parent.terminate()
    assert parent.wait(DEADLINE_SECONDS) == 143, ward.lines(run)
    assert ward.lines(run)[-1] == "preempted: a checkpoint is written"
    assert not ward.processes(run)
    (attempt, step), *_ = json.loads(ward.objects.read(layout.run_file(run, LATEST)))["checkpoints"]
    assert (attempt, 0 < step < undisturbed["steps"]) == (1, True)

    assert ward.start(run, 2, checkpoint_seconds=60.0).wait(DEADLINE_SECONDS) == 0, ward.lines(run, 2)
    assert f"going on from step {step}" in ward.lines(run, 2)
    assert ward.result(run) == undisturbed


def test_a_killed_rank_fails_the_attempt(ward: Ward) -> None:
    run = ward.declare(MEMBER)
    parent = ward.start(run)
    ward.wait_for_a_checkpoint(run, parent)
    os.kill(ward.processes(run)["1"], signal.SIGKILL)
    assert parent.wait(DEADLINE_SECONDS) == 1, ward.lines(run)
    assert ward.lines(run)[-1] == "a process of the training was killed; out of memory?"
    assert not ward.processes(run)


def test_ranks_do_not_outlive_their_parent(ward: Ward) -> None:
    run = ward.declare(replace(MEMBER, epochs=10000))
    parent = ward.start(run)
    ward.wait_for_a_checkpoint(run, parent)
    parent.kill()
    ward.wait_until_gone(run)
    assert ward.objects.exists(layout.run_file(run, LATEST))
    assert not ward.objects.exists(layout.run_file(run, "manifest.json"))


def test_a_bad_member_is_refused_before_and_after_torchrun(ward: Ward) -> None:
    odd = ward.declare(replace(MEMBER, batch_size=7))
    assert ward.start(odd).wait(DEADLINE_SECONDS) == 2
    (line,) = ward.lines(odd)
    assert "its batch of 7 cannot be cut into equal parts" in line

    unwatched = ward.declare(replace(MEMBER, split=tiny_member.MEMBER.split, early_stopping=2))
    assert ward.start(unwatched).wait(DEADLINE_SECONDS) == 2
    assert "early stopping watches 5 %" in ward.lines(unwatched)[-1]
