"""Messages that name chunks against one message per image, over the same Redis and object store, with no network.

Pictures are small: to decode them takes both sides equally long, and would hide what messages cost.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

from benchmarks import data, peer, scene
from benchmarks.rounds import ROUNDS, Comparison, Timed, compare, timed
from benchmarks.scene import Answers, Scene
from benchmarks.stub_service import STUB, STUB_SIZE
from shared import layout, wiring
from shared.domain.records import Job
from shared.packs import Manifest, read_index
from shared.settings import to_environment
from tests.servers.fixtures import started
from tests.servers.process import Process

_NEAR = 1e-5  # probabilities that count as equal: those of outcomes have 6 decimals
_POLL_SECONDS = 0.005
_PATIENCE = 300.0


def measure(
    folder: Path, *, images: int = 65536, chunk_images: int = 4096, singles: int = 1000, rounds: int = ROUNDS
) -> Comparison:
    """Both take seconds: the other side scores the first `singles` images only, and images per second are compared."""
    with scene.running(folder) as services:
        dump = services.folder / "dump.bson"
        data.write_singles(dump, images, edge=STUB_SIZE)
        manifest = services.ingest(dump)
        with started(_peer(services)):
            return compare(
                "messages",
                lambda: _ours(services, images, chunk_images, singles),
                lambda: _theirs(services, manifest, singles),
                _same,
                must=20.0,
                words=f"a Celery message, a ranged read and a row per image, {singles} images of {STUB_SIZE} px; "
                f"ours {images} in chunks of {chunk_images}; images/s, no network",
                rounds=rounds,
            )


def _peer(services: Scene) -> Process:
    environment = wiring.COMPUTING | to_environment(services.settings)
    command = [sys.executable, "-m", "benchmarks.peer"]
    # messages wait until it is there, which the round to warm up does too
    return Process("peer", command, services.folder / "peer.log", ready=lambda: True, environment=environment)


def _ours(services: Scene, images: int, chunk_images: int, compared: int) -> Timed:
    def score() -> Job:
        job = services.submit(STUB, chunk_images=chunk_images)
        services.wait_for_end(job)
        return job

    done = timed(score)
    return replace(done.per(images), answer=services.take(done.answer)[:compared])


def _theirs(services: Scene, manifest: Manifest, images: int) -> Timed:
    ref = manifest.packs[0]
    index = read_index(services.stores.objects, scene.DATASET, ref)
    places = zip(index.product_id.tolist(), index.image_offset.tolist(), index.image_length.tolist(), strict=True)
    key = layout.pack(scene.DATASET, ref.number)
    messages = [(product, key, offset, length) for product, offset, length in places][:images]
    rows = peer.database(services.settings)

    def answered() -> int:
        row = rows.row("SELECT COUNT(*) AS n FROM answers")
        return int(row["n"]) if row else 0

    def score() -> None:
        with peer.application(services.settings) as app:
            for message in messages:
                app.send_task(peer.TASK, message)
        deadline = time.monotonic() + _PATIENCE
        while answered() < images:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{answered()} of {images} images after {_PATIENCE:.0f} s: see {services.folder}")
            time.sleep(_POLL_SECONDS)

    done = timed(score)
    found = [tuple(row) for row in rows.rows("SELECT product, class, probability FROM answers ORDER BY product")]
    rows.write("DELETE FROM answers")
    return replace(done.per(images), answer=found)


def _same(ours: Answers, theirs: Answers) -> bool:
    return all(our[:2] == their[:2] and abs(our[2] - their[2]) < _NEAR for our, their in zip(ours, theirs, strict=True))
