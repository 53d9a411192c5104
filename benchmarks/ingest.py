"""An ingest, all but the rows of its products, against what none can beat: the copy of its bytes on the same disk, or
the MD5s of its images on all cores at once, whichever takes longer. The copy is the faster of a plain one, through the
page cache, and the store's.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import md5, sha256
from pathlib import Path
from typing import Any

import bson

from benchmarks import data
from benchmarks.rounds import ROUNDS, Comparison, Timed, compare, timed
from services.ingest import IngestRequest, run
from shared import layout, wiring
from shared.domain.records import ProductRow
from shared.packs import read_index
from shared.ports import Catalog
from shared.settings import IngestSettings, Settings
from workers.vision.devices import cores

_BLOCK = IngestSettings().block_bytes
_SAMPLE = 256 * 2**20  # bytes of the dump whose images' MD5s are timed


@dataclass(frozen=True, slots=True)
class _Answer:
    content: str  # SHA-256 of the packs one after another, or of the copy
    md5s: bytes  # of images in order, all or the first


def measure(folder: Path, *, size: int = 2016 * 2**20, rounds: int = ROUNDS) -> Comparison:
    """`size` is a little less than 16 packs: 1, 2 or 4 processes write equally many, and none waits long for others."""
    dump = folder / "ingest.bson"
    data.write_dump(dump, size)
    images = _first_images(dump)
    try:
        return compare(
            "ingest",
            lambda: _ingest(dump, folder / "home"),
            lambda: _bound(dump, folder / "copies", images),
            lambda ours, theirs: ours.content == theirs.content and ours.md5s.startswith(theirs.md5s),
            must=0.8,
            aim=0.9,
            words=f"min(copy on the same disk, MD5 of the images on all cores), {dump.stat().st_size / 1e6:.0f} MB",
            rounds=rounds,
        )
    finally:
        dump.unlink()


class _NoProducts:
    """The catalog of a home, but for rows of products: a document store of its own would write them."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def add_products(self, rows: Iterable[ProductRow]) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._catalog, name)


def _ingest(dump: Path, home: Path) -> Timed:
    settings = Settings(home=home)
    home.mkdir()
    try:
        stores = wiring.stores(settings)
        stores = replace(stores, catalog=_NoProducts(stores.catalog))
        request = IngestRequest(str(dump), "dump", data.SAMPLE / "category_names.csv")
        done = _timed_alone(lambda: run(stores, settings, request))
        refs = done.answer.packs
        packs = [home / "objects" / layout.pack("dump", ref.number) for ref in refs]
        md5s = b"".join(read_index(stores.objects, "dump", ref).image_md5.astype(">u8").tobytes() for ref in refs)
        return replace(done, answer=_Answer(_digest(packs), md5s))
    finally:
        shutil.rmtree(home)


def _bound(dump: Path, folder: Path, images: list[bytes]) -> Timed:
    store = wiring.objects(Settings(home=folder))
    folder.mkdir()
    try:
        plain = _copied(folder / "copy", lambda: _copy(dump, folder / "copy"))
        stored = _copied(folder / "objects" / "copy", lambda: store.put("copy", _blocks(dump)))
    finally:
        shutil.rmtree(folder)
    assert plain.answer == stored.answer
    with ThreadPoolExecutor(cores()) as threads:
        digesting = _timed_alone(lambda: list(threads.map(_md5s, [images] * cores())))
    share = dump.stat().st_size / (min(_SAMPLE, dump.stat().st_size) * cores())
    copied = min(plain, stored, key=lambda copy: copy.seconds)
    digested = digesting.per(1 / share)
    seconds = max(copied.seconds, digested.seconds)
    return Timed(seconds, _Answer(plain.answer, digesting.answer[0]), copied.cpu + digested.cpu)


def _copied(copy: Path, work: Callable[[], Any]) -> Timed:
    """Time the work that makes `copy`, of which only the digest is left."""
    done = _timed_alone(work)
    content = _digest([copy])
    copy.unlink()
    return replace(done, answer=content)


def _timed_alone(work: Callable[[], Any]) -> Timed:
    """Timed on a disk that is done with what was written and removed before: else its next fsync waits for that."""
    os.sync()
    return timed(work)


def _copy(dump: Path, copy: Path) -> None:
    with copy.open("wb", buffering=0) as target:
        for block in _blocks(dump):
            target.write(block)
        os.fsync(target.fileno())


def _blocks(path: Path) -> Iterator[memoryview]:
    """The file in blocks, each void when the next is asked for."""
    room = memoryview(bytearray(_BLOCK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(room):
            yield room[:count]


def _md5s(images: list[bytes]) -> bytes:
    return b"".join([md5(image).digest() for image in images])


def _digest(paths: Iterable[Path]) -> str:
    digest = sha256()
    for path in paths:
        for block in _blocks(path):
            digest.update(block)
    return digest.hexdigest()


def _first_images(dump: Path) -> list[bytes]:
    """The images of the first `_SAMPLE` bytes of the dump."""
    found: list[bytes] = []
    with dump.open("rb") as file:
        for document in bson.decode_file_iter(file):
            found += [image["picture"] for image in document["imgs"]]
            if file.tell() >= _SAMPLE:
                break
    return found
