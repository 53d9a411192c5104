"""Shared fixtures: the seed of random tests, the sample catalog, small datasets, and a shop that has scored."""

import gc
import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import bson
import hypothesis
import numpy as np
import pytest
import simplejpeg
from filelock import FileLock

from services import cli
from shared import layout, wiring
from shared.domain import taxonomy
from shared.packs import Manifest, PackIndex, PackRef, index_to_parquet
from shared.ports import Objects
from shared.settings import Settings

pytest_plugins = ["tests.servers.fixtures"]

# before anything imports torch, and for what tests start: networks as small as these lose more to waiting for each
# other's threads than they gain, six times the work where other processes want the cores too
os.environ.setdefault("OMP_NUM_THREADS", "1")

hypothesis.settings.register_profile("shelver", deadline=None)  # a busy machine is no fault
hypothesis.settings.load_profile("shelver")

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def grocery() -> Path:
    """The sample catalog."""
    return REPOSITORY / "examples" / "grocery"


@pytest.fixture
def seed() -> int:
    """A fresh seed, printed; TEST_SEED repeats one."""
    value = int(os.environ.get("TEST_SEED") or random.SystemRandom().getrandbits(32))
    print(f"TEST_SEED={value}")
    return value


@pytest.fixture(scope="session")
def make_dataset() -> Callable[..., Manifest]:
    """Puts a small complete dataset of coloured JPEGs into an object store: one pack, three classes."""

    def make(
        objects: Objects, name: str = "tiny", *, products: int = 40, spoiled: frozenset[int] = frozenset()
    ) -> Manifest:
        """Products have ids from 100, one or two images and class id % 3; every fifth shares its image with the one
        before; the first image of a product in `spoiled` is no picture."""
        content, rows, image_rows, md5s = b"", [], [], []
        for product, pictures in _products(products, spoiled):
            document = bson.encode(
                {"_id": product, "category_id": 1000 + product % 3, "imgs": [{"picture": one} for one in pictures]}
            )
            rows.append((product, len(content), len(document), 1000 + product % 3, len(pictures)))
            for picture in pictures:
                image_rows.append((len(content) + document.index(picture), len(picture)))
                md5s.append(np.frombuffer(hashlib.md5(picture, usedforsecurity=False).digest(), dtype=">u8"))
            content += document
        ids, offsets, lengths, categories, counts = np.array(rows, dtype=np.int64).T
        images = np.array(image_rows, dtype=np.int64).T
        first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        index = PackIndex(
            ids, offsets, lengths, categories, first, images[0], images[1], np.array(md5s, dtype=np.uint64)
        )
        table = b"category_id,category_level1,category_level2,category_level3\n"
        table += b"".join(b"%d,shop,shelf,class %d\n" % (1000 + i, i) for i in range(3))
        manifest = Manifest(
            dataset=name,
            fingerprint=hashlib.sha256(content).hexdigest()[:16],
            source="test",
            products=products,
            images=len(md5s),
            labelled=products,
            bytes=len(content),
            repeated=0,
            taxonomy=taxonomy.parse(table, "test").fingerprint,
            pack_bytes=2**20,
            packs=(PackRef(number=0, dataset=name, bytes=len(content), products=products, images=len(md5s)),),
        )
        objects.put(layout.pack(name, 0), content)
        objects.put(layout.pack_index(name, 0), index_to_parquet(index))
        objects.put(layout.categories(name), table)
        objects.put(layout.manifest(name), json.dumps(manifest.plain()).encode())
        return manifest

    return make


def _products(products: int, spoiled: frozenset[int]) -> Iterator[tuple[int, list[bytes]]]:
    noise = np.random.default_rng(1)
    last = b""
    for product in range(100, 100 + products):
        colour = np.eye(3)[product % 3] * 120 + 60
        pictures = [_jpeg(colour, noise) for _ in range(1 + product % 2)]
        if product % 5 == 0 and last:
            pictures[0] = last
        if product in spoiled:
            pictures[0] = b"this is no picture, product %d" % product
        last = pictures[0]
        yield product, pictures


def _jpeg(colour: "np.typing.NDArray[np.float64]", noise: np.random.Generator) -> bytes:
    pixels = np.clip(colour + noise.normal(0, 25, (24, 24, 3)), 0, 255).astype(np.uint8)
    return bytes(simplejpeg.encode_jpeg(pixels, quality=90))


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
    untouched: Path

    def copy(self, to: Path) -> None:
        """Its home as it was at first; nobody has it open, so no file of its document store goes meanwhile."""
        shutil.copytree(self.untouched, to)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory, grocery: Path) -> Shop:
    """Ingested, trained and scored through the command line: once, and copied for each process of the tests."""
    folder, base = tmp_path_factory.mktemp("shop"), tmp_path_factory.getbasetemp()
    made = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shop"
    with FileLock(f"{made}.lock"):
        if not (made / "open").exists():
            _open_shop(made, grocery)
            gc.collect()  # what is open is closed
            (made / "open").touch()
    shutil.copytree(made, folder, dirs_exist_ok=True)
    home = folder / "home"
    return Shop(home, folder / "tiny.yaml", wiring.stores(Settings(home=home)).jobs.jobs()[0].id, made / "home")


def _open_shop(folder: Path, grocery: Path) -> None:
    folder.mkdir()
    home, file = folder / "home", folder / "tiny.yaml"
    file.write_text(TINY)
    categories = str(grocery / "category_names.csv")
    for name in ("train", "test"):
        source = str(grocery / f"{name}.bson")
        assert cli.run(["--home", str(home), "ingest", source, "--dataset", name, "--categories", categories]) == 0
    assert cli.run(["--home", str(home), "train", str(file), "--dataset", "train"]) == 0
    score = ["--home", str(home), "score", "test", "--ensemble", "tiny", "--no-skip-decided", "--chunk-images", "128"]
    assert cli.run(score) == 0
