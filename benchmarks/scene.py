"""Shelver as services for benchmarks: a dispatcher and workers as processes, on real Redis and S3, rows in SQLite."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import data
from services import ingest
from shared import wiring
from shared.domain import states
from shared.domain.records import EnsembleVersion, Job
from shared.job_requests import JobRequest, create
from shared.packs import Manifest
from shared.ports import Stores
from shared.settings import Settings, TelemetrySettings, WorkerSettings, to_environment
from tests.ports import free_port
from tests.servers import places, server
from tests.servers.fixtures import given_or_started, started
from tests.servers.process import Process, healthy

DATASET = "catalog"
_POLL_SECONDS = 0.005
_PATIENCE = 300.0  # seconds for a job

Answers = list[tuple[int, int, float]]
"""Per product, in the order of the dump: its id, the class and its probability."""


@dataclass(frozen=True)
class Scene:
    """Services that run, and what they run on."""

    folder: Path
    settings: Settings
    stores: Stores

    def ingest(self, dump: Path) -> Manifest:
        """The dump as the dataset that is scored."""
        request = ingest.IngestRequest(str(dump), DATASET, data.SAMPLE / "category_names.csv")
        return ingest.run(self.stores, self.settings, request)

    def submit(self, ensemble: str, *, chunk_images: int, pool: str = "default") -> Job:
        """A job for all of the dataset."""
        self.stores.runs.add_version(version(ensemble))
        request = JobRequest(dataset=DATASET, ensemble=f"{ensemble}@v1", chunk_images=chunk_images, pool=pool)
        return create(self.stores, request)

    def wait_for_chunks(self, job: Job, *of_states: str) -> float:
        """Until a chunk of the job is in one of these states; the moment, by `time.perf_counter`."""
        self._wait(lambda: bool(self.stores.jobs.chunks(job.id, of_states, limit=1)), f"a chunk is {of_states}")
        return time.perf_counter()

    def wait_for_end(self, job: Job) -> float:
        """Until the job has succeeded; the moment likewise."""
        self._wait(lambda: self.stores.jobs.job(job.id).state in states.ENDED, "the job ends")
        ended = time.perf_counter()
        row = self.stores.jobs.job(job.id)
        if row.state != "succeeded":
            raise RuntimeError(f"the job is {row.state}: {row.error}")
        return ended

    def take(self, job: Job) -> Answers:
        """The answers of all products. The job is removed."""
        outcomes = self.stores.jobs.outcomes(job.id, limit=job.products)
        self.stores.jobs.remove_job(job.id)
        best = [(outcome.product, outcome.predictions["all"]) for outcome in outcomes]
        return [(product, row["class_index"], row["probability"]) for product, row in best]

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                logs = "".join(f"\n{log.name}: {log.read_text()[-1000:]}" for log in self.folder.glob("*.log"))
                raise RuntimeError(f"not within {_PATIENCE:.0f} s: {what}{logs}")
            time.sleep(_POLL_SECONDS)


@contextmanager
def running(folder: Path, pools: Sequence[str] = ("default",)) -> Iterator[Scene]:
    """A dispatcher, and one worker for each of `pools`, until left. Servers may be named as for tests."""
    with ExitStack() as stack:
        own = Path(stack.enter_context(TemporaryDirectory(dir=folder)))
        redis = stack.enter_context(given_or_started("redis", server.redis_server, own / "redis"))
        s3 = stack.enter_context(given_or_started("minio", server.minio_server, own / "minio"))
        queue = stack.enter_context(places.redis_database(redis))
        bucket = stack.enter_context(places.bucket(s3, own))
        settings = Settings(home=own / "home", objects=bucket.objects, queue=queue, s3=bucket.s3)
        services = [service(own, "dispatcher", "services.dispatcher", settings)]
        for number, pool in enumerate(pools):
            of_pool = replace(settings, worker=WorkerSettings(pool=pool))
            services.append(service(own, f"worker{number}", "benchmarks.stub_service", of_pool))
        for process in services:
            stack.enter_context(started(process))
        yield Scene(own, settings, wiring.stores(settings))


def service(folder: Path, name: str, module: str, settings: Settings) -> Process:
    """A service as a process; not started yet."""
    telemetry = TelemetrySettings(port=free_port())
    environment = wiring.COMPUTING | to_environment(replace(settings, telemetry=telemetry))
    url = f"http://{telemetry.host}:{telemetry.port}"
    command = [sys.executable, "-m", module]
    return Process(name, command, folder / f"{name}.log", ready=lambda: healthy(url), environment=environment)


def version(ensemble: str) -> EnsembleVersion:
    return EnsembleVersion(
        name=ensemble,
        version="v1",
        document={"name": ensemble},
        runs={},
        dataset="",
        dataset_fingerprint="",
        taxonomy="",
        duplicate_table="",
    )
