"""Tests that need a GPU: `make test-gpu`. No file is called test_*.py, so that `make test` does not ask for one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from shared.adapters.directory import DirectoryObjects
from shared.packs import Manifest
from shared.settings import TrainingSettings
from tests.training_bench import Bench

CUDA = torch.device("cuda")


@pytest.fixture(scope="session", autouse=True)
def _gpu() -> None:
    assert torch.cuda.is_available(), "these tests need a GPU"


@pytest.fixture
def bench(tmp_path: Path, make_dataset: Callable[..., Manifest]) -> Bench:
    """As for the training tests, on the GPU."""
    objects = DirectoryObjects(tmp_path)
    settings = TrainingSettings(device="cuda", decode_threads=2)
    return replace(Bench(objects, make_dataset(objects)), settings=settings)
