"""Every metric of Shelver, and the small server from which a service hands them out with its health.

Metrics are made on a registry that the caller owns, so that importing this makes none. Labels have few values: pools,
states, stages, route templates; never ids, except of runs while they train.
"""

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from shared.domain.errors import ShelverError
from shared.settings import TelemetrySettings

Check = Callable[[], object]
"""Raises ShelverError while a dependency does not answer."""

_STAGES = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)  # seconds of one chunk
_LATENCIES = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)


class JobMetrics:
    """About jobs, from their rows; only the leading dispatcher exports values, so that sums over replicas are right."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, words: str, *labels: str) -> Gauge:
            return Gauge(f"shelver_{name}", words, labels, registry=registry)

        self.leader = gauge("dispatcher_leader", "1 on the dispatcher that leads, 0 on others")
        self.jobs = gauge("jobs", "Scoring jobs by state", "state")
        self.chunks = gauge("chunks", "Chunks of unfinished jobs by state", "pool", "state")
        self.oldest_pending = gauge("oldest_pending_chunk_seconds", "How long no pending chunk was taken", "pool")
        self.outstanding = gauge("outstanding_chunks", "Pending, sent and running: what to scale workers on", "pool")
        self.quarantined = Counter(
            "shelver_quarantined_products", "Products given up after they took workers down", registry=registry
        )
        self.lost = Counter("shelver_lost_chunks", "Chunks whose worker was lost", ["pool"], registry=registry)
        self.sent = Counter("shelver_sent_messages", "Messages handed to the queue", ["pool"], registry=registry)


class WorkerMetrics:
    """About one scoring worker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(f"shelver_{name}", words, labels, registry=registry)

        self.products = counter("products", "Products with an outcome", "pool")
        self.images = counter("images", "Images that went through the networks", "pool")
        self.views = counter("views", "Images times views", "pool")
        self.chunks = counter("worker_chunks", "Chunks by how this worker let go of them", "pool", "end")
        self.decisions = counter("duplicate_decisions", "Products by policy and what decided", "policy", "source")
        self.stages = Histogram(
            "shelver_stage_seconds", "Seconds of a chunk per stage", ["stage"], registry=registry, buckets=_STAGES
        )
        self.fill = Gauge("shelver_batch_fill", "Share of a batch's places that held images", registry=registry)
        self.load = Histogram("shelver_model_load_seconds", "Loading an ensemble", registry=registry, buckets=_STAGES)
        self.memory = Gauge("shelver_gpu_memory_bytes", "Device memory in use", registry=registry)
        self.resident = Gauge("shelver_resident_bytes", "Weights and tables kept in memory", registry=registry)
        self.warm = Gauge("shelver_worker_warm", "1 once the resident ensemble is loaded", registry=registry)


class TrainingMetrics:
    """About runs, from their rows and what they report; exported by the launcher."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, words: str, *labels: str) -> Gauge:
            return Gauge(f"shelver_{name}", words, labels, registry=registry)

        self.runs = gauge("runs", "Runs by state", "state")
        self.epoch = gauge("training_epoch", "Epochs done", "member", "run")
        self.loss = gauge("training_loss", "Mean loss of the last epoch", "member", "run")
        self.accuracy = gauge("training_holdout_accuracy", "Share of holdout images that are right", "member", "run")
        self.speed = gauge("training_images_per_second", "Images per second", "member", "run")
        self.ingests = gauge("ingests", "Ingests by state", "state")
        self.bytes = gauge("ingested_bytes", "Bytes of packs of a dataset", "dataset")
        self.documents = gauge("ingested_products", "Products of a dataset", "dataset")
        self.bad = gauge("bad_documents", "Documents that an ingest left out", "dataset")
        self.stored = gauge("stored_bytes", "Bytes in the object store by kind", "kind")


class GatewayMetrics:
    """About one gateway."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["method", "route", "status"]
        self.requests = Counter("shelver_gateway_requests", "Answered requests", labels, registry=registry)
        self.latency = Histogram(
            "shelver_gateway_seconds", "Seconds to the answer", labels[:2], registry=registry, buckets=_LATENCIES
        )
        self.refused = Counter("shelver_gateway_quota_refusals", "Requests past their quota", registry=registry)


class StoreMetrics:
    """Whether what a service depends on answers, as `readiness` found it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.up = Gauge("shelver_dependency_up", "1 while it answers", ["dependency"], registry=registry)


def readiness(checks: Mapping[str, Check]) -> dict[str, str]:
    """What each dependency says: "ok", or why not."""
    return {name: _answer(check) for name, check in checks.items()}


def _answer(check: Check) -> str:
    try:
        check()
    except ShelverError as error:
        return str(error)
    return "ok"


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """A probe every few seconds is no news."""


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each question: while a dependency is away /readyz takes its time, and /healthz must not wait."""

    daemon_threads = True


def serve(host: str, port: int, registry: CollectorRegistry, checks: Mapping[str, Check]) -> Callable[[], None]:
    """Serve /metrics, /healthz and /readyz from a thread of this process; returns what ends it.

    /readyz is 503 while a dependency does not answer, and says which.
    """
    stores = StoreMetrics(registry)

    def answer(environ: dict[str, Any], start: Callable[..., object]) -> Iterable[bytes]:
        status, kind, body = "404 Not Found", "text/plain", b"there are /metrics, /healthz and /readyz\n"
        if environ["PATH_INFO"] == "/metrics":
            status, kind, body = "200 OK", CONTENT_TYPE_LATEST, generate_latest(registry)
        elif environ["PATH_INFO"] == "/healthz":
            status, body = "200 OK", b"ok\n"
        elif environ["PATH_INFO"] == "/readyz":
            found = readiness(checks)
            for name, words in found.items():
                stores.up.labels(name).set(words == "ok")
            ready = all(words == "ok" for words in found.values())
            status, kind = ("200 OK" if ready else "503 Service Unavailable"), "application/json"
            body = json.dumps(found).encode()
        start(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]

    server = make_server(host, port, answer, server_class=_Server, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, name="telemetry", daemon=True)
    thread.start()

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return end


def serve_if_asked(
    settings: TelemetrySettings, registry: CollectorRegistry, checks: Mapping[str, Check]
) -> Callable[[], None]:
    """As `serve`, at the settings' address; nothing where they name no port."""
    return serve(settings.host, settings.port, registry, checks) if settings.port else lambda: None
