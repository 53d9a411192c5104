"""Every service as a process of its own on one home and a real Redis, as the README starts them."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import httpx2
import pytest

from shared import wiring
from shared.settings import LeaseSettings, Settings, to_environment
from tests.ports import free_port
from tests.scoring_stub import new_job, put_dataset
from tests.servers.process import Process

SECONDS = 60.0
PRODUCTS = 120
ADMIN = "the-first-key"
JOB = "0b1"


def answers(port: int, path: str = "/healthz") -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return bool(answer.status == 200)
    except URLError:
        return False


def leads(port: int) -> bool:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return b"shelver_dispatcher_leader 1.0" in answer.read()


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    leases = LeaseSettings(beat_seconds=0.2, lease_seconds=1.5, poll_seconds=0.05)
    return replace(Settings(home=tmp_path / "home"), queue=redis_url, leases=leases)


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts `python -m MODULE`, whose health is asked at the port of the variable."""
    started: list[Process] = []

    def one(module: str, port: int, variable: str = "SHELVER_TELEMETRY_PORT", **more: str) -> Process:
        environment = to_environment(settings) | {variable: str(port)} | more
        command, log = [sys.executable, "-m", module], tmp_path / f"{module}.{port}.log"
        process = Process(module, command, log, ready=lambda: answers(port), environment=environment)
        started.append(process)
        process.start()
        return process

    yield one
    for process in started:
        process.kill()


def test_a_job_survives_its_leading_dispatcher(settings: Settings, start: Callable[..., Process]) -> None:
    stores = wiring.stores(settings)
    stores.jobs.create(new_job(put_dataset(stores.objects, [1] * PRODUCTS), id=JOB, chunk_images=4, tenant="admin"))
    gateway_port, ports = free_port(), [free_port(), free_port()]
    gateway = start("services.gateway", gateway_port, "SHELVER_GATEWAY_PORT", SHELVER_GATEWAY_ADMIN_KEY=ADMIN)
    worker = start("tests.stub_service", free_port(), STUB_SECONDS="0.02")
    dispatchers = [start("services.dispatcher", port) for port in ports]
    assert all(answers(port, "/readyz") for port in [gateway_port, *ports])
    headers = {"Authorization": f"Bearer {ADMIN}"}

    with httpx2.Client(base_url=f"http://127.0.0.1:{gateway_port}", headers=headers, timeout=SECONDS) as client:
        deadline = time.monotonic() + SECONDS
        killed = False
        while (job := client.get(f"/v1/jobs/{JOB}").json())["state"] not in ("succeeded", "failed"):
            assert time.monotonic() < deadline, job
            if not killed and job["done"]:
                (leader,) = [place for place, port in enumerate(ports) if leads(port)]
                os.kill(dispatchers[leader].pid, signal.SIGKILL)
                killed = True
            time.sleep(0.05)

    assert killed
    assert (job["state"], job["done"]) == ("succeeded", PRODUCTS)
    found = {one.product: one.predictions["all"]["category_id"] for one in stores.jobs.outcomes(JOB, limit=1000)}
    assert found == {product: product % 3 for product in range(100, 100 + PRODUCTS)}
    assert leads(ports[1 - leader])
    for process in (gateway, worker, dispatchers[1 - leader]):
        assert process.stop() == 0
