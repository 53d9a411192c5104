"""GET /v1/jobs/{id} of a large job that is being worked on against GET /healthz: 95th percentiles at a steady rate.

A request counts from the moment it was due, so that one which waits for others is slow too. A job's progress has to be
at most a second old, judged by what was committed when.
"""

import http.client
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory

from benchmarks import processor
from benchmarks.rounds import ROUNDS, Comparison, Timed, compare
from shared import wiring
from shared.domain import states
from shared.domain.records import Chunk, Job, JobOptions
from shared.ports import Jobs
from shared.settings import GatewaySettings, Settings, to_environment
from tests.ports import free_port
from tests.servers.fixtures import started
from tests.servers.process import Process, healthy

_JOB = "0123456789abcdef"
_KEY = "the key of this benchmark"
_PER_SECOND = 50
_THREADS = 8
_PRODUCTS = 4096  # of a chunk
_CHUNK_SECONDS = 0.1  # between two ends of chunks
_OLDEST = 1.0  # seconds


@dataclass(frozen=True)
class _Answer:
    sent: float  # on this machine's clock, which judges ages too
    status: int
    body: bytes


def measure(folder: Path, *, chunks: int = 2000, requests: int = 200, rounds: int = ROUNDS) -> Comparison:
    with TemporaryDirectory(dir=folder) as own:
        settings = Settings(home=Path(own), gateway=GatewaySettings(port=free_port(), admin_key=_KEY))
        address = f"{settings.gateway.host}:{settings.gateway.port}"
        jobs = wiring.stores(settings).jobs
        rows = _store(jobs, chunks)
        with started(_gateway(settings, f"http://{address}")), _worked_on(jobs, rows) as done_by:
            return compare(
                "job status",
                lambda: _ask(address, f"/v1/jobs/{_JOB}", requests, lambda answer: _fresh(answer, done_by)),
                lambda: _ask(address, "/healthz", requests, lambda answer: answer.body == b"ok\n"),
                lambda ours, theirs: ours == theirs == requests,
                must=0.1,
                words=f"GET /healthz, ratio of 95th percentiles of {requests} at {_PER_SECOND}/s; "
                f"ours GET /v1/jobs/ID with {chunks} chunks on SQLite, progress at most {_OLDEST:g} s old",
                rounds=rounds,
            )


def _gateway(settings: Settings, url: str) -> Process:
    command = [sys.executable, "-m", "services.gateway"]
    log = settings.home / "gateway.log"
    return Process("gateway", command, log, ready=lambda: healthy(url), environment=to_environment(settings))


def _store(jobs: Jobs, chunks: int) -> list[Chunk]:
    products = chunks * _PRODUCTS
    job = Job(
        id=_JOB,
        dataset="catalog",
        dataset_fingerprint="f" * 16,
        ensemble="large",
        version="v1",
        options=JobOptions(image_duplicates="none", product_duplicates="none"),
        products=products,
        images=products,
        tenant="admin",
    )
    queued = jobs.create(job)
    jobs.swap_job(queued, planned := states.plan(queued))
    rows = [_chunk(number) for number in range(chunks)]
    jobs.add_chunks(rows)
    jobs.swap_job(planned, states.start(planned))
    return rows


def _chunk(number: int) -> Chunk:
    size = 20_000_000  # bytes
    return Chunk(
        id=f"{number:024x}",
        job=_JOB,
        pack=number // 6,
        offset=number % 6 * size,
        length=size,
        position=number * _PRODUCTS,
        products=_PRODUCTS,
        images=_PRODUCTS,
    )


@contextmanager
def _worked_on(jobs: Jobs, chunks: list[Chunk]) -> Iterator[Callable[[float], int]]:
    """Chunks are sent, claimed and finished one after another; gives the products that were done by a moment."""
    history = [(time.monotonic(), 0)]
    stop = threading.Event()

    def work() -> None:
        for chunk in chunks:
            if stop.wait(_CHUNK_SECONDS):
                return
            sent = states.send(chunk)
            claimed = states.claim(sent, worker="worker", ready=True)
            for old, new in ((chunk, sent), (sent, claimed), (claimed, _finished(claimed))):
                assert jobs.swap_chunk(old, new)
            history.append((time.monotonic(), history[-1][1] + chunk.products))

    def done_by(moment: float) -> int:
        return next((done for at, done in reversed(history) if at <= moment), 0)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield done_by
    finally:
        stop.set()
        thread.join()


def _finished(chunk: Chunk) -> Chunk:
    seconds = {"look-up": 0.01, "fetch": 0.1, "decode": 2.0, "forward": 3.0, "write": 0.2}
    return states.finish_chunk(
        chunk,
        done=chunk.products,
        failed=0,
        decided=0,
        scored_images=chunk.images,
        precision="float32",
        batch_images=32,
        seconds=seconds,
    )


def _fresh(answer: _Answer, done_by: Callable[[float], int]) -> bool:
    return bool(json.loads(answer.body)["done"] >= done_by(answer.sent - _OLDEST))


def _ask(address: str, path: str, requests: int, good: Callable[[_Answer], bool]) -> Timed:
    """The 95th percentile of seconds; how many were answered as they should be."""
    idle: SimpleQueue[http.client.HTTPConnection] = SimpleQueue()
    began = time.monotonic()

    def ask(number: int) -> tuple[float, _Answer]:
        due = began + number / _PER_SECOND
        time.sleep(max(0.0, due - time.monotonic()))
        connection = idle.get()
        sent = time.monotonic()
        connection.request("GET", path, headers={"Authorization": f"Bearer {_KEY}"})
        response = connection.getresponse()
        answer = _Answer(sent, response.status, response.read())
        idle.put(connection)
        return time.monotonic() - due, answer

    with ExitStack() as stack:
        for _ in range(_THREADS):
            idle.put(stack.enter_context(closing(http.client.HTTPConnection(address))))
        threads = stack.enter_context(ThreadPoolExecutor(_THREADS))
        cpu = processor.seconds()
        found = list(threads.map(ask, range(requests)))
        cpu = processor.seconds() - cpu
    slow = statistics.quantiles([seconds for seconds, _ in found], n=20)[-1]
    right = sum(answer.status == 200 and good(answer) for _, answer in found)
    return Timed(slow, right, cpu / requests)
