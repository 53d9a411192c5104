"""A home in which a tiny ensemble was trained and the sample's test catalog scored, once for all tests."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services import cli

TINY = """
name: tiny
splits: {A: {seed: 7, holdout: 0.2}}
defaults:
  input: {size: 32}
  batch_size: 64
  epochs: 2
  optimizer: adamw
  schedule: {kind: cosine, rate: 2.0e-3}
members:
  first: {model: test_resnet, split: A}
  second: {model: test_resnet, split: A, seed: 2}
combinations: {one: [first], all: [first, second]}
"""


@dataclass(frozen=True)
class Shop:
    """A home and what was made in it."""

    home: Path
    ensemble_file: Path
    job: str


Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shell(capfd: pytest.CaptureFixture[str]) -> Shell:
    """Runs one command line in this process: exit code, standard output, standard error."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capfd.readouterr()
        code = cli.run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory, grocery: Path) -> Shop:
    """Ingested, trained and scored through the command line."""
    folder = tmp_path_factory.mktemp("shop")
    home, file = folder / "home", folder / "tiny.yaml"
    file.write_text(TINY)
    categories = str(grocery / "category_names.csv")
    for name in ("train", "test"):
        source = str(grocery / f"{name}.bson")
        assert cli.run(["--home", str(home), "ingest", source, "--dataset", name, "--categories", categories]) == 0
    assert cli.run(["--home", str(home), "train", str(file), "--dataset", "train"]) == 0
    score = ["--home", str(home), "score", "test", "--ensemble", "tiny", "--no-skip-decided", "--chunk-images", "128"]
    assert cli.run(score) == 0
    jobs = _stores_of(home)
    return Shop(home, file, jobs[0]["id"])


def _stores_of(home: Path) -> list[dict[str, Any]]:
    from shared import wiring
    from shared.settings import Settings

    return [job.plain() for job in wiring.stores(Settings(home=home)).jobs.jobs()]


def document(text: str) -> Any:
    """The one JSON document a command printed."""
    return json.loads(text)
