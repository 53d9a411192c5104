"""A whole ingest against what none can beat: the copy of its bytes on the same disk, or the MD5s of its images on all
cores, whichever takes longer.
"""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import md5, sha256
from pathlib import Path

import bson

from benchmarks import data
from benchmarks.rounds import ROUNDS, Comparison, Timed, compare, timed
from services.ingest import IngestRequest, run
from shared import layout, wiring
from shared.packs import read_index
from shared.settings import IngestSettings, Settings
from workers.vision.devices import cores

_BLOCK = IngestSettings().block_bytes
_SAMPLE = 16 * 2**20  # bytes of the dump whose images' MD5s are timed


@dataclass(frozen=True, slots=True)
class _Answer:
    content: str  # SHA-256 of the packs one after another, or of the copy
    md5s: bytes  # of images in order, all or the first


def measure(folder: Path, *, size: int = 1888 * 2**20, rounds: int = ROUNDS) -> Comparison:
    """`size` is a little less than a whole number of packs per core, so that no core waits long for the last."""
    dump = folder / "ingest.bson"
    data.write_dump(dump, size)
    images = _first_images(dump)
    try:
        return compare(
            "ingest",
            lambda: _ingest(dump, folder / "home"),
            lambda: _bound(dump, folder / "copy", images),
            lambda ours, theirs: ours.content == theirs.content and ours.md5s.startswith(theirs.md5s),
            expected=0.6,
            words=f"min(copy on the same disk, cores x MD5 of the images), {dump.stat().st_size / 1e6:.0f} MB",
            rounds=rounds,
        )
    finally:
        dump.unlink()


def _ingest(dump: Path, home: Path) -> Timed:
    settings = Settings(home=home)
    home.mkdir()
    try:
        stores = wiring.stores(settings)
        request = IngestRequest(str(dump), "dump", data.SAMPLE / "category_names.csv")
        done = timed(lambda: run(stores, settings, request))
        refs = done.answer.packs
        packs = [home / "objects" / layout.pack("dump", ref.number) for ref in refs]
        md5s = b"".join(read_index(stores.objects, "dump", ref).image_md5.astype(">u8").tobytes() for ref in refs)
        return Timed(done.seconds, _Answer(_digest(packs), md5s))
    finally:
        shutil.rmtree(home)


def _bound(dump: Path, copy: Path, images: list[bytes]) -> Timed:
    copying = timed(lambda: _copy(dump, copy))
    digesting = timed(lambda: b"".join([md5(image).digest() for image in images]))
    content = _digest([copy])
    copy.unlink()
    share = dump.stat().st_size / min(_SAMPLE, dump.stat().st_size)
    return Timed(max(copying.seconds, digesting.seconds * share / cores()), _Answer(content, digesting.answer))


def _copy(dump: Path, copy: Path) -> None:
    with dump.open("rb", buffering=0) as source, copy.open("wb", buffering=0) as target:
        while block := source.read(_BLOCK):
            target.write(block)
        os.fsync(target.fileno())


def _digest(paths: Iterable[Path]) -> str:
    digest = sha256()
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while block := file.read(_BLOCK):
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
