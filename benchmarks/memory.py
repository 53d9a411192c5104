"""The memory of an ingest and of a scoring worker on a dataset against that on one of ten times the size: the most
bytes that their processes had together, without those of programs and libraries, which are the same for both.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import data, processor
from benchmarks.rounds import ROUNDS, Comparison, Timed, compare
from benchmarks.scene import DATASET, version
from benchmarks.stub_service import STUB, STUB_SIZE
from services.dispatcher import Dispatcher
from services.ingest import IngestRequest, run
from shared import wiring
from shared.adapters.child import ChildQueue
from shared.job_requests import JobRequest, create
from shared.ports import Stores
from shared.settings import IngestSettings, Settings, to_environment

_TIMES = 10
_MUST = 1 / 1.1
_PACK_BYTES = 16 * 2**20  # so that the small dataset has several packs for each process
_CATEGORIES = data.SAMPLE / "category_names.csv"


def measure_ingest(folder: Path, *, images: int = 14_000, rounds: int = ROUNDS) -> Comparison:
    """Products have one image each, of 4.7 KB on average."""
    with TemporaryDirectory(dir=folder) as own:
        small, large = _dumps(Path(own), images, data.EDGE)
        return _compare(
            "ingest memory",
            lambda: _ingest(large),
            lambda: _ingest(small),
            f"ingest of {images} products; ours of {_TIMES} times as many; two processes and the one that leads them",
            rounds,
        )


def measure_worker(folder: Path, *, images: int = 8192, chunk_images: int = 1024, rounds: int = ROUNDS) -> Comparison:
    with TemporaryDirectory(dir=folder) as own:
        small, large = (_home(dump) for dump in _dumps(Path(own), images, STUB_SIZE))
        return _compare(
            "worker memory",
            lambda: _score(large, chunk_images),
            lambda: _score(small, chunk_images),
            f"scoring {images} images in chunks of {chunk_images}, no network; ours {_TIMES} times as many",
            rounds,
        )


def _compare(name: str, ours: Callable[[], Timed], theirs: Callable[[], Timed], words: str, rounds: int) -> Comparison:
    return compare(
        name,
        ours,
        theirs,
        lambda our, their: bool(our == _TIMES * their),
        must=_MUST,
        words=words,
        rounds=rounds,
        unit="B",
    )


def _dumps(folder: Path, images: int, edge: int) -> tuple[Path, Path]:
    dumps = (folder / "small.bson", folder / "large.bson")
    for dump, count in zip(dumps, (images, _TIMES * images), strict=True):
        data.write_singles(dump, count, edge=edge)
    return dumps


def _ingest(dump: Path) -> Timed:
    """Memory; the products of the dataset."""
    with TemporaryDirectory(dir=dump.parent) as home:
        settings = Settings(home=Path(home), ingest=IngestSettings(pack_bytes=_PACK_BYTES))
        command = [sys.executable, "-m", "services.cli", "ingest", str(dump), "--dataset", DATASET]
        command += ["--categories", str(_CATEGORIES), "--processes", "2"]
        environment = to_environment(settings)
        used = processor.peak_bytes(
            lambda: subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
        )
        return Timed(used, wiring.stores(settings).catalog.dataset(DATASET).products)


def _home(dump: Path) -> tuple[Settings, Stores]:
    settings = Settings(home=dump.with_suffix(""))
    settings.home.mkdir()
    stores = wiring.stores(settings)
    run(stores, settings, IngestRequest(str(dump), DATASET, _CATEGORIES))
    stores.runs.add_version(version(STUB))
    return settings, stores


def _score(home: tuple[Settings, Stores], chunk_images: int) -> Timed:
    """Memory of the worker; the products that it scored."""
    settings, stores = home
    job = create(stores, JobRequest(dataset=DATASET, ensemble=f"{STUB}@v1", chunk_images=chunk_images))

    def score() -> None:
        queue = ChildQueue(
            [sys.executable, "-m", "benchmarks.stub_worker"],
            environment=wiring.COMPUTING | to_environment(settings),
            log=settings.home / "worker.log",
        )
        try:
            Dispatcher(stores.jobs, stores.objects, queue, settings).run([job.id])
        finally:
            queue.close(grace=2.0)

    used = processor.peak_bytes(score)
    scored = sum(chunk.done for chunk in stores.jobs.chunks(job.id, ("done",)))
    stores.jobs.remove_job(job.id)
    return Timed(used, scored)
