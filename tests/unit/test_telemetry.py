"""The server of a service's metrics and health, asked over loopback."""

import json
import threading
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry

from shared import telemetry
from shared.domain.errors import StoreUnavailableError
from tests.ports import free_port


class Store:
    away = False

    def check(self) -> None:
        if self.away:
            raise StoreUnavailableError("the document store does not answer")


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def address(store: Store) -> Iterator[str]:
    registry = CollectorRegistry()
    telemetry.JobMetrics(registry).outstanding.labels("default").set(7)
    port = free_port()
    end = telemetry.serve("127.0.0.1", port, registry, {"documents": store.check, "objects": lambda: None})
    yield f"http://127.0.0.1:{port}"
    end()


def get(url: str) -> tuple[int, str]:
    try:
        with urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_readiness_tells_the_truth_per_dependency(address: str, store: Store) -> None:
    assert get(f"{address}/readyz") == (200, json.dumps({"documents": "ok", "objects": "ok"}))
    store.away = True
    status, body = get(f"{address}/readyz")
    assert status == 503
    assert json.loads(body) == {"documents": "the document store does not answer", "objects": "ok"}
    assert get(f"{address}/healthz") == (200, "ok\n")
    assert 'shelver_dependency_up{dependency="documents"} 0.0' in get(f"{address}/metrics")[1]


def test_a_dependency_that_hangs_does_not_hold_up_liveness() -> None:
    asked, free, port = threading.Event(), threading.Event(), free_port()

    def hang() -> None:
        asked.set()
        assert free.wait(30)

    end = telemetry.serve("127.0.0.1", port, CollectorRegistry(), {"documents": hang})
    try:
        waits = threading.Thread(target=get, args=(f"http://127.0.0.1:{port}/readyz",))
        waits.start()
        assert asked.wait(30)
        assert get(f"http://127.0.0.1:{port}/healthz") == (200, "ok\n")
        assert not free.is_set()
    finally:
        free.set()
        waits.join()
        end()


def test_metrics_are_those_of_the_registry(address: str) -> None:
    status, body = get(f"{address}/metrics")
    assert status == 200
    assert 'shelver_outstanding_chunks{pool="default"} 7.0' in body
    assert get(f"{address}/other")[0] == 404


def test_all_metrics_live_together_under_one_prefix() -> None:
    registry = CollectorRegistry()
    for kind in (
        telemetry.JobMetrics, telemetry.WorkerMetrics, telemetry.TrainingMetrics, telemetry.GatewayMetrics,
        telemetry.StoreMetrics,
    ):  # fmt: skip
        kind(registry)
    assert all(family.name.startswith("shelver_") for family in registry.collect())
