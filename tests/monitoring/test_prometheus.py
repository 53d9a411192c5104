"""Every shipped query and rule, evaluated by a real Prometheus that scraped Shelver's metrics."""

from collections.abc import Iterator
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry

from shared import telemetry
from tests.monitoring.prometheus import Prometheus, scraping
from tests.monitoring.shipped import ALERTS, queries, rules
from tests.ports import free_port


def busy_service(registry: CollectorRegistry) -> None:
    """All metrics with values as of a shop in which everything happens."""
    jobs, worker = telemetry.JobMetrics(registry), telemetry.WorkerMetrics(registry)
    jobs.leader.set(1)
    for state in ("running", "succeeded"):
        jobs.jobs.labels(state).set(2)
    jobs.chunks.labels("default", "pending").set(5)
    jobs.oldest_pending.labels("default").set(3)
    jobs.outstanding.labels("default").set(5)
    jobs.quarantined.inc()
    jobs.lost.labels("default").inc()
    jobs.sent.labels("default").inc(4)
    for counter in (worker.products, worker.images, worker.views):
        counter.labels("default").inc(100)
    worker.chunks.labels("default", "done").inc()
    worker.decisions.labels("unique", "image duplicate").inc(3)
    for stage in ("fetch", "decode", "forward", "write"):
        worker.stages.labels(stage).observe(0.5)
    worker.fill.set(0.9)
    worker.load.observe(4)
    for gauge in (worker.memory, worker.resident):
        gauge.set(2**30)
    worker.warm.set(1)
    training = telemetry.TrainingMetrics(registry)
    for state in ("running", "failed"):
        training.runs.labels(state).set(1)
        training.ingests.labels(state).set(1)
    for gauge in (training.epoch, training.loss, training.accuracy, training.speed):
        gauge.labels("resnet18", "0123").set(0.7)
    for gauge in (training.bytes, training.documents, training.bad):
        gauge.labels("train").set(10)
    training.stored.labels("packs").set(2**30)
    gateway = telemetry.GatewayMetrics(registry)
    for status in ("200", "503"):
        gateway.requests.labels("GET", "/v1/jobs", status).inc()
    gateway.latency.labels("GET", "/v1/jobs").observe(0.01)
    gateway.refused.inc()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    registry, port = CollectorRegistry(), free_port()
    busy_service(registry)
    end = telemetry.serve("127.0.0.1", port, registry, {"documents": lambda: None})
    with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10):
        pass  # as probes do: only then is it known which dependencies answer
    with scraping(tmp_path_factory.mktemp("prometheus"), {"shelver": f"127.0.0.1:{port}"}, ALERTS) as found:
        found.wait(lambda: bool(found.query("count_over_time(shelver_jobs[1m]) > 3")), "four scrapes")
        yield found
    end()


def test_every_panel_shows_something(prometheus: Prometheus) -> None:
    empty = [place for place, query in queries() if not prometheus.query(query)]
    assert empty == []


def test_every_rule_is_evaluated_without_a_fault(prometheus: Prometheus) -> None:
    def evaluated() -> bool:
        groups = prometheus.get("rules")["groups"]
        return all(rule["health"] != "unknown" for group in groups for rule in group["rules"])

    prometheus.wait(evaluated, "every rule was evaluated")
    found = {rule["name"]: rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]}
    assert set(found) == set(rules())
    assert {name: rule.get("lastError", "") for name, rule in found.items() if rule["health"] != "ok"} == {}
