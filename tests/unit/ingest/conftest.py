import io
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bson
import pytest

from services.ingest import IngestRequest, run
from shared.adapters.directory import DirectoryObjects
from shared.adapters.sqlite_catalog import SqliteCatalog
from shared.ingest_progress import IngestProgress
from shared.packs import Manifest
from shared.settings import IngestSettings, Settings

CATEGORIES = b"""category_id,category_level1,category_level2,category_level3
10,Food,Fruit,Apple
20,Food,Fruit,Pear
30,Home,Green,Plant
40,Garden,Green,Plant
"""


def picture(generator: random.Random, size: int = 200) -> bytes:
    return b"\xff\xd8\xff\xe0" + generator.randbytes(generator.randrange(size))


def product(generator: random.Random, number: int, **others: Any) -> dict[str, Any]:
    pictures = [{"picture": picture(generator)} for _ in range(generator.choice([1, 1, 2, 3, 12]))]
    number = number if generator.random() < 0.5 else bson.Int64(number + 2**40)
    return {"_id": number, "imgs": pictures, "category_id": generator.choice([10, 20, 30])} | others


@pytest.fixture(scope="session")
def products() -> Callable[..., list[dict[str, Any]]]:
    """`products(n, seed)`: documents that differ in ids, numbers of images and sizes."""

    def make(count: int, seed: int = 7) -> list[dict[str, Any]]:
        generator = random.Random(seed)
        return [product(generator, 1000 + number) for number in range(count)]

    return make


@dataclass
class Shop:
    """A home with small packs, so that a small dump has many of them."""

    home: Path

    def __post_init__(self) -> None:
        self.objects = DirectoryObjects(self.home / "objects")
        self.catalog = SqliteCatalog(self.home / "shelver.sqlite")
        self.stores: Any = SimpleNamespace(objects=self.objects, catalog=self.catalog)
        self.settings = Settings(home=self.home, ingest=IngestSettings(pack_bytes=5000, block_bytes=1500))
        self.categories = self.home / "categories.csv"
        self.home.mkdir(exist_ok=True)
        self.categories.write_bytes(CATEGORIES)
        self.progress: list[IngestProgress] = []

    def dump(self, documents: Sequence[dict[str, Any] | bytes], name: str = "dump.bson") -> str:
        path = self.home / name
        path.write_bytes(b"".join(d if isinstance(d, bytes) else bson.encode(d) for d in documents))
        return str(path)

    def ingest(self, source: str, dataset: str = "d", *, labelled: bool = True, **options: Any) -> Manifest:
        options = {"processes": 1, "categories": self.categories if labelled else None} | options
        return run(self.stores, self.settings, IngestRequest(source, dataset, **options), self.progress.append)

    def contents(self, dataset: str = "d") -> dict[str, bytes]:
        """Every object of a dataset but the manifest, which names the source."""
        prefix = f"datasets/{dataset}/"
        found = {key.removeprefix(prefix): self.objects.read(key) for key in self.objects.list(prefix)}
        found.pop("manifest.json", None)
        return found


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A home of its own."""
    return Shop(tmp_path / "home")


@pytest.fixture
def shops(tmp_path: Path) -> Callable[[str], Shop]:
    """Further homes by name."""
    return lambda name: Shop(tmp_path / name)


@pytest.fixture
def standard_input(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Sets what is read from standard input."""
    return lambda content: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
