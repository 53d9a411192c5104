"""A launcher killed at random moments, with what it launched, ends with the bytes of an undisturbed one."""

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.launcher_home import LauncherHome, wait_for

KILLS = 4


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, grocery: Path) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What one ingest process and the trainings store that nobody disturbs."""
    home = LauncherHome(tmp_path_factory.mktemp("undisturbed"), grocery)
    home.start()
    home.ask_ingest("train.bson", processes=1)
    wait_for(lambda: home.ingested() == "complete")
    training = home.ask_training(["first"])
    wait_for(lambda: home.trained(training))
    home.stop(signal.SIGTERM)
    return home.dataset(), home.weights(training)


def test_kills_of_the_launcher_and_its_processes_change_nothing(
    undisturbed: tuple[dict[str, bytes], dict[str, bytes]], tmp_path: Path, grocery: Path, seed: int
) -> None:
    chance = random.Random(seed)
    home = LauncherHome(tmp_path, grocery)
    home.start()
    home.ask_ingest("train.bson", processes=3)
    for _ in range(KILLS):
        index = chance.randrange(3)
        wait_for(lambda index=index: home.ingested() == "complete" or home.pid(f"ingest-d-{index}"))
        time.sleep(chance.uniform(0.0, 0.8))
        if chance.random() < 0.5:
            if pid := home.pid(f"ingest-d-{index}"):
                with suppress(ProcessLookupError):  # it has ended meanwhile
                    os.kill(pid, signal.SIGKILL)
        else:
            home.stop(signal.SIGKILL)
            home.start()
    wait_for(lambda: home.ingested() == "complete")
    assert home.dataset() == undisturbed[0]
    training = home.ask_training(["first"])
    for number in (signal.SIGKILL, signal.SIGTERM):
        wait_for(lambda: home.trained(training) or list((tmp_path / "processes").glob("train-*/process.json")))
        time.sleep(chance.uniform(0.0, 4.0))
        assert home.stop(number) in (0, -signal.SIGKILL)
        home.start()
    wait_for(lambda: home.trained(training))
    assert home.weights(training) == undisturbed[1]
    assert home.stop(signal.SIGTERM) == 0
