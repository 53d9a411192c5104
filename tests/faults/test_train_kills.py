"""Training processes killed at random moments end with the bits of an undisturbed one.

Importing torch takes longer than the training: a nursery process imports it once and forks the processes to be killed.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import pytest

from shared import layout, wiring
from shared.domain.definitions import run_definition, run_id
from shared.domain.ensemble import Augmentation, Schedule, Split
from shared.domain.records import Run
from shared.packs import Manifest
from shared.ports import Objects
from shared.settings import Settings, TrainingSettings, to_environment
from tests import tiny_member

KILLS = 20
DEADLINE_SECONDS = 120.0
MEMBER = replace(tiny_member.MEMBER, epochs=4)
FULL = replace(
    MEMBER,
    split=Split(seed=26, holdout=0.25),  # with it five products are watched
    epochs=12,
    optimizer="sgd",
    momentum=0.8,
    accumulate=2,
    clip_norm=0.5,
    ema=0.8,
    plain_epochs=9,
    augment=(Augmentation(name="hflip"), Augmentation(name="rotate", amount=15)),
    schedule=Schedule(kind="plateau", rate=0.4, factor=0.5, patience=0, warmup=0.5),
    early_stopping=2,
)
"""Everything that a training keeps from epoch to epoch; it stops early."""
SETTINGS = Settings(training=TrainingSettings(device="cpu", checkpoint_seconds=0.0, decode_threads=1))
"""Checkpoints at every step."""
NURSERY = """
import os, sys
import workers.training.process
from workers.training.__main__ import main
print("ready", flush=True)
for line in sys.stdin:
    home, run, attempt = line.split()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.environ["SHELVER_HOME"] = home
        os.dup2(reading, 0)
        os.dup2(2, 1)
        os.close(writing)
        os._exit(main(["--run", run, "--attempt", attempt]))
    os.close(reading)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    os.close(writing)
"""


class Nursery:
    """Starts attempts, each a process of its own that may be killed."""

    def __init__(self, log: IO[bytes]) -> None:
        environment = {**os.environ, **to_environment(SETTINGS), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", NURSERY]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, text=True
        )
        self.pid = 0
        assert self._line() == "ready"

    def start(self, home: Path, run: str, attempt: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{home} {run} {attempt}\n")
        self.process.stdin.flush()
        self.pid = int(self._line())

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def exit_code(self) -> int:
        return int(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with (tmp_path_factory.mktemp("nursery") / "log").open("wb") as log:
        opened = Nursery(log)
        yield opened
        opened.close()


@dataclass
class Ward:
    """A home with a declared run, and the nursery for its attempts."""

    home: Path
    objects: Objects
    run: str
    nursery: Nursery
    attempt: int = 0

    def start(self) -> None:
        self.attempt += 1
        self.nursery.start(self.home, self.run, self.attempt)

    def result(self) -> dict[str, Any]:
        """What has to be the same whatever happened."""
        names = ["weights.safetensors", "holdout/scores-00000.npy", "member.yaml"]
        found: dict[str, Any] = {name: self.objects.read(layout.run_file(self.run, name)) for name in names}
        metrics = json.loads(self.objects.read(layout.run_file(self.run, "metrics.json")))
        lines = self.objects.read(layout.run_file(self.run, "log.jsonl")).splitlines()
        found |= {"log": [(line["kind"], line["step"], line.get("watch")) for line in map(json.loads, lines)]}
        return found | {key: metrics.get(key) for key in ("holdout", "steps", "best_epoch", "training", "start")}

    def complete(self) -> bool:
        return self.objects.exists(layout.run_file(self.run, "manifest.json"))

    def forget(self) -> None:
        for key in list(self.objects.list(layout.run_prefix(self.run))):
            if not key.endswith("definition.json"):
                self.objects.delete(key)


@pytest.fixture
def ward(
    request: pytest.FixtureRequest, tmp_path: Path, make_dataset: Callable[..., Manifest], nursery: Nursery
) -> Ward:
    """Of `MEMBER`, unless the test is parametrised."""
    member = getattr(request, "param", MEMBER)
    objects = wiring.objects(replace(SETTINGS, home=tmp_path))
    manifest = make_dataset(objects)
    definition = run_definition(member, dataset=manifest.fingerprint, taxonomy=manifest.taxonomy, parent="")
    run = Run(id=run_id(definition), member="tiny", dataset="tiny", definition=definition)
    objects.put(layout.run_file(run.id, "definition.json"), json.dumps(run.plain()).encode())
    return Ward(tmp_path, objects, run.id, nursery)


@pytest.mark.parametrize(
    ("ward", "wanted"), [(MEMBER, KILLS), (FULL, KILLS // 2)], indirect=["ward"], ids=["few", "all"]
)
def test_a_training_killed_at_random_moments_ends_with_the_same_bits(ward: Ward, wanted: int, seed: int) -> None:
    chance = random.Random(seed)
    began = time.monotonic()
    ward.start()
    assert ward.nursery.exit_code() == 0
    duration = time.monotonic() - began
    undisturbed = ward.result()
    assert (undisturbed["log"][-1][0] == "stopped") == (undisturbed["best_epoch"] is not None) == (wanted < KILLS)
    kills, kills_of_this = 0, 0
    ward.forget()
    while kills < wanted or not ward.complete():
        ward.start()
        if kills < wanted:
            time.sleep(chance.uniform(0.0, duration * 0.6))
            ward.nursery.kill()
        code = ward.nursery.exit_code()
        assert code in (0, -signal.SIGKILL)
        kills += code != 0
        kills_of_this += code != 0
        if ward.complete():
            assert ward.result() == undisturbed, f"after {kills_of_this} kills"
            if kills < wanted:
                kills_of_this = 0
                ward.forget()
    assert kills >= wanted


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_training_asked_to_go_writes_a_checkpoint_and_says_preempted(ward: Ward, number: signal.Signals) -> None:
    ward.start()
    latest = layout.run_file(ward.run, "checkpoint/latest.json")
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not ward.objects.exists(latest):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(ward.nursery.pid, number)
    assert ward.nursery.exit_code() == 143
    assert ward.objects.exists(latest) or ward.objects.exists(layout.run_file(ward.run, "weights.safetensors"))
    assert not ward.complete()


def test_a_run_without_a_definition_is_bad_input(ward: Ward) -> None:
    ward.nursery.start(ward.home, "0123456789abcdef", 1)
    assert ward.nursery.exit_code() == 2


DRIVER = """
import sys
from pathlib import Path
from services.launcher import train
from shared import ensemble_file, wiring
from shared.settings import from_environment
settings = from_environment()
ensemble = ensemble_file.load(Path(sys.argv[1]))
train(wiring.stores(settings), wiring.launcher(settings), settings, ensemble, "tiny")
"""
ENSEMBLE = """
name: tiny
splits: {A: {seed: 7, holdout: 0.25}}
members:
  first:
    model: test_resnet
    input: {size: 32}
    epochs: 4
    batch_size: 8
    seed: 11
    schedule: {kind: cosine, rate: 2.0e-3, warmup: 0.5}
"""


def test_a_killed_and_an_interrupted_launcher_go_on_where_they_were(ward: Ward, seed: int) -> None:
    chance = random.Random(seed)
    ward.start()
    assert ward.nursery.exit_code() == 0
    undisturbed = ward.result()
    ward.forget()
    settings = replace(SETTINGS, home=ward.home)
    (ward.home / "ensemble.yaml").write_text(ENSEMBLE)
    for number in (signal.SIGKILL, signal.SIGINT):
        with _driver(settings) as driver:
            _wait_for_process(settings)
            time.sleep(chance.uniform(0.0, 3.0))
            driver.send_signal(number)
            assert driver.wait(DEADLINE_SECONDS) != 0
    with _driver(settings) as driver:
        assert driver.wait(DEADLINE_SECONDS) == 0
    assert wiring.stores(settings).runs.version("tiny").runs == {"first": ward.run}
    assert ward.result() == undisturbed | {"member.yaml": ward.result()["member.yaml"]}


def _driver(settings: Settings) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **to_environment(settings), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", DRIVER, str(settings.home / "ensemble.yaml")]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def _wait_for_process(settings: Settings) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not any((settings.home / "processes").glob("*/process.json")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
