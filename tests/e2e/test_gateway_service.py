"""The gateway as a process: its probes, metrics and log; it answers what was asked before it stops."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from shared.domain.errors import FailedError
from tests.conftest import Shop
from tests.gateway_scene import ADMIN, Scene, gateway
from tests.ports import free_port

SECONDS = 60.0


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with gateway(tmp_path / "home") as found:
        yield found


def test_readiness_tells_the_truth_per_dependency(scene: Scene) -> None:
    with scene.bare() as client:
        assert client.get("/readyz").json() == {"documents": "ok", "objects": "ok", "queue": "ok"}
        scene.queue.away = True
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["queue"]) == (503, "the queue is away")
        assert 'shelver_dependency_up{dependency="queue"} 0.0' in client.get("/metrics").text
        assert client.get("/healthz").status_code == 200
    with pytest.raises(FailedError):
        scene.queue.check()


def test_metrics_are_by_route_and_never_by_id(scene: Scene) -> None:
    with scene.client() as client:
        for job in ("a1", "b2"):
            client.get(f"/v1/jobs/{job}")
        client.get("/v1/nowhere/123")
        text = client.get("/metrics").text
    assert re.search(r'shelver_gateway_requests_total\{method="GET",route="/v1/jobs/\{job\}",status="404"\} 2.0', text)
    assert re.search(r'shelver_gateway_requests_total\{method="GET",route="none",status="404"\} 1.0', text)
    assert "123" not in "".join(re.findall(r'route="[^"]*"', text))


def test_a_request_has_an_id_the_callers_own_if_it_is_one(scene: Scene) -> None:
    with scene.client() as client:
        assert client.get("/v1/jobs", headers={"X-Request-Id": "order-7"}).headers["X-Request-Id"] == "order-7"
        made = [
            client.get("/v1/jobs", headers={"X-Request-Id": bad}).headers["X-Request-Id"] for bad in ("", "a b" * 99)
        ]
    assert len(set(made)) == 2
    assert all(re.fullmatch("[0-9a-f]{16}", one) for one in made)


def start(home: Path, port: int, **variables: str) -> subprocess.Popen[str]:
    environment = os.environ | variables | {"SHELVER_HOME": str(home), "SHELVER_GATEWAY_PORT": str(port)}
    return subprocess.Popen(
        [sys.executable, "-m", "services.gateway"], env=environment, stderr=subprocess.PIPE, text=True
    )


def wait_for(client: httpx2.Client, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        assert process.poll() is None
        assert time.monotonic() < deadline
        try:
            client.get("/readyz").raise_for_status()
        except httpx2.TransportError:
            time.sleep(0.05)
        else:
            return


def test_a_stream_under_way_ends_whole_when_the_process_is_asked_to_stop(shop: Shop, tmp_path: Path) -> None:
    home, port = tmp_path / "home", free_port()
    shop.copy(home)
    process = start(home, port, SHELVER_GATEWAY_ADMIN_KEY=ADMIN, SHELVER_TELEMETRY_LOG_FORMAT="json")
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS) as client:
            wait_for(client, process)
            request = {"tenant": "local", "scopes": ["read"]}
            made = client.post("/v1/keys", json=request, headers={"Authorization": f"Bearer {ADMIN}"}).json()
            headers = {"Authorization": f"Bearer {made['secret']}", "X-Request-Id": "the-stream"}
            with client.stream("GET", f"/v1/jobs/{shop.job}/predictions", headers=headers) as answer:
                lines = answer.iter_lines()
                rows = [next(lines)]
                process.send_signal(signal.SIGTERM)
                rows += lines
        assert len(rows) == 290
        _, log = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    events = [json.loads(line) for line in log.splitlines()]
    (streamed,) = [event for event in events if event.get("request") == "the-stream"]
    assert f"GET /v1/jobs/{shop.job}/predictions 200" in streamed["message"]
    assert ADMIN not in log
    assert made["secret"] not in log


def test_a_bad_setting_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    process = start(tmp_path, 1, SHELVER_GATEWAY_QUOTA_PRODUCTS="many")
    _, log = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert log == "shelver: SHELVER_GATEWAY_QUOTA_PRODUCTS: 'many' is no whole number; correct or unset it\n"
