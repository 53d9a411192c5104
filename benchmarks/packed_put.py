"""A pack streamed to S3 against one object per image: the same bytes, client and server."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import data
from benchmarks.rounds import ROUNDS, Comparison, Timed, compare, timed
from shared import wiring
from shared.ports import Objects
from shared.settings import IngestSettings, Settings
from tests.servers import places, server
from tests.servers.fixtures import given_or_started

_THREADS = 8  # that put single objects: a pack goes through one
_PACK = "pack.bson"
_BLOCK = IngestSettings().block_bytes


def measure(folder: Path, *, size: int = 128 * 2**20, singles: int = 1000, rounds: int = ROUNDS) -> Comparison:
    """The pack holds about `size` bytes of pictures, of which the other side puts the first `singles`."""
    pictures = data.pictures(singles)
    single_bytes = sum(map(len, pictures))
    pack = b"".join(pictures) * max(1, round(size / single_bytes))
    with (
        TemporaryDirectory(dir=folder) as own,
        given_or_started("minio", server.minio_server, Path(own) / "minio") as s3,
        places.bucket(s3, Path(own)) as bucket,
        ThreadPoolExecutor(_THREADS) as threads,
    ):
        objects = wiring.objects(Settings(objects=bucket.objects, s3=bucket.s3))
        return compare(
            "packed put",
            lambda: _put_pack(objects, pack, single_bytes),
            lambda: _put_singles(objects, pictures, threads),
            lambda ours, theirs: bool(ours == theirs),
            must=20.0,
            words=f"one object per image by {_THREADS} threads, {single_bytes / singles / 1e3:.1f} KB each, "
            f"bytes/s; ours one pack of {len(pack) / 1e6:.0f} MB; {s3.name}",
            rounds=rounds,
        )


def _put_pack(objects: Objects, pack: bytes, compared: int) -> Timed:
    """Seconds per byte; the digest of the first `compared` bytes."""
    done = timed(lambda: objects.put(_PACK, _blocks(pack)))
    found = hashlib.sha256(objects.read(_PACK, 0, compared)).hexdigest()
    objects.delete(_PACK)
    return replace(done.per(len(pack)), answer=found)


def _blocks(content: bytes) -> Iterator[memoryview]:
    for start in range(0, len(content), _BLOCK):
        yield memoryview(content)[start : start + _BLOCK]


def _put_singles(objects: Objects, pictures: list[bytes], threads: ThreadPoolExecutor) -> Timed:
    """Seconds per byte; the digest of all pictures one after another."""
    keys = [f"images/{number}.jpg" for number in range(len(pictures))]
    done = timed(lambda: list(threads.map(objects.put, keys, pictures)))
    found = hashlib.sha256(b"".join(threads.map(objects.read, keys))).hexdigest()
    list(threads.map(objects.delete, keys))
    return replace(done.per(sum(done.answer)), answer=found)
