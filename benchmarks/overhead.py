"""What queue, rows and object store add to a chunk: the device's own time against that from its sending to its end.

Both come from the same chunk, else a busy machine would drown the small share that is looked for. Whatever is not the
device's counts as added: the message, the claim, reading, waiting for the first pictures, outcomes and the chunk's end.
"""

from pathlib import Path

from benchmarks import data, scene, stub_service
from benchmarks.rounds import ROUNDS, Comparison, Goals, Round, Timed, UnequalError
from benchmarks.scene import Answers, Scene
from shared import layout
from shared.domain.predictions import to_plain
from shared.packs import Manifest, read_index
from workers.scoring.chunks import ChunkInput


def measure(folder: Path, *, model: str = "resnet18", images: int = 4096, rounds: int = ROUNDS) -> Comparison:
    with scene.running(folder) as services:
        dump = services.folder / "dump.bson"
        data.write_singles(dump, images)
        expected = _bare(model, _chunk(services, services.ingest(dump)))
        found = []
        for number in range(rounds + 1):
            one, answers = _round(services, model, images)
            if answers != expected:
                raise UnequalError(f"overhead: the job and the bare engine gave different answers in round {number}")
            found.append(one)
        return Comparison(
            "overhead",
            f"the device's time with {model} at {stub_service.SIZE} px on the CPU for a chunk of {images} images; "
            "ours from its sending to its end; answers of a bare engine",
            Goals(must=0.98),
            tuple(found[1:]),
        )


def _round(services: Scene, model: str, images: int) -> tuple[Round, Answers]:
    """The chunk's time and the device's, of which no processor's is known by itself, and the answers."""
    job = services.submit(model, chunk_images=images)
    sent = services.wait_for_chunks(job, "sent", "running")
    seconds = services.wait_for_chunks(job, "done") - sent
    services.wait_for_end(job)
    (chunk,) = services.stores.jobs.chunks(job.id)
    return Round(Timed(seconds, None), Timed(chunk.seconds["forward"], None)), services.take(job)


def _chunk(services: Scene, manifest: Manifest) -> ChunkInput:
    (ref,) = manifest.packs
    objects = services.stores.objects
    content = objects.read(layout.pack(scene.DATASET, ref.number))
    return ChunkInput("chunk", read_index(objects, scene.DATASET, ref), content, 0)


def _bare(model: str, chunk: ChunkInput) -> Answers:
    engine = stub_service.engine(model)
    try:
        (result,) = engine.run(iter([chunk]))
    finally:
        engine.close()
    best = [(product.product, to_plain(product.predictions["all"])) for product in result.products]
    return [(product, row["class_index"], row["probability"]) for product, row in best]
