"""Shelver as services: gateway, two dispatchers and two workers as processes on a real Redis, S3 and MongoDB protocol.

The engine is the stub, which answers by product id: an undisturbed run is known without networks.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from shared import wiring
from shared.domain import states
from shared.domain.errors import StoreUnavailableError
from shared.domain.records import Chunk, Dataset, EnsembleVersion, Job, Outcome
from shared.job_requests import JobRequest, create
from shared.packs import Manifest
from shared.ports import Stores
from shared.settings import GatewaySettings, LeaseSettings, S3Settings, Settings, TelemetrySettings, to_environment
from tests.job_scene import Scene
from tests.ports import free_port
from tests.scoring_stub import put_dataset
from tests.servers.places import credentials_file
from tests.servers.process import Process, healthy
from tests.servers.server import Server, s3_client
from tests.stub_worker import UNLOADABLE

PATIENCE = 90.0  # seconds for what must come about
LEASES = LeaseSettings(beat_seconds=0.2, lease_seconds=1.5, poll_seconds=0.05)
COUNTS = tuple(1 + n % 2 for n in range(120))  # images per product
CHUNK_IMAGES = 12
PRODUCT_SECONDS = "0.04"
STUB = "stub"
ADMIN_KEY = "the-first-key-of-this-system"
WORKERS = ("worker1", "worker2")
DISPATCHERS = ("dispatcher1", "dispatcher2")

Answer = tuple[int, int, str, object]
"""Product, position, error, predictions."""


class System:
    """Everything by name: servers redis, s3, mongo; processes gateway, dispatcher1, dispatcher2, worker1, worker2."""

    def __init__(self, folder: Path, redis: Server, s3: Server, mongo: Server) -> None:
        """The servers run and are this system's alone; `start` starts the rest."""
        self._folder = folder
        self.servers = {"redis": redis, "s3": s3, "mongo": mongo}
        s3_client(s3).make_bucket("system")
        credentials = credentials_file(s3, folder / "credentials")
        self.settings = Settings(
            home=folder / "home",
            catalog=f"{mongo.url}/system",
            objects="s3://system",
            queue=f"{redis.url}/0",
            s3=S3Settings(endpoint=s3.url, credentials_file=str(credentials)),
            leases=LEASES,
        )
        self.stores: Stores = wiring.stores(self.settings)
        gateway = replace(self.settings, gateway=GatewaySettings(port=free_port(), admin_key=ADMIN_KEY))
        self.url = f"http://{gateway.gateway.host}:{gateway.gateway.port}"
        modules = dict.fromkeys(DISPATCHERS, "services.dispatcher") | dict.fromkeys(WORKERS, "tests.stub_service")
        self.processes = {name: self._watched(name, module) for name, module in modules.items()}
        self.processes["gateway"] = self._process("gateway", "services.gateway", gateway, self.url)
        self._made = 0

    def start(self) -> None:
        """Start whatever does not run, and thaw what is frozen."""
        for server in self.servers.values():
            if not server.running():
                server.start()
        for process in self.processes.values():
            process.thaw()
            if not process.running():
                process.start()

    def remove_jobs(self) -> None:
        """Remove the rows of jobs that have ended."""
        for job in self.stores.jobs.jobs(states.ENDED):
            self.stores.jobs.remove_job(job.id)

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()

    def dataset(self, *, counts: Sequence[int] = COUNTS, **marks: Any) -> Manifest:
        """A new dataset; `marks` are those of `put_dataset`. Ensembles `stub` and `unloadable` score it."""
        self._made += 1
        name = f"tiny{self._made}"
        fingerprint = f"{self._made:016x}"
        manifest = put_dataset(self.stores.objects, counts, packs=2, name=name, fingerprint=fingerprint, **marks)
        self.stores.catalog.add_dataset(
            Dataset(
                name=name,
                fingerprint=manifest.fingerprint,
                products=manifest.products,
                images=manifest.images,
                labelled=0,
                bytes=manifest.bytes,
                repeated=0,
                bad=0,
                taxonomy="",
                created=1.0,
            )
        )
        for ensemble in (STUB, UNLOADABLE):
            self.stores.runs.add_version(
                EnsembleVersion(
                    name=ensemble,
                    version="v1",
                    document={"name": ensemble},
                    runs={},
                    dataset="",
                    dataset_fingerprint="",
                    taxonomy="",
                    duplicate_table="",
                )
            )
            self.stores.runs.set_current(ensemble, "v1")
        return manifest

    def submit(self, manifest: Manifest, ensemble: str = STUB, *, chunk_images: int = CHUNK_IMAGES) -> str:
        """A new job; its id."""
        request = JobRequest(dataset=manifest.dataset, ensemble=ensemble, chunk_images=chunk_images)
        return create(self.stores, request).id

    def job(self, job: str) -> Job:
        return self.stores.jobs.job(job)

    def chunks(self, job: str, *of_states: str) -> list[Chunk]:
        return self.stores.jobs.chunks(job, of_states)

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Until it comes true; a store that is away is waited for. What all processes said last where it does not."""
        deadline = time.monotonic() + PATIENCE
        while not self._true(condition):
            if time.monotonic() > deadline:
                said = "".join(f"\n{name}:{process.log()}" for name, process in self.processes.items())
                raise AssertionError(f"not within {PATIENCE:.0f} s: {what}{said}")
            time.sleep(0.05)

    def wait_for_chunks(self, job: str, least: int) -> None:
        """Until so many chunks are done."""

        def done() -> bool:
            return self.stores.jobs.count_chunks(job).get("done", {}).get("chunks", 0) >= least

        self.wait(done, f"{least} chunks of job {job} are done")

    def wait_for_end(self, job: str) -> Job:
        """The job once it has ended, with no chunk stuck."""
        self.wait(lambda: self.job(job).state in states.ENDED, f"job {job} ends")
        row = self.job(job)
        stuck = self.chunks(job, "pending", "sent", "running")
        assert row.state == "failed" or not stuck, stuck
        return row

    def succeeds(self, job: str, expected: list[Answer]) -> None:
        """The job ends with every answer, each once, and those of an undisturbed run."""
        row = self.wait_for_end(job)
        assert (row.state, row.error) == ("succeeded", "")
        assert self.answers(job) == expected
        assert self.stores.jobs.count_outcomes(job) == row.products
        ended = self.chunks(job)
        assert {chunk.state for chunk in ended} <= {"done", "split"}
        assert sum(chunk.done for chunk in ended if chunk.state == "done") == row.products

    def answers(self, job: str) -> list[Answer]:
        """Every outcome of the job, in order."""
        return answers(self.stores.jobs.outcomes(job, limit=10_000))

    def _watched(self, name: str, module: str) -> Process:
        telemetry = TelemetrySettings(port=free_port())
        settings = replace(self.settings, telemetry=telemetry)
        return self._process(name, module, settings, f"http://{telemetry.host}:{telemetry.port}")

    def _process(self, name: str, module: str, settings: Settings, url: str) -> Process:
        environment: Mapping[str, str] = to_environment(settings) | {"STUB_SECONDS": PRODUCT_SECONDS}
        command = [sys.executable, "-m", module]
        log = self._folder / f"{name}.log"
        return Process(name, command, log, ready=lambda: healthy(url), environment=environment)

    @staticmethod
    def _true(condition: Callable[[], bool]) -> bool:
        try:
            return condition()
        except StoreUnavailableError:
            return False


def undisturbed(folder: Path, *, counts: Sequence[int] = COUNTS, **marks: Any) -> list[Answer]:
    """What a run in one process on embedded stores, which nothing disturbs, answers."""
    scene = Scene(folder, counts, chunk_images=CHUNK_IMAGES, packs=2, **marks)
    scene.play()
    return answers(scene.jobs.outcomes("job1", limit=10_000))


def answers(outcomes: Sequence[Outcome]) -> list[Answer]:
    return [(one.product, one.position, one.error, one.predictions) for one in outcomes]
