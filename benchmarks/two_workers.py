"""Two workers against one, on networks that sleep as if a GPU computed: what is shared must not hold them up."""

from pathlib import Path

from benchmarks import data, processor, scene
from benchmarks.rounds import ROUNDS, Comparison, Timed, compare
from benchmarks.scene import Scene
from benchmarks.stub_service import BATCH_SECONDS, SLEEPING, STUB_SIZE


def measure(folder: Path, *, images: int = 4096, chunk_images: int = 32, rounds: int = ROUNDS) -> Comparison:
    """Small chunks: as many as the chunks of large jobs, and at the end no worker waits long for the other."""
    with scene.running(folder, ["one", "two", "two"]) as services:
        dump = services.folder / "dump.bson"
        data.write_singles(dump, images, edge=STUB_SIZE)
        services.ingest(dump)
        return compare(
            "two workers",
            lambda: _score(services, "two", chunk_images),
            lambda: _score(services, "one", chunk_images),
            lambda ours, theirs: bool(ours == theirs),
            must=1.9,
            words=f"one worker, {images} images in chunks of {chunk_images}, a stub that sleeps "
            f"{1000 * BATCH_SECONDS:.0f} ms per batch, from the first claim to the job's end",
            rounds=rounds,
        )


def _score(services: Scene, pool: str, chunk_images: int) -> Timed:
    cpu = processor.seconds()
    job = services.submit(SLEEPING, chunk_images=chunk_images, pool=pool)
    claimed = services.wait_for_chunks(job, "running", "done")
    seconds = services.wait_for_end(job) - claimed
    cpu = processor.seconds() - cpu
    return Timed(seconds, services.take(job), cpu)
