"""The worker service on a real Redis: it scores, hands back when asked to go, and loses nothing when its child dies."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.request import urlopen

import pytest

from services.dispatcher import Dispatcher
from shared import wiring
from shared.domain.records import Job
from shared.ports import Stores
from shared.settings import LeaseSettings, Settings, to_environment
from tests.ports import free_port
from tests.scoring_stub import new_job, put_dataset
from tests.servers.process import Process

SECONDS = 60.0
PRODUCTS = 60


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@dataclass
class Scene:
    settings: Settings
    stores: Stores
    folder: Path
    workers: list[Process]

    def worker(self, seconds: float = 0.0, **more: str) -> Process:
        """A worker whose products take so long; started."""
        number = len(self.workers)
        liveness, port = self.folder / f"worker{number}.json", free_port()
        variables = to_environment(self.settings) | {
            "SHELVER_WORKER_LIVENESS_FILE": str(liveness),
            "SHELVER_WORKER_LIVENESS_SECONDS": "0.2",
            "SHELVER_TELEMETRY_PORT": str(port),
            "SHELVER_TELEMETRY_LOG_FORMAT": "json",
            "STUB_SECONDS": str(seconds),
            **more,
        }
        started = [sys.executable, "-m", "workers.scoring.probe", "started"]
        environment = os.environ | variables

        def ready() -> bool:
            return subprocess.run(started, env=environment, stdout=subprocess.DEVNULL, check=False).returncode == 0

        log = self.folder / f"worker{number}.log"
        command = [sys.executable, "-m", "tests.stub_service"]
        worker = Process(f"worker {number}", command, log, ready=ready, environment=variables)
        self.workers.append(worker)
        worker.start()
        worker.port, worker.liveness, worker.variables = port, liveness, variables  # type: ignore[attr-defined]
        return worker

    def drive(self, job: str, while_it_runs: Callable[[], None] = lambda: None) -> Job:
        """A dispatcher drives the job to its end."""
        queue = wiring.queue(self.settings)
        dispatcher = Dispatcher(self.stores.jobs, self.stores.objects, queue, self.settings)
        found: list[Job] = []
        thread = threading.Thread(target=lambda: found.extend(dispatcher.run([job])))
        thread.start()
        while_it_runs()
        thread.join(SECONDS)
        queue.close(grace=0)
        assert found, f"no end: {self.stores.jobs.count_chunks(job)}"
        return found[0]

    def answers(self, job: str) -> dict[int, int]:
        return {
            outcome.product: outcome.predictions["all"]["category_id"]
            for outcome in self.stores.jobs.outcomes(job, limit=1000)
        }

    def running(self, job: str) -> int:
        counts = self.stores.jobs.count_chunks(job)
        return counts.get("running", {"chunks": 0})["chunks"]


@pytest.fixture
def scene(tmp_path: Path, redis_url: str) -> Iterator[Scene]:
    leases = LeaseSettings(beat_seconds=0.2, lease_seconds=2.0, poll_seconds=0.05)
    settings = replace(Settings(home=tmp_path / "home"), queue=redis_url, leases=leases)
    stores = wiring.stores(settings)
    manifest = put_dataset(stores.objects, [1] * PRODUCTS)
    stores.jobs.create(new_job(manifest, chunk_images=4))
    found = Scene(settings, stores, tmp_path, [])
    yield found
    for worker in found.workers:
        worker.kill()


def metric(worker: Process, name: str) -> float:
    with urlopen(f"http://127.0.0.1:{worker.port}/metrics", timeout=10) as answer:  # type: ignore[attr-defined]
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def expected() -> dict[int, int]:
    return {product: product % 3 for product in range(100, 100 + PRODUCTS)}


def test_a_worker_scores_a_job_and_tells_of_it(scene: Scene) -> None:
    worker = scene.worker()

    assert scene.drive("job1").state == "succeeded"

    assert scene.answers("job1") == expected()
    until(lambda: metric(worker, "shelver_products_total") == PRODUCTS, "all products are told of")
    assert metric(worker, 'shelver_worker_chunks_total{end="done"') == 15
    assert metric(worker, 'shelver_stage_seconds_count{stage="write"}') == 15
    with urlopen(f"http://127.0.0.1:{worker.port}/readyz", timeout=10) as answer:  # type: ignore[attr-defined]
        assert json.load(answer) == {"documents": "ok", "objects": "ok", "queue": "ok", "ensemble": "ok"}
    assert worker.stop() == 0


def test_a_worker_that_is_asked_to_go_hands_back_and_nothing_counts(scene: Scene) -> None:
    first = scene.worker(seconds=0.2)

    def replace_worker() -> None:
        until(lambda: scene.running("job1") > 0, "a chunk runs")
        assert first.stop() == 0
        assert scene.running("job1") == 0
        scene.worker()

    assert scene.drive("job1", replace_worker).state == "succeeded"
    assert scene.answers("job1") == expected()
    assert {(chunk.losses, chunk.solo) for chunk in scene.stores.jobs.chunks("job1")} == {(0, False)}


def test_a_child_that_is_killed_is_replaced_and_loses_nothing(scene: Scene) -> None:
    worker = scene.worker(seconds=0.05)

    def kill_child() -> None:
        until(lambda: scene.running("job1") > 0, "a chunk runs")
        running = scene.stores.jobs.chunks("job1", ("running",))[0]
        os.kill(child_of(worker), signal.SIGKILL)
        until(lambda: scene.stores.jobs.chunk(running.id).generation > running.generation, "it was taken back")

    assert scene.drive("job1", kill_child).state == "succeeded"
    assert scene.answers("job1") == expected()
    assert worker.running()
    assert metric(worker, "shelver_products_total") > 0


def child_of(worker: Process) -> int:
    """The process that computes: the only child of the one that fetches."""
    (child,) = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    return int(child)


def test_the_probe_tells_what_is_wrong(scene: Scene) -> None:
    worker = scene.worker()
    environment = os.environ | worker.variables  # type: ignore[attr-defined]

    def probe(kind: str) -> tuple[int, str]:
        command = [sys.executable, "-X", "importtime", "-m", "workers.scoring.probe", kind]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert "torch" not in done.stderr
        assert "celery" not in done.stderr
        return done.returncode, done.stdout

    until(lambda: probe("ready") == (0, ""), "it is ready")
    assert probe("live") == (0, "")
    worker.freeze()
    told = json.loads(worker.liveness.read_text())  # type: ignore[attr-defined]
    assert told["broker_ok"]
    worker.thaw()


def test_without_a_queue_it_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "workers.scoring.service"]
    environment = os.environ | {"SHELVER_HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "SHELVER_QUEUE: it is not set; such as redis://HOST:6379/0\n",
    )
