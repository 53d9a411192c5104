"""Fixtures of the training tests: a tiny run, declared and trained inside the test's process."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from shared.adapters.directory import DirectoryObjects
from shared.domain.ensemble import Member
from shared.packs import Manifest
from tests.training_bench import Bench


@pytest.fixture
def bench(tmp_path: Path, make_dataset: Callable[..., Manifest]) -> Bench:
    """A fresh one, of one thread: equal runs are equal bit for bit."""
    import torch

    torch.set_num_threads(1)
    objects = DirectoryObjects(tmp_path)
    return Bench(objects, make_dataset(objects))


@pytest.fixture
def tiny(bench: Bench) -> Member:
    """A member that trains in a second."""
    return replace(bench.member)
