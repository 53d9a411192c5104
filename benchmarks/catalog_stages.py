"""One stage of a large catalog's way in a process of its own: `python -m benchmarks.catalog_stages STAGE HOME`.

The last line says how much memory the largest process took, in bytes, and the seconds of the stage. Networks are
played; rows, dispatcher, worker and command line are the real ones.
"""

import resource
import sys
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path

from benchmarks import data
from services import cli
from services.dispatcher import Dispatcher
from shared import ensemble_file, wiring
from shared.domain import states
from shared.domain.records import EnsembleVersion, Prediction
from shared.job_requests import JobRequest, create
from shared.settings import Settings
from tests.scoring_stub import MemoryQueue
from workers.scoring.chunks import ChunkInput, ChunkResult, ProductResult
from workers.scoring.worker import Worker

DATASET = "catalog"
_CATEGORIES = data.SAMPLE / "category_names.csv"
_ENSEMBLE = data.SAMPLE.parent.parent / "ensembles" / "grocery-small.yaml"
_IDS = data.category_ids()
_CLASSES = len(_IDS)


def ingest(home: Path) -> None:
    _shelver(home, "ingest", str(home / "dump.bson"), "--dataset", DATASET, "--categories", str(_CATEGORIES))
    (home / "dump.bson").unlink()  # room for what follows


def plan(home: Path) -> None:
    """Make the job and its chunks."""
    stores = wiring.stores(Settings(home=home))
    ensemble = ensemble_file.load(_ENSEMBLE)
    stores.runs.add_version(
        EnsembleVersion(
            name=ensemble.name,
            version="v1",
            document=ensemble.plain(),
            runs={},
            dataset=DATASET,
            dataset_fingerprint="of another one",
            taxonomy="",
            duplicate_table="",
        )
    )
    create(stores, JobRequest(dataset=DATASET, ensemble=f"{ensemble.name}@v1"))
    Dispatcher(stores.jobs, stores.objects, MemoryQueue(), Settings(home=home)).step()


def score(home: Path) -> None:
    settings = Settings(home=home)
    stores, queue = wiring.stores(settings), MemoryQueue()
    dispatcher = Dispatcher(stores.jobs, stores.objects, queue, settings)
    engine = _Played()
    worker = Worker(stores.jobs, stores.objects, lambda *_: engine, settings, worker_id="played")
    (job,) = stores.jobs.jobs()
    while stores.jobs.job(job.id).state not in states.ENDED:
        dispatcher.step()
        while queue.messages:
            worker.handle(queue.messages.pop(0))
            dispatcher.step()


def export(home: Path, form: str) -> None:
    (job,) = wiring.stores(Settings(home=home)).jobs.jobs()
    _shelver(home, "export", job.id, "--format", form, "-o", str(home / f"answers.{form}"))


STAGES: dict[str, Callable[[Path], None]] = {
    "ingest": ingest,
    "plan": plan,
    "score": score,
    "csv": partial(export, form="csv"),
    "parquet": partial(export, form="parquet"),
}


class _Played:
    """An engine whose answers follow from the product's id."""

    precision = "float32"
    batch_images = 64
    bytes = 1
    on_batch: Callable[[], None] = staticmethod(lambda: None)

    def run(self, chunks: Iterator[ChunkInput], /) -> Generator[ChunkResult, None, None]:
        for chunk in chunks:
            yield ChunkResult(
                key=chunk.key,
                products=[ProductResult(p, predictions=_answer(p)) for p in chunk.index.product_id.tolist()],
                decided=0,
                scored_images=chunk.index.images,
                seconds={"forward": 1.0},
                batch_images=self.batch_images,
                precision=self.precision,
                halvings=0,
            )

    def through(self, _: str) -> int:
        return 0

    def close(self) -> None:
        pass


def _answer(product: int) -> dict[str, Prediction]:
    best = product % _CLASSES
    top = tuple(((best + place) % _CLASSES, 0.5 / (1 + place)) for place in range(10))
    category = _IDS[best]
    return {"all": Prediction(category, best, 0.5, top, ((0, 0.5), (0, 0.5), (0, 0.5)), 0.25, 1.5)}


def _shelver(home: Path, *arguments: str) -> None:
    if code := cli.run(["--home", str(home), *arguments]):
        sys.exit(code)


def _peak() -> int:
    """The most that this process has held, or that any below it has: on Linux, since this program began."""
    status = Path("/proc/self/status")
    unit = 1 if sys.platform == "darwin" else 1024
    own = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if status.exists():
        own = 1024 * int(status.read_text().partition("VmHWM:")[2].split()[0])
    return max(own, unit * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


def main(arguments: list[str]) -> None:
    stage, home = arguments
    began = time.perf_counter()
    STAGES[stage](Path(home))
    print(_peak(), time.perf_counter() - began)


if __name__ == "__main__":
    main(sys.argv[1:])
